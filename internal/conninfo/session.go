package conninfo

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgproto3"
)

// sessionCheck is target_session_attrs for a walsender, nil for "any". pgconn's
// own checks send SELECT, which a physical walsender refuses (src/bin/pg_basebackup/streamutil.c).
// Like libpq these go by the settings that a server of release 14 or later
// reports by itself, and ask older ones with SHOW.
func sessionCheck(attrs string) pgconn.ValidateConnectFunc {
	switch attrs {
	case "read-write", "read-only":
		return func(ctx context.Context, c *pgconn.PgConn) error {
			readOnly, err := isReadOnly(ctx, c)
			switch {
			case err != nil:
				return err
			case readOnly && attrs == "read-write":
				return pgconn.ErrReadOnlyConnection
			case !readOnly && attrs == "read-only":
				return pgconn.ErrReadWriteConnection
			}
			return nil
		}
	case "primary", "standby", "prefer-standby":
		return func(ctx context.Context, c *pgconn.PgConn) error {
			standby, err := isStandby(ctx, c)
			switch {
			case err != nil:
				return err
			case standby && attrs == "primary":
				return pgconn.ErrStandbyConnection
			case !standby && attrs == "standby":
				return pgconn.ErrPrimaryConnection
			case !standby && attrs == "prefer-standby":
				return notPreferred()
			}
			return nil
		}
	}
	return nil
}

// isStandby: before release 14 a primary with default_transaction_read_only=on
// is taken for a standby, since a walsender has nothing better to ask.
func isStandby(ctx context.Context, c *pgconn.PgConn) (bool, error) {
	if v := c.ParameterStatus("in_hot_standby"); v != "" {
		return v == "on", nil
	}
	return showReadOnly(ctx, c)
}

func isReadOnly(ctx context.Context, c *pgconn.PgConn) (bool, error) {
	if v := c.ParameterStatus("in_hot_standby"); v != "" {
		return v == "on" || c.ParameterStatus("default_transaction_read_only") == "on", nil
	}
	return showReadOnly(ctx, c)
}

func showReadOnly(ctx context.Context, c *pgconn.PgConn) (bool, error) {
	results, err := c.Exec(ctx, "SHOW transaction_read_only").ReadAll()
	if err != nil {
		return false, err
	}
	if len(results) != 1 || len(results[0].Rows) != 1 || len(results[0].Rows[0]) != 1 {
		return false, errors.New("SHOW transaction_read_only: unexpected answer")
	}
	return string(results[0].Rows[0][0]) == "on", nil
}

// notPreferred gives the error that makes pgconn come back to a server if no
// better one is found. Only pgconn can make one that is whole (without its
// private cause its Error method would panic), so pgconn's own check is run
// once against an answer that is the same each time.
var notPreferred = sync.OnceValue(func() error {
	answer := []pgproto3.BackendMessage{
		&pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{{Name: []byte("pg_is_in_recovery")}}},
		&pgproto3.DataRow{Values: [][]byte{[]byte("f")}},
		&pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")},
		&pgproto3.ReadyForQuery{TxStatus: 'I'},
	}
	var script []byte
	var err error
	for _, m := range answer {
		if script, err = m.Encode(script); err != nil {
			return err
		}
	}
	c, err := pgconn.Construct(&pgconn.HijackedConn{
		Conn:              &cannedConn{Reader: bytes.NewReader(script)},
		ParameterStatuses: map[string]string{},
		TxStatus:          'I',
		Config: &pgconn.Config{
			BuildFrontend: pgproto3.NewFrontend,
			BuildContextWatcherHandler: func(c *pgconn.PgConn) ctxwatch.Handler {
				return &pgconn.DeadlineContextWatcherHandler{Conn: c.Conn()}
			},
		},
	})
	if err != nil {
		return err
	}
	return pgconn.ValidateConnectTargetSessionAttrsPreferStandby(context.Background(), c)
})

// cannedConn answers from memory and takes what is written for nothing.
type cannedConn struct{ io.Reader }

func (*cannedConn) Write(p []byte) (int, error)      { return len(p), nil }
func (*cannedConn) Close() error                     { return nil }
func (*cannedConn) LocalAddr() net.Addr              { return &net.UnixAddr{} }
func (*cannedConn) RemoteAddr() net.Addr             { return &net.UnixAddr{} }
func (*cannedConn) SetDeadline(time.Time) error      { return nil }
func (*cannedConn) SetReadDeadline(time.Time) error  { return nil }
func (*cannedConn) SetWriteDeadline(time.Time) error { return nil }
