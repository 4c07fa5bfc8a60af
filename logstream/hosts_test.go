package logstream_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pgbraid/pgbraid/internal/pgtest"
	"github.com/pgbraid/pgbraid/internal/pgtest/walsender"
	"github.com/pgbraid/pgbraid/internal/replconn"
	"github.com/pgbraid/pgbraid/logstream"
)

// A primary whose processes all stand still accepts connections and says
// nothing. The configuration has no limit for connecting.
func TestServerThatStandsStillIsPassedOver(t *testing.T) {
	t.Parallel()
	p := newPair(t, pgtest.Newest(t))
	hosts := fmt.Sprintf("host=%s,%s port=%d,%d user=postgres dbname=postgres sslmode=disable application_name=archive replication=true",
		p.primary.SocketDir, p.standby.SocketDir, p.primary.Port, p.standby.Port)
	config, err := pgconn.ParseConfig(hosts)
	if err != nil {
		t.Fatal(err)
	}
	dir := pgtest.TempDir(t)
	a := runArchiver(t, config, logstream.ArchiveOptions{Directory: dir, SilenceLimit: time.Second})
	p.primary.SQL(t, "INSERT INTO t SELECT generate_series(1, 1000)")
	a.await(1, p.primary.CurrentLSN(t))
	p.primary.WaitCatchup(t, p.standby)
	p.primary.Freeze(t)
	p.standby.Promote(t)
	p.standby.SQL(t, "INSERT INTO t SELECT generate_series(1001, 2000)")
	a.await(2, p.standby.CurrentLSN(t))
	a.stop()

	// And so is one that stands still when the archiver begins.
	a = runArchiver(t, config, logstream.ArchiveOptions{Directory: dir, SilenceLimit: time.Second})
	p.standby.SQL(t, "INSERT INTO t SELECT generate_series(2001, 3000)")
	a.await(2, p.standby.CurrentLSN(t))
	a.stop()
	p.checkRestored(t, dir, p.standby, "2")
}

// The old primary came back by mistake, and takes writes on timeline 1.
func TestStalePrimaryIsPassedOver(t *testing.T) {
	t.Parallel()
	p := newPair(t, pgtest.Newest(t))
	dir := pgtest.TempDir(t)
	a := archive(t, p.bothHosts(), logstream.ArchiveOptions{Directory: dir, Slot: "archive"})
	p.primary.SQL(t, "SELECT 1")
	a.waitFor("the missing slot", func(s logstream.Status) bool { return s.State != logstream.Connecting || len(a.done) > 0 })
	if err := a.end(); err == nil {
		t.Fatal("it began without its slot")
	}
	p.primary.SQL(t, "SELECT pg_create_physical_replication_slot('archive', true)")
	a = archive(t, p.bothHosts(), logstream.ArchiveOptions{Directory: dir, Slot: "archive"})
	p.primary.SQL(t, "INSERT INTO t SELECT generate_series(1, 1000)")
	a.await(1, p.primary.CurrentLSN(t))
	p.primary.WaitCatchup(t, p.standby)
	p.primary.Stop(t, pgtest.Immediate)
	p.standby.Promote(t)
	p.standby.SQL(t, "INSERT INTO t SELECT generate_series(1001, 2000)")
	a.await(2, p.standby.CurrentLSN(t))

	p.primary.Start(t)
	p.standby.Restart(t, pgtest.Fast)
	p.standby.SQL(t, "INSERT INTO t SELECT generate_series(2001, 3000)")
	a.await(2, p.standby.CurrentLSN(t))
	// The same where it is met at first.
	a.stop()
	a = archive(t, p.bothHosts(), logstream.ArchiveOptions{Directory: dir, Slot: "archive"})
	p.standby.SQL(t, "INSERT INTO t SELECT generate_series(3001, 4000)")
	a.await(2, p.standby.CurrentLSN(t))
	// While the right one is away, the wrong one is not the end.
	lost := a.Status().Lost
	p.standby.Stop(t, pgtest.Fast)
	a.waitFor("three tries", func(s logstream.Status) bool { return s.Lost >= lost+3 })
	p.standby.Start(t)
	p.standby.SQL(t, "INSERT INTO t SELECT generate_series(4001, 5000)")
	a.await(2, p.standby.CurrentLSN(t))
	a.stop()
	if got := names(t, dir); strings.Count(got, "00000001") > strings.Count(got, "00000001000000000000000")+1 {
		t.Errorf("files: %s", got)
	}
	p.checkRestored(t, dir, p.standby, "2")
}

