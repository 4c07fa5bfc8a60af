package logstream_test

import (
	"errors"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/internal/pgtest"
	"github.com/pgbraid/pgbraid/internal/replconn"
	"github.com/pgbraid/pgbraid/logstream"
)

// waitFor waits until the archiver's status is as wanted.
func (a *archiver) waitFor(what string, is func(logstream.Status) bool) logstream.Status {
	a.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		s := a.Status()
		if is(s) {
			return s
		}
		if time.Now().After(deadline) {
			a.t.Fatalf("waited in vain for %s: %+v", what, s)
		}
	}
}

// A server that has nothing to say says so when it is asked.
func TestSilentConnectionIsGivenUpAndAnIdleOneIsNot(t *testing.T) {
	t.Parallel()
	c := pgtest.Newest(t).Init(t, keepAll)
	c.Start(t)
	proxy := c.Proxy(t)
	a := archive(t, c.ProxyConnString(proxy.Addr()), logstream.ArchiveOptions{Directory: pgtest.TempDir(t), SilenceLimit: time.Second})
	a.waitFor("the stream", func(s logstream.Status) bool { return s.State == logstream.Streaming })
	time.Sleep(3 * time.Second)
	if s := a.Status(); s.Lost != 0 {
		t.Fatalf("%d connections lost while the server was idle: %v", s.Lost, s.LastError)
	}
	if n := proxy.Inject(pgtest.Silence, pgtest.LogConn); n != 1 {
		t.Fatalf("%d connections, want 1", n)
	}
	s := a.waitFor("the connection to be given up", func(s logstream.Status) bool { return s.Lost == 1 })
	var silent *replconn.SilenceError
	if !errors.As(s.LastError, &silent) || logstream.ErrorClass(s.LastError) != logstream.ClassConnection {
		t.Errorf("lost by %v, class %s", s.LastError, logstream.ErrorClass(s.LastError))
	}
	c.SQL(t, "CREATE TABLE t AS SELECT generate_series(1, 1000)")
	a.await(1, c.CurrentLSN(t))
}
