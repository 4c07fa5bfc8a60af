package logstream_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/internal/pgtest"
	"github.com/pgbraid/pgbraid/logstream"
)

// digests are the directory's files of WAL with what is in them.
func digests(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	for _, name := range strings.Fields(names(t, dir)) {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s %x\n", name, sha256.Sum256(content))
	}
	return b.String()
}

// rows has a cluster write WAL of its own, until its position is after another.
func rows(t *testing.T, c *pgtest.Cluster, tag, past string) {
	t.Helper()
	for {
		c.SQL(t, "INSERT INTO t SELECT length('"+tag+"') + n FROM generate_series(1, 2000) AS n")
		if past == "" || parseLSN(t, c.CurrentLSN(t)) > parseLSN(t, past)+100_000 {
			return
		}
	}
}

// refusedAsDiverged checks that an archiver ended because the server's WAL is
// another than the one in the directory, which is as it was.
func (a *archiver) refusedAsDiverged(t *testing.T, dir, before string, timeline logstream.TimelineID) {
	t.Helper()
	err := a.end()
	var diverged *logstream.DivergedError
	if !errors.As(err, &diverged) {
		t.Fatalf("got %v, want a DivergedError\nfiles: %s", err, names(t, dir))
	}
	t.Log(err)
	if diverged.Hint() == "" || diverged.Stored.Timeline != timeline || diverged.Server.Timeline != timeline ||
		diverged.Differs == 0 || diverged.Differs >= diverged.Stored.LSN || diverged.Server.LSN <= diverged.Differs {
		t.Errorf("error: %+v", diverged)
	}
	if after := digests(t, dir); after != before {
		t.Errorf("files before:\n%safter:\n%s", before, after)
	}
}

// Two standbys are promoted at the same place: both are on timeline 2, with
// the same history, and each writes WAL of its own.
func TestServerWithTheSameTimelineAndOtherWALIsRefused(t *testing.T) {
	for _, where := range []string{"within a segment", "after a segment", "at a restart"} {
		t.Run(where, func(t *testing.T) {
			p := newPair(t, pgtest.Newest(t))
			c := pgtest.NewStandby(t, p.primary, keepAll)
			c.Start(t)
			proxy := p.primary.Proxy(t)
			dir := pgtest.TempDir(t)
			o := logstream.ArchiveOptions{Directory: dir}
			a := archive(t, p.primary.ProxyConnString(proxy.Addr()), o)
			p.primary.SQL(t, "INSERT INTO t SELECT generate_series(1, 1000)")
			a.await(1, p.primary.CurrentLSN(t))
			p.primary.Stop(t, pgtest.Fast) // both standbys get all of it
			p.standby.Promote(t)
			rows(t, p.standby, "b", "")
			end := p.standby.CurrentLSN(t)
			if where == "after a segment" {
				end = nextSegment(t, p.standby, mib16)
			}
			proxy.SetTarget(p.standby)
			a.await(2, end)
			if where == "at a restart" {
				a.stop()
			}
			p.standby.Kill(t)
			if where != "at a restart" {
				waitLost(t, a)
			}
			if where == "after a segment" {
				waitUntil(t, a, "the segment is sealed", func(s logstream.Status) bool { return s.Segments > 0 })
			}
			before := digests(t, dir)
			c.Promote(t)
			rows(t, c, "of c", end)
			if where == "after a segment" {
				nextSegment(t, c, mib16)
				rows(t, c, "of c", end)
			}
			proxy.SetTarget(c)
			if where == "at a restart" {
				a = archive(t, p.primary.ProxyConnString(proxy.Addr()), o)
			}
			a.refusedAsDiverged(t, dir, before, 2)
		})
	}
}

// waitLost waits until the archiver has lost its connection, and with it what
// it wrote last is in its files.
func waitLost(t *testing.T, a *archiver) {
	t.Helper()
	waitUntil(t, a, "the connection is lost", func(s logstream.Status) bool { return s.Lost > 0 && s.State != logstream.Streaming })
}

