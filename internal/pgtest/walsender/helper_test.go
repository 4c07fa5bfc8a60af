package walsender

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func connect(t *testing.T, s *Server) *pgconn.PgConn {
	t.Helper()
	c, err := pgconn.Connect(testContext(t), s.ConnString()+" replication=true")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// query returns the first row of the only result.
func query(t *testing.T, c *pgconn.PgConn, text string) ([]string, error) {
	t.Helper()
	results, err := c.Exec(testContext(t), text).ReadAll()
	if err != nil {
		return nil, err
	}
	var row []string
	if len(results) > 0 && len(results[0].Rows) > 0 {
		for _, v := range results[0].Rows[0] {
			if v == nil {
				row = append(row, "NULL")
			} else {
				row = append(row, string(v))
			}
		}
	}
	return row, nil
}

// wire is a connection whose messages the test reads itself.
type wire struct {
	t  *testing.T
	h  *pgconn.HijackedConn
	fe *pgproto3.Frontend
}

func hijack(t *testing.T, s *Server) *wire {
	t.Helper()
	c, err := pgconn.Connect(testContext(t), s.ConnString()+" replication=true")
	if err != nil {
		t.Fatal(err)
	}
	h, err := c.Hijack()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Conn.Close() })
	_ = h.Conn.SetDeadline(time.Now().Add(20 * time.Second))
	return &wire{t, h, h.Frontend}
}

func (w *wire) send(messages ...pgproto3.FrontendMessage) {
	w.t.Helper()
	for _, m := range messages {
		w.fe.Send(m)
	}
	if err := w.fe.Flush(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *wire) query(text string) {
	w.t.Helper()
	w.send(&pgproto3.Query{String: text})
}

func (w *wire) report(written, flushed LSN) {
	w.t.Helper()
	m := binary.BigEndian.AppendUint64([]byte{'r'}, uint64(written))
	m = binary.BigEndian.AppendUint64(m, uint64(flushed))
	m = append(m, make([]byte, 17)...)
	w.send(&pgproto3.CopyData{Data: m})
}

// brief describes a message in a word or two.
func brief(m pgproto3.BackendMessage) string {
	switch m := m.(type) {
	case *pgproto3.CommandComplete:
		return "C:" + string(m.CommandTag)
	case *pgproto3.DataRow:
		text := "D"
		for _, v := range m.Values {
			if v == nil {
				text += ":NULL"
			} else {
				text += ":" + string(v)
			}
		}
		return text
	case *pgproto3.ErrorResponse:
		return "E:" + m.Code
	case *pgproto3.NoticeResponse:
		return "N:" + m.Severity
	case *pgproto3.CopyData:
		return "d:" + string(m.Data[:1])
	case *pgproto3.RowDescription:
		return "T"
	case *pgproto3.CopyOutResponse:
		return "H"
	case *pgproto3.CopyBothResponse:
		return "W"
	case *pgproto3.CopyDone:
		return "c"
	case *pgproto3.ReadyForQuery:
		return "Z"
	}
	return fmt.Sprintf("%T", m)
}

// reply is an answer up to ReadyForQuery or the end of the connection.
type reply struct {
	messages []string // CopyData left out
	data     [][]byte
	err      error
}

// read collects an answer. on, if set, is called for each message.
func (w *wire) read(on func(pgproto3.BackendMessage)) reply {
	w.t.Helper()
	var r reply
	for {
		m, err := w.fe.Receive()
		if err != nil {
			r.err = err
			return r
		}
		if on != nil {
			on(m)
		}
		if d, ok := m.(*pgproto3.CopyData); ok {
			r.data = append(r.data, append([]byte{}, d.Data...))
			continue
		}
		r.messages = append(r.messages, brief(m))
		if _, ok := m.(*pgproto3.ReadyForQuery); ok {
			return r
		}
	}
}

// wal joins the WAL of 'w' messages and checks that they are contiguous.
func (r *reply) wal(t *testing.T, start LSN) []byte {
	t.Helper()
	var all []byte
	for _, d := range r.data {
		if d[0] != 'w' {
			continue
		}
		if at := LSN(binary.BigEndian.Uint64(d[1:])); at != start+LSN(len(all)) {
			t.Fatalf("message begins at %s, want %s", at, start+LSN(len(all)))
		}
		all = append(all, d[25:]...)
	}
	return all
}

func wantState(t *testing.T, err error, state string) {
	t.Helper()
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != state {
		t.Errorf("error is %v, want SQLSTATE %s", err, state)
	}
}

func isEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// recorder stands in for a test that must fail.
type recorder struct {
	testing.TB
	mu      sync.Mutex
	reports []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reports = append(r.reports, fmt.Sprintf(format, args...))
}

func (r *recorder) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.reports)
}
