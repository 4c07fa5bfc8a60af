package logstream_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/internal/compress"
	"github.com/pgbraid/pgbraid/internal/durable"
	"github.com/pgbraid/pgbraid/internal/pgtest"
	"github.com/pgbraid/pgbraid/logstream"
)

// The compressor gets nowhere here until it is let go: commits must not wait for
// it, and what they were told is durable must be there under a last name.
func TestSynchronousCommitDoesNotWaitForTheCompressor(t *testing.T) {
	t.Parallel()
	c := pgtest.Newest(t).Init(t, keepAll, pgtest.SegmentSize(1), pgtest.Config("synchronous_standby_names = 'archive'"))
	c.Start(t)
	dir := pgtest.TempDir(t)
	release := make(chan struct{})
	t.Cleanup(durable.Watch(dir, func(change durable.Change) (int, error) {
		if change.Op == durable.OpWrite && strings.HasSuffix(change.Path, ".gz.tmp") {
			<-release
		}
		return len(change.Data), nil
	}))
	letGo := func() {
		select {
		case <-release:
		default:
			close(release)
		}
	}
	a := archive(t, c.ConnString(), logstream.ArchiveOptions{
		Directory: dir, Synchronous: true, Compression: compress.Spec{Method: compress.Gzip, Level: 9},
	})
	t.Cleanup(letGo)
	c.WaitFor(t, "SELECT sync_state FROM pg_stat_replication WHERE application_name = 'archive'", "sync", 20*time.Second)
	c.SQL(t, "CREATE TABLE t (n int)")
	for range 4 {
		c.SQL(t, "SELECT pg_switch_wal()")
		c.SQL(t, "INSERT INTO t SELECT generate_series(1, 100)") // which waits for the receiver
	}
	end := c.CurrentLSN(t)
	if s := a.Status(); s.Durable.LSN < parseLSN(t, end) {
		t.Errorf("committed up to %s, durable up to %s", end, s.Durable.LSN)
	}
	plain := strings.Fields(names(t, dir))
	for _, name := range plain {
		if len(name) == 24 {
			letGo()
		}
	}
	select {
	case <-release:
	default:
		t.Errorf("no segment has its last name: %q", plain)
		letGo()
	}
	a.waitFor("the compressed segments", func(s logstream.Status) bool { return s.Segments >= 4 })
	a.stop()
	for _, name := range strings.Fields(names(t, dir)) {
		if !strings.HasSuffix(name, ".gz") && !strings.HasSuffix(name, ".partial") {
			t.Errorf("left: %s", name)
		}
	}
	if segments, _ := compareWithServer(t, dir, 1<<20, c.DataDir); segments < 4 {
		t.Errorf("%d segments", segments)
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) < 5 {
		t.Errorf("%d files, %v", len(list), err)
	}
}
