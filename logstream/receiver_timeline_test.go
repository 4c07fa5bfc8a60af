package logstream_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgbraid/pgbraid/internal/pgtest/walsender"
	"github.com/pgbraid/pgbraid/logstream"
)

const mb = logstream.LSN(1 << 20)

// history checks that a timeline's history file is the server's.
func (b *scripted) history(t logstream.TimelineID) {
	b.t.Helper()
	got, err := os.ReadFile(filepath.Join(b.dir, t.HistoryFileName()))
	if err != nil || string(got) != string(b.wal.History(uint32(t))) || len(got) == 0 {
		b.t.Errorf("history of timeline %d: %q, %v", t, got, err)
	}
}

func (b *scripted) promote(at logstream.LSN, id uint32, end logstream.LSN) {
	b.wal.Promote(walsender.LSN(at), id, walsender.LSN(end))
}

// A switch may lie anywhere in a segment, and the server may have sent the
// beginning of a record from behind it.
func TestTimelineSwitchIsFollowed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		fork    logstream.LSN
		overrun int
		live    bool // it happens while the receiver is connected
		data    bool // a data directory
	}{
		{origin + mb + 5000, 0, true, false},
		{origin + mb + 5000, 0, false, false},
		{origin + mb + 5000, 3000, false, false},
		{origin + mb + 5000, 3000, true, false},
		{origin + 2*mb, 0, false, false},
		{origin + 2*mb, 0, true, false},
		{origin + 2*mb, 100, true, false},        // the partial record begins a segment
		{origin + 2*mb - 100, 200, false, false}, // and goes over the end of one
		{origin + 2*mb - 100, 100, false, false},
		{origin + mb + 5000, 3000, false, true},
	} {
		t.Run(fmt.Sprintf("at %s and %d bytes, live %v, data directory %v", c.fork, c.overrun, c.live, c.data), func(t *testing.T) {
			t.Parallel()
			b := scriptRange(t, origin, c.fork+logstream.LSN(c.overrun), func(_ *walsender.Options, d *logstream.DirOptions, _ *logstream.Options) {
				d.DataDirectory = c.data
			})
			end := origin + 4*mb + 99
			b.wal.Overrun = c.overrun
			if !c.live {
				b.promote(c.fork, 2, end)
			}
			b.StopAt(at(2, end))
			done := b.start(context.Background(), 1, origin)
			if c.live {
				b.await(1, c.fork+logstream.LSN(c.overrun))
				b.promote(c.fork, 2, end)
			}
			if err := b.result(done); err != nil {
				t.Fatal(err)
			}
			b.holds(1, origin, c.fork+logstream.LSN(c.overrun), c.data)
			b.holds(2, c.fork, end, c.data)
			b.history(2)
			floor := b.size.Floor(c.fork)
			if n := b.asked(fmt.Sprintf("START_REPLICATION %s TIMELINE 2", floor)); n != 1 {
				t.Errorf("commands: %q", b.server.Queries())
			}
			if s := b.Status(); s.Switches != 1 || s.Lost != 0 || len(b.server.Startups()) != 1 {
				t.Errorf("status: %+v", s)
			}
			if c.data {
				if _, err := os.Stat(filepath.Join(b.dir, "archive_status", "00000002.history.done")); err != nil {
					t.Error(err)
				}
				b.none("*.partial")
			}
		})
	}
}

func TestStartAtTheSwitchPointGetsTheRowDirectly(t *testing.T) {
	t.Parallel()
	t.Run("on a segment boundary", func(t *testing.T) {
		t.Parallel()
		b := script(t, 1, nil)
		b.promote(origin+mb, 2, origin+2*mb)
		b.mustReceive(at(1, origin+mb), at(2, origin+2*mb))
		b.none("00000001*")
		b.holds(2, origin+mb, origin+2*mb, false)
		b.history(2)
	})
	// After a lost connection the segment is compared first.
	t.Run("in mid segment after a cut", func(t *testing.T) {
		t.Parallel()
		fork := origin + 7777
		b := scriptRange(t, origin, fork, forEver)
		b.wal.At(walsender.LSN(fork), func(c *walsender.Conn) error {
			b.promote(fork, 2, origin+2*mb)
			return walsender.Cut(c)
		})
		b.mustReceive(at(1, origin), at(2, origin+2*mb))
		if b.asked(fmt.Sprintf("START_REPLICATION %s TIMELINE 1", origin)) != 2 {
			t.Errorf("commands: %q", b.server.Queries())
		}
		b.holds(1, origin, fork, false)
		b.holds(2, origin, origin+2*mb, false)
	})
}

