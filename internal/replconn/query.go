package replconn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// maxRows caps a result set. The longest that a walsender sends has a row for
// each tablespace.
const maxRows = 100_000

// Result is a result set in text form.
type Result struct {
	Columns []string
	Rows    [][][]byte // nil is NULL
	Tag     string     // of CommandComplete, such as SELECT; "" if none came
}

// Row returns the only row of a result and checks its number of columns.
func (r *Result) Row(columns int) ([][]byte, error) {
	if len(r.Rows) != 1 || len(r.Rows[0]) < columns {
		width := 0
		if len(r.Rows) > 0 {
			width = len(r.Rows[0])
		}
		return nil, fmt.Errorf("%w: got %d rows and %d columns, want 1 row and %d or more columns",
			ErrMalformed, len(r.Rows), width, columns)
	}
	return r.Rows[0], nil
}

// Query runs a command whose answer is at most one result set, and reads to
// the point where the next command can be sent. After an error of the server
// the connection can be used again unless the error was FATAL.
func (c *Conn) Query(ctx context.Context, command string) (*Result, error) {
	defer c.Watch(ctx)()
	if err := c.Send(command); err != nil {
		return nil, err
	}
	result, err := c.ReadResult()
	if c.survivable(err) {
		if e := c.Drain(); e != nil {
			return nil, errors.Join(err, e)
		}
	}
	if err != nil {
		return nil, err
	}
	return result, c.Drain()
}

// copyPiece is how many bytes go into one CopyData message.
const copyPiece = 64 << 10

// CopyIn runs a command that takes a COPY from this side, and sends it what r
// holds.
func (c *Conn) CopyIn(ctx context.Context, command string, r io.Reader) error {
	defer c.Watch(ctx)()
	if err := c.Send(command); err != nil {
		return err
	}
	kind, _, err := c.Receive()
	if err == nil && kind != CopyInResponse {
		return Unexpected(kind, "waiting for the server to take a COPY")
	}
	if err == nil {
		err = c.sendCopy(r)
	}
	if err == nil {
		_, err = c.ReadResult()
	}
	if err == nil || c.survivable(err) {
		return errors.Join(err, c.Drain())
	}
	return err
}

// sendCopy sends what r holds, and the COPY's end. A server that has met an
// error reads on and answers then.
func (c *Conn) sendCopy(r io.Reader) error {
	piece := make([]byte, copyPiece)
	for {
		n, err := io.ReadFull(r, piece)
		if n > 0 {
			if err := c.SendCopyData(piece[:n]); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return c.SendCopyDone()
		case err != nil:
			return err
		}
	}
}

// Show asks for a setting. It works on servers from release 10 on.
func (c *Conn) Show(ctx context.Context, setting string) (string, error) {
	result, err := c.Query(ctx, "SHOW "+setting)
	if err != nil {
		return "", err
	}
	row, err := result.Row(1)
	if err != nil {
		return "", fmt.Errorf("SHOW %s: %w", setting, err)
	}
	return string(row[0]), nil
}

// ReadResult reads one result set up to its CommandComplete, or a
// CommandComplete alone.
func (c *Conn) ReadResult() (*Result, error) {
	result := &Result{}
	for {
		kind, body, err := c.Receive()
		if err != nil {
			return nil, err
		}
		switch kind {
		case RowDescription:
			if result.Columns != nil {
				return nil, Unexpected(kind, "reading a result set")
			}
			if result.Columns, err = DecodeColumns(body); err != nil {
				return nil, err
			}
		case DataRow:
			if len(result.Rows) >= maxRows {
				return nil, fmt.Errorf("%w: more than %d rows", ErrMalformed, maxRows)
			}
			row, err := DecodeRow(body)
			if err != nil {
				return nil, err
			}
			if len(row) != len(result.Columns) {
				return nil, fmt.Errorf("%w: row has %d columns, its description %d",
					ErrMalformed, len(row), len(result.Columns))
			}
			result.Rows = append(result.Rows, row)
		case CommandComplete:
			result.Tag = Tag(body)
			return result, nil
		default:
			return nil, Unexpected(kind, "reading a result set")
		}
	}
}

// survivable tells whether err is one of the server after which the
// connection goes on. Severity itself is in the server's language.
func (c *Conn) survivable(err error) bool {
	if p := c.ctx.Load(); p != nil && (*p).Err() != nil {
		return false
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return false
	}
	severity := cmp.Or(pg.SeverityUnlocalized, pg.Severity)
	return severity != "FATAL" && severity != "PANIC"
}

// Drain reads up to ReadyForQuery, over CommandComplete messages. The first
// error of the server that comes on the way is returned after that.
func (c *Conn) Drain() error {
	var first error
	for {
		kind, _, err := c.Receive()
		if c.survivable(err) {
			if first == nil {
				first = err
			}
			continue
		}
		if err != nil {
			return errors.Join(first, err)
		}
		switch kind {
		case ReadyForQuery:
			return first
		case CommandComplete:
		default:
			return errors.Join(first, Unexpected(kind, "waiting for the end of a command"))
		}
	}
}

// DecodeColumns reads the names out of a RowDescription.
func DecodeColumns(body []byte) ([]string, error) {
	var m pgproto3.RowDescription
	if err := m.Decode(body); err != nil {
		return nil, fmt.Errorf("%w: row description: %w", ErrMalformed, err)
	}
	names := make([]string, len(m.Fields))
	for i := range m.Fields {
		names[i] = string(m.Fields[i].Name)
	}
	return names, nil
}

// DecodeRow reads a DataRow into values of its own.
func DecodeRow(body []byte) ([][]byte, error) {
	var m pgproto3.DataRow
	if err := m.Decode(body); err != nil {
		return nil, fmt.Errorf("%w: data row: %w", ErrMalformed, err)
	}
	row := make([][]byte, len(m.Values))
	for i, v := range m.Values {
		if v != nil {
			row[i] = append([]byte{}, v...)
		}
	}
	return row, nil
}

// Tag is the text of a CommandComplete message.
func Tag(body []byte) string { return strings.TrimRight(string(body), "\x00") }

// QuoteIdentifier quotes a name for a replication command. Names are always
// quoted: the walsender folds unquoted ones to lower case.
func QuoteIdentifier(name string) string {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// QuoteLiteral quotes a string for a replication command: single quotes are
// doubled and a backslash is an ordinary character (PostgreSQL manual, "Streaming Replication Protocol").
func QuoteLiteral(text string) string {
	return "'" + strings.ReplaceAll(text, "'", "''") + "'"
}
