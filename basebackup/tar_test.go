package basebackup_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/basebackup"
	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// unpack makes a data directory of a tar backup without tablespaces.
func (c *clone) unpack() {
	c.t.Helper()
	archives := c.options.Directory
	data := filepath.Join(c.root, "unpacked")
	for _, a := range []struct{ archive, into string }{
		{"base.tar*", data},
		{"pg_wal.tar*", filepath.Join(data, "pg_wal")},
	} {
		if err := os.MkdirAll(a.into, 0o700); err != nil {
			c.t.Fatal(err)
		}
		found, err := filepath.Glob(filepath.Join(archives, a.archive))
		if err != nil || len(found) != 1 {
			c.t.Fatalf("archives %s: %q, %v", a.archive, found, err)
		}
		if out, err := exec.Command("tar", "-xf", found[0], "-C", a.into).CombinedOutput(); err != nil {
			c.t.Fatalf("tar: %v: %s", err, out)
		}
	}
	c.options.Directory = data
}

// The segment that was being received goes on where it was broken off, and is
// in the archive once.
func TestLogConnectionLostInATarBackup(t *testing.T) {
	t.Parallel()
	s := pgtest.Newest(t)
	for _, compress := range []string{"", "zstd:1"} {
		primary := s.Init(t)
		primary.Start(t)
		writer := pgtest.StartWriter(t, primary, pgtest.WriterOptions{})
		c := newClone(t, primary.ConnString())
		c.options.Format, c.options.Compress = basebackup.Tar, compress
		c.options.MaxRate = 8 << 10
		c.start()
		c.awaitStreams()
		before := "0"
		for range 2 {
			// Another walsender than before.
			primary.WaitFor(t, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND pid <> "+before, "1", 10*time.Second)
			before = primary.Query(t, "SELECT pid FROM pg_stat_replication WHERE state = 'streaming'")
			writer.WaitCommitted(t, 200)
			primary.SQL(t, "SELECT pg_switch_wal()")
			if n := primary.TerminateWalsenders(t, "state = 'streaming'"); n != 1 {
				t.Fatalf("%d walsenders terminated, want 1", n)
			}
		}
		c.must()
		writer.Stop(t)
		noWalsenders(t, primary)
		c.unpack()
		standby := c.mustFollow(primary)
		writer.AssertContains(t, standby, writer.Committed())
		standby.Stop(t, pgtest.Fast)
		primary.Stop(t, pgtest.Fast)
	}
}