// The server that was promoted while the receiver was away had the same
// beginning of a record.
func TestPositionBehindTheForkAfterACutGoesOnAtTheFork(t *testing.T) {
	t.Parallel()
	fork, sent := origin+mb+5000, origin+mb+6000
	b := scriptRange(t, origin, sent, forEver)
	b.wal.At(walsender.LSN(sent), func(c *walsender.Conn) error {
		b.promote(fork, 2, origin+3*mb)
		return walsender.Cut(c)
	})
	b.mustReceive(at(1, origin), at(2, origin+3*mb))
	b.holds(2, fork, origin+3*mb, false)
	b.history(2)
	b.none("000000010000000000000021") // stays partial
	if s := b.Status(); s.Switches != 1 || s.Lost != 1 {
		t.Errorf("status: %+v", s)
	}
}

func TestChainOfTimelinesIsWalkedInOrder(t *testing.T) {
	t.Parallel()
	f2, f3, end := origin+mb+5000, origin+mb+9000, origin+3*mb // both in one segment
	for _, live := range []bool{false, true} {
		t.Run(fmt.Sprintf("live %v", live), func(t *testing.T) {
			t.Parallel()
			b := scriptRange(t, origin, f2, nil)
			b.wal.Overrun = 64
			b.StopAt(at(3, end))
			if !live {
				b.promote(f2, 2, f3)
				b.promote(f3, 3, end)
			}
			done := b.start(context.Background(), 1, origin)
			if live {
				b.await(1, f2)
				b.promote(f2, 2, f3)
				b.await(2, f3)
				b.promote(f3, 3, end)
			}
			if err := b.result(done); err != nil {
				t.Fatal(err)
			}
			b.holds(1, origin, f2+64, false)
			b.holds(2, f2, f3+64, false)
			b.holds(3, f3, end, false)
			b.history(2)
			b.history(3)
			if s := b.Status(); s.Switches != 2 {
				t.Errorf("%d switches, want 2", s.Switches)
			}
		})
	}
}

func TestHistoryOfTheStartingTimelineIsKept(t *testing.T) {
	t.Parallel()
	b := script(t, 1, nil)
	b.promote(origin, 2, origin+mb)
	b.mustReceive(at(2, origin), at(2, origin+mb))
	b.history(2)
	b.holds(2, origin, origin+mb, false)
	if n := b.asked("TIMELINE_HISTORY 2"); n != 1 {
		t.Errorf("asked %d times for the history, want once", n)
	}
}

func TestHistoryThatIsThereIsComparedAndStays(t *testing.T) {
	t.Parallel()
	for _, stored := range []string{"1\t0/2000000\tanother reason\n", "# a comment\n\n1 0/02000000\n"} {
		b := script(t, 1, nil)
		b.promote(origin, 2, origin+mb)
		if err := b.store.WriteHistory(2, []byte(stored)); err != nil {
			t.Fatal(err)
		}
		b.mustReceive(at(2, origin), at(2, origin+mb))
		if got, _ := os.ReadFile(filepath.Join(b.dir, "00000002.history")); string(got) != stored {
			t.Errorf("history is %q now", got)
		}
	}
}

// What is no history is of no use to anybody: the server's takes its place.
func TestHistoryThatCannotBeReadIsReplaced(t *testing.T) {
	t.Parallel()
	for _, stored := range []string{"", "kept\n", "\x00\x00\x00"} {
		b := script(t, 1, nil)
		b.promote(origin, 2, origin+mb)
		if err := b.store.WriteHistory(2, []byte(stored)); err != nil {
			t.Fatal(err)
		}
		b.mustReceive(at(2, origin), at(2, origin+mb))
		b.history(2)
	}
}

func TestServerWithAnotherHistoryOfATimelineIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		stored string
		start  logstream.Position
	}{
		"fork elsewhere":         {"1\t0/2000100\tno recovery target specified\n", at(2, origin)},
		"reached by a switch":    {"1\t0/2000100\tno recovery target specified\n", at(1, origin)},
		"of the one on the way":  {"1\t0/2000100\tno recovery target specified\n", at(1, origin)},
		"with another parent":    {"1\t0/1000000\tx\n", at(2, origin)},
		"older than the servers": {"1\t0/1000000\tx\n", at(2, origin)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := script(t, 1, forEver)
			b.promote(origin+5000, 2, origin+mb)
			if name == "of the one on the way" || name == "older than the servers" {
				b.promote(origin+mb, 3, origin+2*mb)
			}
			if err := b.store.WriteHistory(2, []byte(c.stored)); err != nil {
				t.Fatal(err)
			}
			err := b.receive(c.start, at(3, origin+mb))
			var got *logstream.HistoryMismatchError
			if !errors.As(err, &got) || got.Timeline != 2 || got.Stored[0].Switch == got.Server[0].Switch || got.Hint() == "" {
				t.Errorf("got %v", err)
			} else {
				t.Log(err)
			}
			if content, _ := os.ReadFile(filepath.Join(b.dir, "00000002.history")); string(content) != c.stored {
				t.Errorf("history is %q now", content)
			}
			b.none("00000002*20*")
		})
	}
}

