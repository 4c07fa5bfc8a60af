package replconn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

func TestQuoting(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		`slot`: `"slot"`, `Slot A`: `"Slot A"`, `a"b`: `"a""b"`, `"`: `""""`, ``: `""`, `a\'b`: `"a\'b"`,
	} {
		if got := QuoteIdentifier(name); got != want {
			t.Errorf("identifier %s: %s, want %s", name, got, want)
		}
	}
	for text, want := range map[string]string{
		`label`: `'label'`, `it's`: `'it''s'`, `''`: `''''''`, ``: `''`, `a\b"`: `'a\b"'`,
	} {
		if got := QuoteLiteral(text); got != want {
			t.Errorf("literal %s: %s, want %s", text, got, want)
		}
	}
}

func TestMessagesBetweenEndNothing(t *testing.T) {
	t.Parallel()
	between := []pgproto3.BackendMessage{
		&pgproto3.NoticeResponse{Severity: "NOTICE", Message: "n"},
		&pgproto3.ParameterStatus{Name: "server_version", Value: "19devel"},
		&pgproto3.NotificationResponse{PID: 1, Channel: "c", Payload: "p"},
		&pgproto3.NoticeResponse{Severity: "WARNING", Code: "01000", Message: "w"},
	}
	var answer []pgproto3.BackendMessage
	for _, m := range []pgproto3.BackendMessage{
		&pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{{Name: []byte("a")}, {Name: []byte("b")}}},
		&pgproto3.DataRow{Values: [][]byte{[]byte("1"), nil}},
		&pgproto3.DataRow{Values: [][]byte{{}, []byte("2")}},
		&pgproto3.CommandComplete{CommandTag: []byte("SELECT")},
		&pgproto3.ReadyForQuery{TxStatus: 'I'},
	} {
		answer = append(append(answer, between...), m)
	}
	c, server := piped(t)
	play(t, server, encode(t, answer...))
	var notices []string
	c.OnNotice = func(n *pgconn.Notice) { notices = append(notices, n.Severity+" "+n.Message) }
	result, err := c.Query(t.Context(), "SHOW x")
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%s %q %s", result.Columns, result.Rows, result.Tag); got != `[a b] [["1" ""] ["" "2"]] SELECT` {
		t.Errorf("result %s", got)
	}
	if result.Rows[0][1] != nil || result.Rows[1][0] == nil {
		t.Error("NULL and the empty string are mixed up")
	}
	if got := strings.Join(notices, ","); got != strings.TrimSuffix(strings.Repeat("NOTICE n,WARNING w,", 5), ",") {
		t.Errorf("notices %s", got)
	}
	if c.ServerVersion() != 190000 {
		t.Errorf("version %d: the change was not taken", c.ServerVersion())
	}
}

func TestServerThatInventsParametersDoesNotFillTheMemory(t *testing.T) {
	t.Parallel()
	var stream []byte
	for i := range 3000 {
		stream = append(stream, encode(t, &pgproto3.ParameterStatus{Name: fmt.Sprint("p", i), Value: "v"})...)
	}
	stream = append(stream, encode(t, &pgproto3.ParameterStatus{Name: "server_version", Value: "10.1"}, &pgproto3.ReadyForQuery{TxStatus: 'I'})...)
	c := reading(stream)
	if err := c.Drain(); err != nil {
		t.Fatal(err)
	}
	if len(c.params) > 1000 || c.ServerVersion() != 100001 {
		t.Errorf("%d parameters, version %d", len(c.params), c.ServerVersion())
	}
}

var (
	ready    = &pgproto3.ReadyForQuery{TxStatus: 'I'}
	complete = &pgproto3.CommandComplete{CommandTag: []byte("DONE")}
)

