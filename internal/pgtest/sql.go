package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// sqlTimeout bounds one call of SQL or Query.
const sqlTimeout = 60 * time.Second

// ConnString is a keyword/value connection string for the superuser over the
// Unix socket. Each of extra, such as "dbname=other", is appended and
// overrides.
func (c *Cluster) ConnString(extra ...string) string {
	s := fmt.Sprintf("host=%s port=%d user=%s dbname=postgres", quoteConnInfo(c.SocketDir), c.Port, superuser)
	return strings.Join(append([]string{s}, extra...), " ")
}

// TCPConnString is ConnString over TCP, with the password, and with the
// server's certificate checked, where the cluster has these.
func (c *Cluster) TCPConnString(extra ...string) string {
	return c.ProxyConnString(net.JoinHostPort(c.Host, strconv.Itoa(c.Port)), extra...)
}

// ProxyConnString is TCPConnString with another address: that of a proxy in
// front of the server. The address must be host:port.
func (c *Cluster) ProxyConnString(address string, extra ...string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		host, port = address, "5432"
	}
	s := fmt.Sprintf("host=%s port=%s user=%s dbname=postgres", quoteConnInfo(host), port, superuser)
	if c.Password != "" {
		s += " password=" + quoteConnInfo(c.Password)
	}
	if c.TLS.CA != "" {
		s += " sslmode=verify-full sslrootcert=" + quoteConnInfo(c.TLS.CA)
	} else {
		s += " sslmode=disable"
	}
	return strings.Join(append([]string{s}, extra...), " ")
}

// URI is TCPConnString as a connection URI.
func (c *Cluster) URI() string {
	u := url.URL{Scheme: "postgres", User: url.User(superuser), Host: net.JoinHostPort(c.Host, strconv.Itoa(c.Port)), Path: "/postgres"}
	if c.Password != "" {
		u.User = url.UserPassword(superuser, c.Password)
	}
	q := url.Values{"sslmode": {"disable"}}
	if c.TLS.CA != "" {
		q = url.Values{"sslmode": {"verify-full"}, "sslrootcert": {c.TLS.CA}}
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// connect opens a connection to a database over the Unix socket.
func (c *Cluster) connect(ctx context.Context, database string) (*pgconn.PgConn, error) {
	return pgconn.Connect(ctx, c.ConnString("dbname="+quoteConnInfo(database), "application_name=pgtest"))
}

// Connect opens a connection to a database, which is closed when the test
// ends.
func (c *Cluster) Connect(t testing.TB, database string) *pgconn.PgConn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), sqlTimeout)
	defer cancel()
	conn, err := c.connect(ctx, database)
	if err != nil {
		t.Fatalf("connect to database %s: %v", database, err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = conn.Close(ctx)
	})
	return conn
}

// SQL runs statements in the database postgres. Several of them in one call
// are one transaction.
func (c *Cluster) SQL(t testing.TB, sql string) {
	t.Helper()
	c.QueryIn(t, "postgres", sql)
}

// SQLIn is SQL in another database.
func (c *Cluster) SQLIn(t testing.TB, database, sql string) {
	t.Helper()
	c.QueryIn(t, database, sql)
}

// Query runs statements in the database postgres and gives the rows of the
// last one that has any, as psql -At prints them: columns separated by |, rows
// by line feeds. NULL is the empty string.
func (c *Cluster) Query(t testing.TB, sql string) string {
	t.Helper()
	return c.QueryIn(t, "postgres", sql)
}

// QueryIn is Query in another database.
func (c *Cluster) QueryIn(t testing.TB, database, sql string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), sqlTimeout)
	defer cancel()
	text, err := c.tryQuery(ctx, database, sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return text
}

// TryQuery is QueryIn for statements that may fail.
func (c *Cluster) TryQuery(ctx context.Context, database, sql string) (string, error) {
	return c.tryQuery(ctx, database, sql)
}

func (c *Cluster) tryQuery(ctx context.Context, database, sql string) (string, error) {
	conn, err := c.connect(ctx, database)
	if err != nil {
		return "", err
	}
	text, err := execute(ctx, conn, sql)
	return text, errors.Join(err, conn.Close(ctx))
}

// execute runs statements on a connection and gives the last rows as Query does.
func execute(ctx context.Context, conn *pgconn.PgConn, sql string) (string, error) {
	results, err := conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return "", err
	}
	var text string
	for _, r := range results {
		if len(r.FieldDescriptions) == 0 {
			continue
		}
		var rows []string
		for _, row := range r.Rows {
			columns := make([]string, len(row))
			for i, value := range row {
				columns[i] = string(value)
			}
			rows = append(rows, strings.Join(columns, "|"))
		}
		text = strings.Join(rows, "\n")
	}
	return text, nil
}

// WaitFor runs sql again and again until Query would give want. Errors count
// as another answer, since the server may be starting.
func (c *Cluster) WaitFor(t testing.TB, sql, want string, timeout time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var got string
	var err error
	for {
		if got, err = c.tryQuery(ctx, "postgres", sql); err == nil && got == want {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("%s: got %q (error: %v), want %q within %v", sql, got, err, want, timeout)
		}
	}
}

// CurrentLSN is the end of the WAL that the server has written, or replayed if
// it is in recovery, in PostgreSQL's text form.
func (c *Cluster) CurrentLSN(t testing.TB) string {
	t.Helper()
	return c.Query(t, "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END")
}

// SwitchWAL ends the current WAL segment, so that it can be archived, and
// gives the LSN of the switch.
func (c *Cluster) SwitchWAL(t testing.TB) string {
	t.Helper()
	// A switch does nothing in a segment without records.
	return c.Query(t, "SELECT pg_create_restore_point('switch'); SELECT pg_switch_wal()")
}

// TerminateWalsenders ends the walsenders for which where, a condition on
// pg_stat_replication such as "state = 'streaming'", holds; all of them if
// where is empty. It gives their number.
func (c *Cluster) TerminateWalsenders(t testing.TB, where string) int {
	t.Helper()
	if where == "" {
		where = "true"
	}
	text := c.Query(t, "SELECT count(*) FROM (SELECT pg_terminate_backend(pid) AS sent FROM pg_stat_replication WHERE "+where+") AS s WHERE sent")
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
