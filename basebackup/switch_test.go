package basebackup_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/basebackup"
	"github.com/pgbraid/pgbraid/internal/pgtest"
	"github.com/pgbraid/pgbraid/internal/progress"
	"github.com/pgbraid/pgbraid/logstream"
)

// chain is a primary, a standby of it, a standby of that, and so on.
type chain []*pgtest.Cluster

func newChain(t *testing.T, s pgtest.Server, length int) chain {
	t.Helper()
	// Nothing but the test writes WAL or makes it go away.
	config := pgtest.Config("checkpoint_timeout = '1h'", "wal_keep_size = '1GB'", "wal_retrieve_retry_interval = '100ms'")
	if s.Major < 13 {
		config = pgtest.Config("checkpoint_timeout = '1h'", "wal_keep_segments = 64", "wal_retrieve_retry_interval = '100ms'")
	}
	primary := s.Init(t, config)
	primary.Start(t)
	primary.SQL(t, "CREATE TABLE t AS SELECT n FROM generate_series(1, 1000) AS n")
	c := chain{primary}
	for len(c) < length {
		standby := pgtest.NewStandby(t, c.last())
		standby.Start(t)
		c = append(c, standby)
	}
	return c
}

func (c chain) last() *pgtest.Cluster { return c[len(c)-1] }

// waitCatchup waits until all standbys behind the member have what it has.
func (c chain) waitCatchup(t *testing.T, member int) {
	t.Helper()
	for _, standby := range c[member+1:] {
		c[member].WaitCatchup(t, standby)
	}
}

// promote makes a member the primary of those behind it. When it returns they
// follow it, and what is copied from the last one needs WAL of the timeline.
func (c chain) promote(t *testing.T, member int, timeline logstream.TimelineID) {
	t.Helper()
	c[member].Promote(t)
	c[member].SQL(t, "INSERT INTO t SELECT generate_series(1, 1000)")
	c[member].SQL(t, "CHECKPOINT")
	c.waitCatchup(t, member)
	// A restartpoint moves the end position that a standby gives a backup.
	c.last().SQL(t, "CHECKPOINT")
	if got := c.last().Timeline(t); got != fmt.Sprint(timeline) {
		t.Fatalf("the last standby's restartpoint is on timeline %s, want %d", got, timeline)
	}
}

// held is a clone of the chain's last member whose copy is stopped midway.
type held struct {
	*clone
	proxy *pgtest.Proxy
}

// hold starts a clone and returns when its copy has stopped midway, while its
// log stream goes on.
func (c chain) hold(t *testing.T) *held {
	t.Helper()
	h := &held{proxy: c.last().Proxy(t)}
	h.clone = newClone(t, c.last().ProxyConnString(h.proxy.Addr()))
	h.options.PrimaryConnInfo = c.last().ConnString()
	stopped := h.proxy.InjectAfter(8<<20, pgtest.Silence, pgtest.BackupConn)
	h.start()
	h.awaitPhase(progress.Copying)
	select {
	case <-stopped:
	case <-h.done:
		t.Fatalf("the clone ended before its copy was held: %v", h.err)
	case <-time.After(cloneTimeout):
		t.Fatal("the copy has not come to where it is held")
	}
	h.awaitStreams()
	return h
}

// awaitLog waits until the log stream is on that timeline at that position.
func (h *held) awaitLog(timeline logstream.TimelineID, lsn string) {
	h.t.Helper()
	want, err := logstream.ParseLSN(lsn)
	if err != nil {
		h.t.Fatal(err)
	}
	h.await(fmt.Sprintf("log at %s on timeline %d", lsn, timeline), func(p basebackup.Progress) bool {
		return p.WALTimeline == uint32(timeline) && p.WALPosition >= uint64(want)
	})
}

// mustSwitch lets the copy go on, and checks that the clone went from timeline
// 1 to last, starts, and follows.
func (h *held) mustSwitch(c chain, last logstream.TimelineID) {
	h.t.Helper()
	if p := h.progress().Phase; p != progress.Copying {
		h.t.Fatalf("phase is %s: the switch came too late to be one within the copy", p)
	}
	h.proxy.Lift()
	result := h.must()
	if result.Start.Timeline != 1 || result.End.Timeline != last {
		h.t.Errorf("backup from %s to %s, want from timeline 1 to %d", result.Start, result.End, last)
	}
	wal := filepath.Join(h.options.Directory, "pg_wal")
	for timeline := logstream.TimelineID(2); timeline <= last; timeline++ {
		mustContain(h.t, "history file", readFile(filepath.Join(wal, fmt.Sprintf("%08X.history", timeline))), "1\t0/")
	}
	segments, _ := filepath.Glob(filepath.Join(wal, fmt.Sprintf("%08X0000*", last)))
	if len(segments) == 0 {
		h.t.Errorf("there is no WAL of timeline %d", last)
	}
	h.mustBeWhole(c.last().Server)
	h.mustPassVerification(c.last().Server)
	standby := h.mustFollow(c.last())
	if got := standby.Query(h.t, "SELECT received_tli FROM pg_stat_wal_receiver"); got != fmt.Sprint(last) {
		h.t.Errorf("the standby streams timeline %s, want %d", got, last)
	}
	c[last-1].SQL(h.t, "INSERT INTO t SELECT generate_series(1, 1000)")
	c[last-1].WaitCatchup(h.t, standby)
	pgtest.AssertSameDigests(h.t, pgtest.Digest(h.t, standby), pgtest.Digest(h.t, c[last-1]))
}