// both makes a configuration that lists two scripted servers.
func both(t *testing.T, a, b string) *pgconn.Config {
	t.Helper()
	hostA, portA, _ := net.SplitHostPort(a)
	hostB, portB, _ := net.SplitHostPort(b)
	config, err := pgconn.ParseConfig(fmt.Sprintf("host=%s,%s port=%s,%s user=u dbname=replication sslmode=disable replication=true",
		hostA, hostB, portA, portB))
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// second is a bed whose receiver finds another server before the bed's own in
// its list.
func second(t *testing.T, n int, o logstream.Options, first *walsender.Server) *scripted {
	t.Helper()
	b := script(t, n, func(_ *walsender.Options, _ *logstream.DirOptions, ro *logstream.Options) {
		o.Logger = ro.Logger
		*ro = o
	})
	o.SegmentSize, o.Store = b.size, b.store
	b.Receiver = logstream.NewReceiver(both(t, first.Addr(), b.server.Addr()), o)
	return b
}

// A server may fall silent at each question. The next one of the list is asked
// then.
func TestServerThatFallsSilentAtAnyQuestionIsPassedOver(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"IDENTIFY_SYSTEM", "SHOW", "READ_REPLICATION_SLOT", "TIMELINE_HISTORY", "START_REPLICATION"} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			first := walsender.New(t, walsender.Options{SegmentSize: "1MB"})
			wal := walsender.NewWAL(walsender.LSN(origin), walsender.LSN(origin+mb))
			wal.Promote(walsender.LSN(origin+mb), 2, walsender.LSN(origin+2*mb))
			first.ServeWAL(wal)
			first.AddSlot("s", walsender.Slot{})
			first.Handle(command, walsender.Hang)
			b := second(t, 1, logstream.Options{SilenceLimit: 300 * time.Millisecond, GiveUpAfter: -1, Slot: logstream.Slot{Name: "s"}}, first)
			b.server.AddSlot("s", walsender.Slot{})
			b.wal.Promote(walsender.LSN(origin+mb), 2, walsender.LSN(origin+2*mb))
			b.mustReceive(at(1, origin), at(2, origin+2*mb))
			if len(first.Startups()) != 1 || len(b.server.Startups()) != 1 {
				t.Errorf("%d connections to the first server, %d to the second, want one to each", len(first.Startups()), len(b.server.Startups()))
			}
		})
	}
	t.Run("the log-in", func(t *testing.T) {
		t.Parallel()
		first := walsender.New(t, walsender.Options{OnStartup: walsender.Hang})
		b := second(t, 1, logstream.Options{SilenceLimit: 300 * time.Millisecond, GiveUpAfter: -1}, first)
		b.mustReceive(at(1, origin), at(1, origin+mb))
	})
	t.Run("the next timeline", func(t *testing.T) {
		t.Parallel()
		b := script(t, 1, func(_ *walsender.Options, _ *logstream.DirOptions, o *logstream.Options) {
			o.SilenceLimit = 300 * time.Millisecond
		})
		b.wal.At(walsender.LSN(origin+mb), func(c *walsender.Conn) error { c.CopyDone(); c.Hang(); return walsender.Stop })
		var silent *replconn.SilenceError
		if err := b.receive(at(1, origin), at(2, origin+2*mb)); !errors.As(err, &silent) {
			t.Errorf("got %v", err)
		}
	})
}

