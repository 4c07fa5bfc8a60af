package logstream_test

import (
	"bytes"
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

// aheadOfStandby has the primary write WAL that the archiver gets and the
// standby never does: in the segment at hand or, if sealed is set, up to the end
// of one.
func (p pair) aheadOfStandby(t *testing.T, a *archiver, sealed bool) (ahead string) {
	t.Helper()
	p.primary.SQL(t, "INSERT INTO t SELECT generate_series(1, 1000)")
	p.primary.WaitCatchup(t, p.standby)
	p.standby.Stop(t, pgtest.Fast)
	p.primary.SQL(t, "INSERT INTO t SELECT generate_series(100001, 101000)")
	ahead = p.primary.CurrentLSN(t)
	if sealed {
		ahead = nextSegment(t, p.primary, mib16)
	}
	a.await(1, ahead)
	return ahead
}

// promoteBehind brings the standby up in the place of the primary, which is killed.
func (p pair) promoteBehind(t *testing.T) (fork logstream.LSN) {
	t.Helper()
	p.primary.Kill(t)
	p.standby.Start(t)
	p.standby.Promote(t)
	p.standby.SQL(t, "INSERT INTO t SELECT generate_series(1001, 2000)")
	content, err := os.ReadFile(filepath.Join(p.standby.DataDir, "pg_wal", "00000002.history"))
	if err != nil {
		t.Fatal(err)
	}
	h, err := logstream.ParseHistory(content)
	if err != nil {
		t.Fatal(err)
	}
	fork, _ = h.SwitchPoint(1)
	return fork
}

// A receiver that is ahead of the standby that was promoted, in the segment at
// hand, follows; what was lost is kept where no recovery comes upon it.
func TestReceiverAheadOfThePromotedServerFollows(t *testing.T) {
	for _, running := range []bool{true, false} {
		t.Run(fmt.Sprintf("running %v", running), func(t *testing.T) {
			p := newPair(t, pgtest.Newest(t))
			dir := pgtest.TempDir(t)
			o := logstream.ArchiveOptions{Directory: dir}
			a := archive(t, p.bothHosts(), o)
			a.await(1, p.primary.CurrentLSN(t))
			old := pgtest.NewStandby(t, p.primary) // to recover along the old timeline
			ahead := parseLSN(t, p.aheadOfStandby(t, a, false))
			if !running {
				a.stop()
			}
			fork := p.promoteBehind(t)
			if !running {
				a = archive(t, p.bothHosts(), o)
			}
			a.await(2, nextSegment(t, p.standby, mib16))
			p.standby.SQL(t, "INSERT INTO t SELECT generate_series(2001, 3000)")
			a.await(2, p.standby.CurrentLSN(t))
			a.stop()
			if s := a.Status(); s.LostWAL != 1 || s.Switches != 1 {
				t.Errorf("WAL was set aside %d times, %d switches, want 1 and 1", s.LostWAL, s.Switches)
			}

			inventory, err := logstream.TakeInventory(t.Context(), dir, logstream.InventoryOptions{Check: true})
			if err != nil {
				t.Fatal(err)
			}
			if !inventory.Whole() || len(inventory.Lost) != 1 || inventory.Newest.Timeline != 2 {
				t.Fatalf("inventory: %+v", inventory)
			}
			segment := mib16.FileName(1, mib16.Segment(fork))
			lost := inventory.Lost[0]
			if lost.Timeline != 1 || lost.From != fork || lost.To < ahead || !strings.HasPrefix(lost.Name, segment+".lost-") {
				t.Errorf("lost: %+v, want %s to %s at least", lost, fork, ahead)
			}
			kept, err := os.ReadFile(filepath.Join(dir, lost.Name))
			if err != nil {
				t.Fatal(err)
			}
			rest, err := os.ReadFile(filepath.Join(dir, segment+logstream.PartialSuffix))
			if err != nil {
				t.Fatal(err)
			}
			at := mib16.Offset(fork)
			was, err := os.ReadFile(filepath.Join(p.primary.DataDir, "pg_wal", segment))
			if err != nil {
				t.Fatal(err)
			}
			if end := mib16.Offset(ahead); !bytes.Equal(kept[:end], was[:end]) {
				t.Errorf("%s is not the old primary's from byte %d on", lost.Name, differ(kept[:end], was[:end]))
			}
			if len(rest) != int(mib16) || !bytes.Equal(rest[:at], was[:at]) || len(bytes.Trim(rest[at:], "\x00")) != 0 {
				t.Errorf("%s.partial does not end at the fork", segment)
			}

			p.checkRestored(t, dir, p.standby, "2")
			// Along the old timeline recovery comes to the fork, and no further.
			recoverTo(t, old, dir, "1")
			old.WaitFor(t, "SELECT pg_is_in_recovery()", "f", 60*time.Second)
			if n := old.Query(t, "SELECT count(*) || ' ' || max(n) FROM t"); n != "1000 1000" {
				t.Errorf("along timeline 1 the table's count and maximum are %s, want those at the fork", n)
			}
		})
	}
}

// What is in a complete segment is not taken back: others may have used it.
func TestReceiverPastTheForkByACompleteSegmentSaysSo(t *testing.T) {
	p := newPair(t, pgtest.Newest(t))
	dir := pgtest.TempDir(t)
	a := archive(t, p.primary.ConnString(), logstream.ArchiveOptions{Directory: dir})
	ahead := p.aheadOfStandby(t, a, true)
	a.stop()
	p.promoteBehind(t)
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
