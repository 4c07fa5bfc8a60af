package logstream_test

import (
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/internal/pgtest"
	"github.com/pgbraid/pgbraid/internal/pgtest/walsender"
	"github.com/pgbraid/pgbraid/logstream"
)

// A server that writes a little and then nothing for hours: the slot must not
// stay where it was, nor what was received in the system's memory.
func TestIdleServersLogIsMadeDurableAtTheStatusInterval(t *testing.T) {
	t.Parallel()
	c := pgtest.Newest(t).Init(t, keepAll)
	c.Start(t)
	c.SQL(t, "SELECT pg_create_physical_replication_slot('archive', true)")
	c.SQL(t, "CREATE TABLE t (n int)")
	a := archive(t, c.ConnString(), logstream.ArchiveOptions{Directory: pgtest.TempDir(t), Slot: "archive", StatusInterval: 500 * time.Millisecond})
	c.SQL(t, "INSERT INTO t SELECT generate_series(1, 100)")
	end := c.CurrentLSN(t)
	a.await(1, end)
	a.waitFor("what was received to be durable", func(s logstream.Status) bool { return s.Durable.LSN >= parseLSN(t, end) })
	c.WaitFor(t, "SELECT restart_lsn >= '"+end+"' FROM pg_replication_slots WHERE slot_name = 'archive'", "t", 20*time.Second)
	if s := a.Status(); s.Lost != 0 {
		t.Errorf("%d connections lost: %v", s.Lost, s.LastError)
	}
}

// The server lost the connection before it heard that the last WAL is durable,
// and a commit waits for that: it has nothing more to send.
func TestSynchronousReceiverReportsAtTheStreamsStart(t *testing.T) {
	t.Parallel()
	const end = origin + 5000
	b := scriptRange(t, origin, end, func(_ *walsender.Options, _ *logstream.DirOptions, o *logstream.Options) {
		o.Synchronous, o.GiveUpAfter = true, 0
	})
	b.wal.At(walsender.LSN(end), walsender.Cut)
	told := make(chan walsender.Feedback, 1)
	b.wal.AtEvery(walsender.LSN(end), func(c *walsender.Conn) error {
		// While the WAL is compared nothing is reported as flushed.
		f, err := c.ReceiveFeedback()
		for err == nil && f.Flushed == 0 {
			f, err = c.ReceiveFeedback()
		}
		if err == nil {
			told <- f
		}
		return err
	})
	done := b.start(t.Context(), 1, origin)
	select {
	case f := <-told:
		if f.Flushed != walsender.LSN(end) || len(b.server.Startups()) != 2 {
			t.Errorf("connection %d heard %+v", len(b.server.Startups()), f)
		}
	case <-time.After(8 * time.Second):
		t.Errorf("no status came; %d connections, %+v", len(b.server.Startups()), b.Status())
	}
	b.Stop()
	_ = b.result(done) // the server may be gone
}