// One server is not the right one; the other has the log.
func TestWrongServerIsPassedOver(t *testing.T) {
	t.Parallel()
	for name, wrong := range map[string]func(*walsender.Server, *walsender.WAL){
		"another cluster": func(s *walsender.Server, _ *walsender.WAL) {
			s.Handle("IDENTIFY_SYSTEM", func(c *walsender.Conn) error {
				c.Answer(walsender.Columns{"systemid", "timeline:int8", "xlogpos", "dbname"}, "6", 1, walsender.LSN(origin+2*mb), nil)
				return nil
			})
		},
		"no such slot": func(*walsender.Server, *walsender.WAL) {},
		"the slot lost": func(s *walsender.Server, _ *walsender.WAL) {
			s.Handle("START_REPLICATION", walsender.Failing("55000", "lost"))
		},
		"the WAL removed": func(s *walsender.Server, w *walsender.WAL) {
			s.AddSlot("s", walsender.Slot{})
			w.Remove(walsender.LSN(origin + mb))
		},
		"no PostgreSQL": func(s *walsender.Server, _ *walsender.WAL) {
			s.Handle("IDENTIFY_SYSTEM", func(c *walsender.Conn) error { c.CopyDone(); return walsender.Stop })
		},
		"shutting down": func(s *walsender.Server, _ *walsender.WAL) {
			s.Handle("IDENTIFY_SYSTEM", walsender.Failing("57P03", "no"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first := walsender.New(t, walsender.Options{SegmentSize: "1MB"})
			wal := walsender.NewWAL(walsender.LSN(origin), walsender.LSN(origin+2*mb))
			first.ServeWAL(wal)
			wrong(first, wal)
			b := second(t, 2, logstream.Options{GiveUpAfter: -1, SystemIdentifier: 7512345678901234567, Slot: logstream.Slot{Name: "s"}}, first)
			b.server.AddSlot("s", walsender.Slot{})
			b.mustReceive(at(1, origin), at(1, origin+2*mb))
			b.holds(1, origin, origin+2*mb, false)
		})
	}
}

// The end needs proof from every host of the list.
func TestOnlyProofFromEveryHostEndsTheReceiver(t *testing.T) {
	t.Parallel()
	stale := func(t *testing.T) *walsender.Server {
		s := walsender.New(t, walsender.Options{SegmentSize: "1MB"})
		s.ServeWAL(walsender.NewWAL(walsender.LSN(origin), walsender.LSN(origin+2*mb)))
		return s
	}
	t.Run("both prove it", func(t *testing.T) {
		t.Parallel()
		b := second(t, 2, logstream.Options{}, stale(t))
		var got *logstream.TimelineError
		var all *replconn.ServersError
		err := b.receive(at(2, origin), at(2, origin+mb))
		if !errors.As(err, &got) || !errors.As(err, &all) || len(all.List) != 2 || logstream.ErrorClass(err) != logstream.ClassTimeline {
			t.Errorf("got %v", err)
		}
		for _, s := range all.List {
			if !strings.Contains(err.Error(), s.Server) {
				t.Errorf("%q does not name %s", err, s.Server)
			}
		}
	})
	t.Run("one is away", func(t *testing.T) {
		t.Parallel()
		b := second(t, 2, logstream.Options{}, stale(t))
		// It is there at first, or the Receiver would fail at once.
		var right bool
		b.server.Handle("START_REPLICATION", func(c *walsender.Conn) error {
			if right {
				return walsender.Pass
			}
			return walsender.Cut(c)
		})
		b.wal.Promote(walsender.LSN(origin+mb), 2, walsender.LSN(origin+2*mb))
		b.StopAt(at(2, origin+2*mb))
		done := b.start(context.Background(), 2, origin+mb)
		for b.Status().Lost < 3 && len(done) == 0 {
			time.Sleep(time.Millisecond)
		}
		if s := b.Status(); s.State != logstream.Stopped && logstream.ErrorClass(s.LastError) == "" {
			t.Errorf("%+v", s)
		}
		b.server.Stop()
		right = true
		for lost := b.Status().Lost; b.Status().Lost < lost+2 && len(done) == 0; {
			time.Sleep(time.Millisecond)
		}
		b.server.Start()
		if err := b.result(done); err != nil {
			t.Error(err)
		}
	})
	// The one that the log came from proves it in mid stream; the other is not
	// known yet.
	t.Run("in mid stream", func(t *testing.T) {
		t.Parallel()
		other := walsender.New(t, walsender.Options{SegmentSize: "1MB"})
		wal := walsender.NewWAL(walsender.LSN(origin), walsender.LSN(origin+2*mb))
		other.ServeWAL(wal)
		other.Stop()
		b := second(t, 2, logstream.Options{GiveUpAfter: 0}, other)
		b.wal.At(walsender.LSN(origin+mb), func(c *walsender.Conn) error {
			other.Start()
			c.Error("58P01", "requested WAL segment has already been removed")
			c.ReadyForQuery()
			return walsender.Stop
		})
		b.mustReceive(at(1, origin), at(1, origin+2*mb))
		if len(b.server.Startups()) != 1 {
			t.Errorf("it was asked %d times", len(b.server.Startups()))
		}
	})
}

// A slot that is in use is most likely held by the connection that was lost:
// another server is no better, and must not get a slot.
func TestSlotInUseIsNoReasonForAnotherServer(t *testing.T) {
	t.Parallel()
	first := walsender.New(t, walsender.Options{SegmentSize: "1MB"})
	first.ServeWAL(walsender.NewWAL(walsender.LSN(origin), walsender.LSN(origin+2*mb)))
	first.AddSlot("s", walsender.Slot{})
	for range 3 {
		first.HandleOnce("START_REPLICATION", walsender.Failing("55006", "replication slot \"s\" is active for PID 1"))
	}
	b := second(t, 2, logstream.Options{Slot: logstream.Slot{Name: "s", Recreate: true}}, first)
	b.mustReceive(at(1, origin), at(1, origin+2*mb))
	if n := len(b.server.Startups()); n != 0 || len(b.server.Slots()) != 0 {
		t.Errorf("the other server was asked %d times and has slots %v", n, b.server.Slots())
	}
}