func TestQueryAfterAnErrorOfTheServerWorks(t *testing.T) {
	t.Parallel()
	c, server := piped(t)
	play(t, server,
		encode(t, &pgproto3.ErrorResponse{Severity: "ERROR", Code: "42704", Message: "no such slot", Hint: "h"}, ready),
		encode(t, complete, &pgproto3.ErrorResponse{Severity: "ERROR", Code: "55006", Message: "late"}, ready),
		encode(t, complete, ready))
	_, err := c.Query(t.Context(), "ONE")
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != "42704" || pg.Message != "no such slot" || pg.Hint != "h" {
		t.Errorf("first: %v", err)
	}
	// An error behind CommandComplete is one as well.
	if _, err := c.Query(t.Context(), "TWO"); !errors.As(err, &pg) || pg.Code != "55006" {
		t.Errorf("second: %v", err)
	}
	if result, err := c.Query(t.Context(), "THREE"); err != nil || result.Tag != "DONE" {
		t.Errorf("third: %v", err)
	}
}

func TestFatalErrorIsReturnedWithoutWaitingForMore(t *testing.T) {
	t.Parallel()
	for _, fatal := range []*pgproto3.ErrorResponse{
		{Severity: "FATAL", Code: "57P01", Message: "terminating"},
		{Severity: "ВАЖНО", SeverityUnlocalized: "FATAL", Code: "57P01", Message: "завершение"},
		{Severity: "PANIC", SeverityUnlocalized: "PANIC", Code: "57P01", Message: "panic"},
	} {
		// The connection stays open: whoever waits for ReadyForQuery hangs.
		c, server := piped(t)
		play(t, server, encode(t, fatal), encode(t, complete, fatal))
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		for _, when := range []string{"instead of an answer", "behind it"} {
			_, err := c.Query(ctx, "X")
			var pg *pgconn.PgError
			if !errors.As(err, &pg) || pg.Code != "57P01" || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s %s: %v", fatal.Severity, when, err)
			}
		}
	}
}

func TestErrorOfTheServerIsKeptWhenTheConnectionEndsBehindIt(t *testing.T) {
	t.Parallel()
	failure := &pgproto3.ErrorResponse{Severity: "ERROR", Code: "XX001", Message: "checksum"}
	for _, stream := range [][]byte{
		encode(t, failure),
		encode(t, failure, &pgproto3.ErrorResponse{Severity: "FATAL", Code: "57P01"}),
		encode(t, failure, &pgproto3.CopyDone{}),
	} {
		err := reading(stream).Drain()
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || pg.Code != "XX001" {
			t.Errorf("%v, want the error of the server first", err)
		}
	}
}

func TestResultSetsThatMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	columns := &pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{{Name: []byte("a")}}}
	for name, stream := range map[string][]byte{
		"two descriptions":        encode(t, columns, columns),
		"row without description": encode(t, &pgproto3.DataRow{Values: [][]byte{nil}}),
		"too few columns":         encode(t, columns, &pgproto3.DataRow{}),
		"too many columns":        encode(t, columns, &pgproto3.DataRow{Values: [][]byte{nil, nil}}),
		"COPY":                    encode(t, &pgproto3.CopyOutResponse{}),
		"unknown type":            frame('!', nil),
		"negative value length":   append(encode(t, columns), frame('D', []byte{0, 1, 0xff, 0xff, 0xff, 0xfe})...),
		"too many rows":           append(encode(t, columns), bytes.Repeat(encode(t, &pgproto3.DataRow{Values: [][]byte{nil}}), maxRows+1)...),
	} {
		if _, err := reading(stream).ReadResult(); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, r := range []Result{{}, {Rows: [][][]byte{{nil}}}, {Rows: [][][]byte{{nil, nil}, {nil, nil}}}} {
		if _, err := r.Row(2); !errors.Is(err, ErrMalformed) {
			t.Errorf("%d rows: %v", len(r.Rows), err)
		}
	}
	if row, err := (&Result{Rows: [][][]byte{{nil, []byte("b"), nil}}}).Row(2); err != nil || string(row[1]) != "b" {
		t.Errorf("a wider row than asked for: %q, %v", row, err)
	}
}