func TestPromotionUpstreamWhileCopyingIsFollowed(t *testing.T) {
	forEdges(t, func(t *testing.T, s pgtest.Server) {
		c := newChain(t, s, 3)
		h := c.hold(t)
		writer := pgtest.StartWriter(t, c[0], pgtest.WriterOptions{})
		writer.WaitCommitted(t, 500)
		writer.Stop(t)
		c.waitCatchup(t, 0)
		c.promote(t, 1, 2)
		// It writes on while the rest is copied.
		writer = pgtest.StartWriter(t, c[1], pgtest.WriterOptions{})
		writer.WaitCommitted(t, 500)
		h.awaitLog(2, c.last().CurrentLSN(t))
		writer.Stop(t)
		h.mustSwitch(c, 2)
	})
}

func TestTwoPromotionsUpstreamWhileCopyingAreFollowed(t *testing.T) {
	forEdges(t, func(t *testing.T, s pgtest.Server) {
		c := newChain(t, s, 4)
		h := c.hold(t)
		c[0].SQL(t, "INSERT INTO t SELECT generate_series(1, 1000)")
		c.waitCatchup(t, 0)
		c.promote(t, 1, 2)
		c.promote(t, 2, 3)
		h.awaitLog(3, c.last().CurrentLSN(t))
		h.mustSwitch(c, 3)
	})
}

// The log stream is down while both promotions happen: it finds a server two
// timelines ahead, and has to take all of them in turn.
func TestPromotionsWhileTheLogConnectionIsLostAreFollowed(t *testing.T) {
	forEdges(t, func(t *testing.T, s pgtest.Server) {
		c := newChain(t, s, 4)
		h := c.hold(t)
		h.loseLog()
		c[0].SQL(t, "INSERT INTO t SELECT generate_series(1, 1000)")
		c.waitCatchup(t, 0)
		c.promote(t, 1, 2)
		c.promote(t, 2, 3)
		h.proxy.Allow(t)
		h.awaitLog(3, c.last().CurrentLSN(t))
		h.mustSwitch(c, 3)
	})
}

// loseLog ends the connection of the log stream, and lets no new one in.
func (h *held) loseLog() {
	h.t.Helper()
	h.proxy.Refuse()
	if n := h.proxy.Inject(pgtest.Reset, pgtest.LogConn); n != 1 {
		h.t.Fatalf("%d connections stream the log, want 1", n)
	}
	h.await("loss of the connection", func(p basebackup.Progress) bool { return p.WALState == string(logstream.Waiting) })
}

// The timeline may end exactly where a segment does. The server then has not
// one byte of the next segment on the old timeline, and START_REPLICATION
// there answers with the next timeline at once.
func TestPromotionOnASegmentBoundaryIsFollowed(t *testing.T) {
	for _, lost := range []bool{false, true} {
		name := "streaming"
		if lost {
			name = "connection lost"
		}
		t.Run(name, func(t *testing.T) {
			forEdges(t, func(t *testing.T, s pgtest.Server) {
				c := newChain(t, s, 3)
				h := c.hold(t)
				c[0].SQL(t, "INSERT INTO t SELECT generate_series(1, 1000)")
				boundary := c.switchAndStop(t)
				h.awaitLog(1, boundary)
				if lost {
					h.loseLog()
				}
				c.promote(t, 1, 2)
				history := readFile(filepath.Join(c[1].DataDir, "pg_wal", "00000002.history"))
				if !strings.Contains(history, "1\t"+boundary+"\t") {
					t.Fatalf("timeline 1 does not end at %s: %q", boundary, history)
				}
				if lost {
					h.proxy.Allow(t)
				}
				h.awaitLog(2, c.last().CurrentLSN(t))
				h.mustSwitch(c, 2)
				// The segment before the boundary belongs to timeline 1 alone.
				l, err := logstream.ParseLSN(boundary)
				if err != nil {
					t.Fatal(err)
				}
				size := logstream.SegmentSize(16 << 20)
				wal := filepath.Join(h.options.Directory, "pg_wal")
				if _, err := os.Stat(filepath.Join(wal, size.FileName(2, size.Segment(l)))); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// switchAndStop ends the present segment and the primary with it, so that the
// standbys have WAL up to a segment boundary and nothing behind it.
func (c chain) switchAndStop(t *testing.T) (boundary string) {
	t.Helper()
	const behind = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0') % (16 * 1024 * 1024)"
	for range 10 {
		c[0].SwitchWAL(t)
		boundary = c[0].Query(t, "SELECT pg_current_wal_lsn()")
		c.waitCatchup(t, 0)
		// 40 bytes are the header of the next segment. More, and the server
		// has logged something of its own in between.
		if got := c[0].Query(t, behind); got == "40" || got == "0" {
			c[0].Stop(t, pgtest.Immediate)
			return boundary
		}
	}
	t.Fatal("the primary does not come to rest on a segment boundary")
	return ""
}