func TestWrongHistoryIsRefused(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]walsender.Hook{
		"name of another timeline": func(c *walsender.Conn) error {
			c.TimelineHistory("00000003.history", []byte("1\t0/2000000\tx\n"))
			return nil
		},
		"path": func(c *walsender.Conn) error {
			c.TimelineHistory("../00000002.history", []byte("1\t0/2000000\tx\n"))
			return nil
		},
		"no history": func(c *walsender.Conn) error {
			c.TimelineHistory("00000002.history", []byte("\x00\x01\x02 and so on"))
			return nil
		},
		"empty": func(c *walsender.Conn) error { c.TimelineHistory("00000002.history", []byte{}); return nil },
		"of itself": func(c *walsender.Conn) error {
			c.TimelineHistory("00000002.history", []byte("2\t0/2000000\tx\n"))
			return nil
		},
		"out of order": func(c *walsender.Conn) error {
			c.TimelineHistory("00000002.history", []byte("1\t0/2000000\tx\n1\t0/1000000\tx\n"))
			return nil
		},
		"NULL": func(c *walsender.Conn) error {
			c.Answer(walsender.Columns{"filename", "content"}, nil, nil)
			return nil
		},
		"one column": func(c *walsender.Conn) error {
			c.Answer(walsender.Columns{"filename"}, "00000002.history")
			return nil
		},
		"error": walsender.Failing("58P01", "could not open file"),
	} {
		for _, when := range []string{"at the start", "at a switch"} {
			t.Run(name+" "+when, func(t *testing.T) {
				t.Parallel()
				b := script(t, 1, nil)
				b.server.Handle("TIMELINE_HISTORY", answer)
				start := at(2, origin)
				if when == "at a switch" {
					start = at(1, origin)
					b.wal.At(walsender.LSN(origin+5000), func(*walsender.Conn) error { b.promote(origin+5000, 2, origin+mb); return nil })
				} else {
					b.promote(origin, 2, origin+mb)
				}
				err := b.receive(start, at(2, origin+mb))
				if err == nil || !strings.Contains(err.Error(), "history") {
					t.Errorf("got %v, want an error about the history", err)
				}
				b.none("00000002*")
				b.none("../*.history")
			})
		}
	}
}

func TestServerWithAnotherHistoryIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		setUp func(b *scripted)
		start logstream.Position
		want  logstream.TimelineError
	}{
		{"older timeline", func(*scripted) {}, at(2, origin),
			logstream.TimelineError{Position: at(2, origin), Server: 1}},
		{"not an ancestor", func(b *scripted) { b.promote(origin, 3, origin+mb) }, at(2, origin),
			logstream.TimelineError{Position: at(2, origin), Server: 3}},
		{"past the fork", func(b *scripted) { b.promote(origin+5000, 2, origin+2*mb) }, at(1, origin+mb+5),
			logstream.TimelineError{Position: at(1, origin+mb), Server: 2, Fork: origin + 5000}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var plain struct{ logstream.Store } // cannot look into the WAL
			b := script(t, 2, func(_ *walsender.Options, _ *logstream.DirOptions, o *logstream.Options) {
				o.GiveUpAfter, o.Store = 0, &plain
			})
			plain.Store = b.store
			c.setUp(b)
			err := b.receive(c.start, at(9, origin))
			var got *logstream.TimelineError
			if !errors.As(err, &got) || *got != c.want {
				t.Errorf("got %v, want %v", err, &c.want)
			} else if got.Hint() == "" {
				t.Error("no hint")
			}
			b.none("0*")
			if b.asked("START_REPLICATION") != 0 {
				t.Errorf("commands: %q", b.server.Queries())
			}
		})
	}
}

func TestServerThatFellBackToAnOlderTimelineIsRefusedOnReconnect(t *testing.T) {
	t.Parallel()
	b := script(t, 1, forEver)
	b.promote(origin, 2, origin+mb)
	done := b.start(context.Background(), 2, origin)
	b.await(2, origin+mb)
	b.server.ServeWAL(walsender.NewWAL(walsender.LSN(origin), walsender.LSN(origin+2*mb)))
	b.server.CloseConnections()
	var got *logstream.TimelineError
	if err := b.result(done); !errors.As(err, &got) || got.Server != 1 || got.Position != at(2, origin+mb) {
		t.Errorf("got %v, want a TimelineError", err)
	}
	b.holds(2, origin, origin+mb, false)
	b.none("*21*")
}
