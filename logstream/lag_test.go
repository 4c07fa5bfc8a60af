package logstream

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pgbraid/pgbraid/internal/replconn"
)

func TestLagIsTheAgeOfTheOldestWALThatIsBehind(t *testing.T) {
	t.Parallel()
	begin := time.Unix(1000, 0)
	at := func(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }
	var l lag
	want := func(what string, since time.Time) {
		t.Helper()
		if got := l.since(); !got.Equal(since) {
			t.Errorf("%s: since %v, want %v", what, got, since)
		}
	}
	want("nothing known", time.Time{})
	l.ahead(100, at(0))
	l.ahead(100, at(500)) // says nothing new
	want("one sample", at(0))
	l.ahead(200, at(1000))
	l.ahead(250, at(1050)) // joins the one before
	l.ahead(300, at(2000))
	l.reached(99)
	want("short of the first", at(0))
	l.reached(100)
	want("at the first", at(1000))
	l.reached(200)
	want("amid the second", at(1000))
	l.reached(250)
	want("at the second", at(2000))
	l.cut(260)
	l.reached(260)
	want("the server has less now", time.Time{})
}

// However many samples there are, the lag may be said to be longer than it is
// but not shorter, and to be no more than half as long again.
func TestLagOfManySamplesIsNeverTooShort(t *testing.T) {
	t.Parallel()
	begin := time.Unix(1000, 0)
	const n = 5000
	var l lag
	at := func(i int) time.Time { return begin.Add(time.Duration(i) * time.Second) }
	for i := range n {
		l.ahead(LSN(i+1), at(i))
	}
	for i := range n - 1 {
		l.reached(LSN(i + 1))
		exact, got := at(i+1), l.since()
		if got.After(exact) {
			t.Fatalf("reached %d: since %v, which is after %v", i+1, got, exact)
		}
		if age, real := at(n).Sub(got), at(n).Sub(exact); age > real*3/2+3*time.Second {
			t.Fatalf("reached %d: %s old, really %s", i+1, age, real)
		}
	}
	l.reached(n)
	if l.n != 0 {
		t.Errorf("%d samples left", l.n)
	}
}

func TestErrorClassGoesByWhatTheErrorIs(t *testing.T) {
	t.Parallel()
	server := func(code string) error { return fmt.Errorf("doing: %w", &pgconn.PgError{Code: code}) }
	_, refused := net.Dial("tcp", "127.0.0.1:1")
	for _, c := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{errors.New("connection lost, disk full, slot"), ClassOther},
		{refused, ClassConnection},
		{io.ErrUnexpectedEOF, ClassConnection},
		{replconn.ErrClosedByServer, ClassConnection},
		{ErrTerminatedEarly, ClassConnection},
		{fmt.Errorf("writing: %w", os.ErrDeadlineExceeded), ClassConnection},
		{server("57P01"), ClassConnection},
		{server("57P03"), ClassConnection},
		{server("08006"), ClassConnection},
		{server("53300"), ClassConnection},
		{&StoreError{&os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}}, ClassDiskFull},
		{&StoreError{syscall.EDQUOT}, ClassDiskFull},
		{&StoreError{syscall.EIO}, ClassOther},
		{server("53100"), ClassOther}, // the server's disk
		{&WALMissingError{Err: server("58P01")}, ClassWALMissing},
		{server("58P01"), ClassWALMissing},
		{&TimelineError{}, ClassTimeline},
		{&SystemMismatchError{}, ClassSystem},
		{&MissingSlotError{"s"}, ClassSlot},
		{server("42704"), ClassSlot},
		{server("55006"), ClassSlot},
		{server("55000"), ClassSlot},
		{server("28P01"), ClassAuth},
		{server("28000"), ClassAuth},
		{server("42501"), ClassAuth},
		{fmt.Errorf("%w: x", replconn.ErrMalformed), ClassProtocol},
		{server("08P01"), ClassProtocol},
		{server("x"), ClassOther},
		{errors.Join(errors.New("x"), &TimelineError{}), ClassTimeline},
	} {
		if got := ErrorClass(c.err); got != c.want {
			t.Errorf("%v is %q, want %q", c.err, got, c.want)
		}
	}
}
