package logstream_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/internal/pgtest"
	"github.com/pgbraid/pgbraid/logstream"
)

// pair is a primary, a standby of it, and a cluster to restore the archive
// into, all at the same state.
type pair struct{ primary, standby, base *pgtest.Cluster }

func newPair(t *testing.T, s pgtest.Server) pair {
	t.Helper()
	p := s.Init(t, keepAll)
	p.Start(t)
	p.SQL(t, "CREATE TABLE t (n int)")
	standby := pgtest.NewStandby(t, p, keepAll)
	standby.Start(t)
	return pair{p, standby, pgtest.NewStandby(t, p)}
}

// bothHosts leads to whichever of the two takes writes.
func (p pair) bothHosts() string {
	return fmt.Sprintf("host=%s,%s port=%d,%d user=postgres dbname=postgres target_session_attrs=read-write sslmode=disable",
		p.primary.SocketDir, p.standby.SocketDir, p.primary.Port, p.standby.Port)
}

// checkRestored recovers the archive to its end and compares.
func (p pair) checkRestored(t *testing.T, dir string, with *pgtest.Cluster, timeline string) {
	t.Helper()
	t.Logf("files: %s", names(t, dir))
	restore(t, p.base, dir)
	p.base.WaitFor(t, "SELECT pg_is_in_recovery()", "f", 60*time.Second)
	pgtest.AssertSameDigests(t, pgtest.Digest(t, p.base), pgtest.Digest(t, with))
	if content, err := os.ReadFile(filepath.Join(dir, "0000000"+timeline+".history")); err != nil || len(content) == 0 {
		t.Errorf("history of timeline %s: %v", timeline, err)
	}
}

func TestPromotionWhileStreamingIsFollowed(t *testing.T) {
	p := newPair(t, pgtest.Newest(t))
	dir := pgtest.TempDir(t)
	a := archive(t, p.bothHosts(), logstream.ArchiveOptions{Directory: dir})
	p.primary.SQL(t, "INSERT INTO t SELECT generate_series(1, 1000)")
	a.await(1, p.primary.CurrentLSN(t))
	p.primary.WaitCatchup(t, p.standby)
	p.primary.Stop(t, pgtest.Immediate)
	p.standby.Promote(t)
	p.standby.SQL(t, "INSERT INTO t SELECT generate_series(1001, 2000)")
	a.await(2, p.standby.CurrentLSN(t))
	a.stop()
	if s := a.Status(); s.Switches != 1 {
		t.Errorf("%d switches, want 1", s.Switches)
	}
	if got := names(t, dir); !strings.Contains(got, "0000000100000000000000") || !strings.Contains(got, ".partial") {
		t.Errorf("files: %s", got)
	}
	p.checkRestored(t, dir, p.standby, "2")
}

func TestPromotionOfTheStreamedStandbyIsFollowedOnOneConnection(t *testing.T) {
	p := newPair(t, pgtest.Newest(t))
	dir := pgtest.TempDir(t)
	// From the standby itself: its walsender ends the timeline in mid stream.
	a := archive(t, p.standby.ConnString(), logstream.ArchiveOptions{Directory: dir})
	p.primary.SQL(t, "INSERT INTO t SELECT generate_series(1, 1000)")
	p.primary.WaitCatchup(t, p.standby)
	a.await(1, p.primary.CurrentLSN(t))
	p.standby.Promote(t)
	p.standby.SQL(t, "INSERT INTO t SELECT generate_series(1001, 2000)")
	a.await(2, p.standby.CurrentLSN(t))
	a.stop()
	p.checkRestored(t, dir, p.standby, "2")
}

