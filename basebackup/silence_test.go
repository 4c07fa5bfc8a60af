package basebackup_test

import (
	"errors"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/internal/pgtest"
	"github.com/pgbraid/pgbraid/internal/replconn"
)

// A connection that is open on this side only brings nothing and ends never.
func TestHalfOpenConnections(t *testing.T) {
	t.Parallel()
	primary := pgtest.Newest(t).Init(t)
	primary.Start(t)
	writer := pgtest.StartWriter(t, primary, pgtest.WriterOptions{})
	for _, kind := range []pgtest.ConnKind{pgtest.BackupConn, pgtest.LogConn} {
		proxy := primary.Proxy(t)
		c := newClone(t, primary.ProxyConnString(proxy.Addr()))
		c.options.PrimaryConnInfo = primary.ConnString()
		c.options.MaxRate = 8 << 10
		c.options.SilenceLimit = time.Second
		c.start()
		c.awaitStreams()
		if n := proxy.Inject(pgtest.Silence, kind); n != 1 {
			t.Fatalf("%d connections, want 1", n)
		}
		begun := time.Now()
		err := c.wait()
		var silent *replconn.SilenceError
		switch {
		case kind == pgtest.BackupConn && !errors.As(err, &silent):
			t.Errorf("the backup's connection: %v after %s", err, time.Since(begun))
		case kind == pgtest.BackupConn:
			proxy.Lift() // so that the server hears of the end
			c.mustHaveLeftNothing(primary)
		case err != nil: // the log is taken up again
			t.Error(err)
		default:
			c.mustBeWhole(primary.Server)
		}
	}
	writer.Stop(t)
}