func waitUntil(t *testing.T, a *archiver, what string, is func(logstream.Status) bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(a.Status()); {
		if time.Now().After(deadline) {
			t.Fatalf("waited until %s: %+v", what, a.Status())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// A virtual machine that is set back to a snapshot is the same server on the
// same timeline, and writes other WAL.
func TestServerThatWasSetBackIsRefused(t *testing.T) {
	c := pgtest.Newest(t).Init(t, keepAll)
	c.Start(t)
	c.SQL(t, "CREATE TABLE t (n int)")
	dir := pgtest.TempDir(t)
	a := archive(t, c.ConnString(), logstream.ArchiveOptions{Directory: dir})
	rows(t, c, "first", "")
	a.await(1, c.CurrentLSN(t))
	c.Stop(t, pgtest.Fast)
	snapshot := filepath.Join(pgtest.TempDir(t), "snapshot")
	copyAll := func(from, to string) {
		t.Helper()
		if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
			t.Fatalf("cp: %v\n%s", err, out)
		}
	}
	copyAll(c.DataDir, snapshot)
	c.Start(t)
	rows(t, c, "second", "")
	end := c.CurrentLSN(t)
	a.await(1, end)
	c.Stop(t, pgtest.Fast)
	end = a.Status().Written.LSN.String()
	waitLost(t, a)
	before := digests(t, dir)
	if err := os.RemoveAll(c.DataDir); err != nil {
		t.Fatal(err)
	}
	copyAll(snapshot, c.DataDir)
	c.Start(t)
	rows(t, c, "another third", end)
	a.refusedAsDiverged(t, dir, before, 1)
}

// A crash of the primary is none of that: what it sent is what it has.
func TestCrashedPrimaryIsTheSameServer(t *testing.T) {
	pgtest.ForEachVersion(t, func(t *testing.T, s pgtest.Server) {
		c := s.Init(t, keepAll)
		c.Start(t)
		c.SQL(t, "CREATE TABLE t (n int)")
		dir := pgtest.TempDir(t)
		a := archive(t, c.ConnString(), logstream.ArchiveOptions{Directory: dir})
		w := pgtest.StartWriter(t, c, pgtest.WriterOptions{RowBytes: 1000, Rows: 20})
		for range 4 {
			w.WaitCommitted(t, 300)
			c.Kill(t) // within a transaction
			c.Start(t)
		}
		w.Stop(t)
		c.SQL(t, "INSERT INTO t VALUES (1)")
		a.await(1, nextSegment(t, c, mib16))
		a.stop()
		c.Stop(t, pgtest.Fast)
		if n, _ := compareWithServer(t, dir, mib16, c.DataDir); n == 0 {
			t.Error("no complete segment")
		}
	})
}

// The server may have removed the segment before the one at hand, which was
// received: then the stream begins without it, on a real server too.
func TestServerWithoutTheSegmentBeforeIsGoneOnWith(t *testing.T) {
	pgtest.ForEachVersion(t, func(t *testing.T, s pgtest.Server) {
		c := s.Init(t, pgtest.SegmentSize(1), pgtest.Config("min_wal_size = '2MB'", "max_wal_size = '2MB'"))
		c.Start(t)
		c.SQL(t, "CREATE TABLE t (n int)")
		c.SQL(t, "SELECT pg_create_physical_replication_slot('archive', true)")
		dir := pgtest.TempDir(t)
		o := logstream.ArchiveOptions{Directory: dir, Slot: "archive"}
		a := archive(t, c.ConnString(), o)
		rows(t, c, "first", "")
		end := nextSegment(t, c, mib1)
		a.await(1, end)
		a.stop()
		last := mib1.FileName(1, mib1.Segment(parseLSN(t, end))-1)
		for range 20 {
			if _, err := os.Stat(filepath.Join(c.DataDir, "pg_wal", last)); err != nil {
				break
			}
			c.SQL(t, "INSERT INTO t VALUES (1)")
			c.SwitchWAL(t)
			c.SQL(t, "CHECKPOINT")
		}
		if _, err := os.Stat(filepath.Join(c.DataDir, "pg_wal", last)); err == nil {
			t.Fatalf("the server keeps %s", last)
		}
		a = archive(t, c.ConnString(), o)
		a.await(1, nextSegment(t, c, mib1))
		a.stop()
		if s := a.Status(); s.Lost != 0 {
			t.Errorf("%d connections lost", s.Lost)
		}
		if bad := checked(t, dir); bad != "" {
			t.Errorf("bad files: %s", bad)
		}
	})
}