func TestPromotionsWhileTheReceiverIsDownAreWalkedInOrder(t *testing.T) {
	p := newPair(t, pgtest.Newest(t))
	dir := pgtest.TempDir(t)
	a := archive(t, p.primary.ConnString(), logstream.ArchiveOptions{Directory: dir})
	p.primary.SQL(t, "INSERT INTO t SELECT generate_series(1, 1000)")
	a.await(1, p.primary.CurrentLSN(t))
	a.stop()
	p.primary.WaitCatchup(t, p.standby)
	p.primary.Stop(t, pgtest.Fast)
	p.standby.Promote(t)
	p.standby.SQL(t, "INSERT INTO t SELECT generate_series(1001, 2000)")
	last := p.standby
	for timeline := 3; timeline <= 4; timeline++ {
		next := pgtest.NewStandby(t, last, keepAll)
		next.Start(t)
		last.SQL(t, "INSERT INTO t SELECT generate_series(1, 100)")
		last.SwitchWAL(t)
		last.SQL(t, "INSERT INTO t SELECT generate_series(1, 100)")
		last.WaitCatchup(t, next)
		last.Stop(t, pgtest.Immediate)
		next.Promote(t)
		last = next
	}
	last.SQL(t, "INSERT INTO t SELECT generate_series(2001, 3000)")
	// The chain's WAL may have to come from the standby that copied it.
	a = archive(t, last.ConnString(), logstream.ArchiveOptions{
		Directory: dir, RestoreCommand: logstream.RestoreCommand("cp " + filepath.Join(p.standby.DataDir, "pg_wal") + "/%f %p 2>/dev/null"),
	})
	a.await(4, last.CurrentLSN(t))
	a.stop()
	for _, name := range []string{"00000002.history", "00000003.history", "00000004.history"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	p.checkRestored(t, dir, last, "4")
}

func TestSwitchExactlyOnASegmentBoundaryIsFollowed(t *testing.T) {
	for _, s := range pgtest.Servers(t) {
		t.Run(s.String(), func(t *testing.T) {
			// The old primary may write a record of its own behind the
			// switch, before it is stopped.
			for range 4 {
				if switchOnBoundary(t, s) {
					return
				}
			}
			t.Error("no switch fell on a segment boundary")
		})
	}
}

// switchOnBoundary promotes right after a segment was ended, and tells whether
// the timelines meet on that boundary.
func switchOnBoundary(t *testing.T, s pgtest.Server) bool {
	p := newPair(t, s)
	dir := pgtest.TempDir(t)
	a := archive(t, p.bothHosts(), logstream.ArchiveOptions{Directory: dir})
	p.primary.SQL(t, "INSERT INTO t SELECT generate_series(1, 1000)")
	end := nextSegment(t, p.primary, mib16)
	a.await(1, end)
	p.standby.WaitReplay(t, end)
	p.primary.Stop(t, pgtest.Immediate)
	p.standby.Promote(t)
	p.standby.SQL(t, "INSERT INTO t SELECT generate_series(1001, 2000)")
	a.await(2, p.standby.CurrentLSN(t))
	a.stop()
	content, err := os.ReadFile(filepath.Join(dir, "00000002.history"))
	if err != nil {
		t.Fatal(err)
	}
	h, err := logstream.ParseHistory(content)
	if err != nil {
		t.Fatal(err)
	}
	if fork, _ := h.SwitchPoint(1); mib16.Offset(fork) != 0 {
		return false
	}
	p.checkRestored(t, dir, p.standby, "2")
	return true
}

func TestReceiverPastTheForkSaysSo(t *testing.T) {
	p := newPair(t, pgtest.Newest(t))
	dir := pgtest.TempDir(t)
	a := archive(t, p.primary.ConnString(), logstream.ArchiveOptions{Directory: dir})
	p.primary.WaitCatchup(t, p.standby)
	p.standby.Stop(t, pgtest.Fast)
	// WAL that the standby never gets.
	p.primary.SQL(t, "INSERT INTO t SELECT generate_series(1, 1000)")
	ahead := p.primary.CurrentLSN(t)
	a.await(1, ahead)
	a.stop()
	p.primary.Stop(t, pgtest.Immediate)
	p.standby.Start(t)
	p.standby.Promote(t)
	before := names(t, dir)

	b := archive(t, p.standby.ConnString(), logstream.ArchiveOptions{Directory: dir})
	err := b.end()
	var fork *logstream.TimelineError
	if !errors.As(err, &fork) || fork.Fork == 0 || fork.Position.LSN < parseLSN(t, ahead) || fork.Hint() == "" {
		t.Fatalf("got %v, want a TimelineError with the fork and the end %s", err, ahead)
	}
	t.Logf("%v\nfiles: %s", err, before)
	if after := names(t, dir); after != before {
		t.Errorf("files before: %s, after: %s", before, after)
	}
}

func TestSplitBrainGoesOnWithoutAHole(t *testing.T) {
	p := newPair(t, pgtest.Newest(t))
	dir := pgtest.TempDir(t)
	a := archive(t, p.standby.ConnString(), logstream.ArchiveOptions{Directory: dir})
	p.primary.SQL(t, "INSERT INTO t SELECT generate_series(1, 1000)")
	a.await(1, p.primary.CurrentLSN(t))
	p.primary.WaitCatchup(t, p.standby)
	p.standby.Promote(t) // by mistake: the primary lives
	p.standby.SQL(t, "INSERT INTO t SELECT generate_series(1001, 2000)")
	a.await(2, p.standby.CurrentLSN(t))
	a.stop()
	p.standby.Stop(t, pgtest.Fast)

	// With timeline 2's files there, the old primary is refused.
	b := archive(t, p.primary.ConnString(), logstream.ArchiveOptions{Directory: dir})
	var behind *logstream.TimelineError
	if err := b.end(); !errors.As(err, &behind) || behind.Server != 1 {
		t.Fatalf("got %v, want a TimelineError about the server on timeline 1", err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "00000002*"))
	if err != nil || len(files) < 2 {
		t.Fatalf("timeline 2's files: %v, %v", files, err)
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	b = archive(t, p.primary.ConnString(), logstream.ArchiveOptions{Directory: dir})
	p.primary.SQL(t, "INSERT INTO t SELECT generate_series(2001, 3000)")
	b.await(1, nextSegment(t, p.primary, mib16))
	b.stop()
	t.Logf("files: %s", names(t, dir))
	if n, _ := compareWithServer(t, dir, mib16, filepath.Clean(p.primary.DataDir)); n == 0 {
		t.Error("no complete segment")
	}
	restore(t, p.base, dir)
	p.base.WaitFor(t, "SELECT pg_is_in_recovery()", "f", 60*time.Second)
	pgtest.AssertSameDigests(t, pgtest.Digest(t, p.base), pgtest.Digest(t, p.primary))
}
