package logstream_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/internal/pgtest/walsender"
	"github.com/pgbraid/pgbraid/logstream"
)

func TestWALLandsByteForByteInItsSegments(t *testing.T) {
	t.Parallel()
	const mb = 1 << 20
	for _, c := range []struct {
		size        string
		from, to    logstream.LSN
		chunk       int
		destination bool // a data directory
	}{
		{"1MB", origin, origin + 3*mb, 0, false},
		{"1MB", origin, origin + 3*mb, 0, true},
		{"1MB", origin, origin + 3*mb + 777, 5 * 8192, false}, // 25.6 messages a segment
		{"1MB", origin + 12345, origin + 2*mb + 1, 5 * 8192, true},
		{"1MB", origin, origin + 5*mb, 3*mb - 8192, false}, // several segments a message
		{"1MB", origin, origin + mb/4, 4093, false},
		{"1MB", 0xFFF00000, 0x1_00100001, 5 * 8192, false}, // over a log id
		{"2MB", 0xFFE00100, 0x1_00200000, 3 * 8192, true},
		{"16MB", 2*16*mb + 100, 3*16*mb + 100, 5 * 8192, false},
		{"64MB", 64*mb + 5, 64*mb + mb, 0, true},
	} {
		t.Run(fmt.Sprintf("%s from %s to %s by %d", c.size, c.from, c.to, c.chunk), func(t *testing.T) {
			t.Parallel()
			b := scriptRange(t, 0x1000000, c.to, func(so *walsender.Options, do *logstream.DirOptions, _ *logstream.Options) {
				so.SegmentSize = c.size
				do.DataDirectory = c.destination
			})
			b.wal.ChunkSize = c.chunk
			b.mustReceive(at(1, c.from), at(1, c.to))
			b.holds(1, c.from, c.to, c.destination)
			begin := b.size.Floor(c.from)
			if want := fmt.Sprintf("START_REPLICATION %s TIMELINE 1", begin); b.asked(want) != 1 {
				t.Errorf("asked %q, want once %q", b.server.Queries(), want)
			}
			s := b.Status()
			if s.Written != at(1, c.to) || s.Durable != s.Written || s.Received != int64(c.to-begin) ||
				s.State != logstream.Stopped || s.Lost != 0 || s.LastError != nil || s.ServerEnd != c.to {
				t.Errorf("status at the end: %+v", s)
			}
			b.checkArchiveStatus(c.destination, begin, c.to)
		})
	}
}

// checkArchiveStatus: whole segments are marked as archived in a data
// directory, the last one is not; nothing is marked elsewhere.
func (b *scripted) checkArchiveStatus(destination bool, from, to logstream.LSN) {
	b.t.Helper()
	if !destination {
		b.none("archive_status/*")
		return
	}
	b.none("*.partial")
	for l := from; l < to; l += logstream.LSN(b.size) {
		name := b.size.FileName(1, b.size.Segment(l))
		_, err := os.Stat(filepath.Join(b.dir, "archive_status", name+".done"))
		if full := l+logstream.LSN(b.size) <= to; full != (err == nil) {
			b.t.Errorf("%s.done: full %v, got %v", name, full, err)
		}
	}
}

func TestStopPositionSetAtAnyTimeIsKept(t *testing.T) {
	t.Parallel()
	half := origin + 1<<19
	t.Run("before Run", func(t *testing.T) {
		t.Parallel()
		b := script(t, 2, nil)
		b.wal.ChunkSize = 8192
		b.mustReceive(at(1, origin), at(1, half))
		if end := b.Status().Written.LSN; end < half || end > half+8192 {
			t.Errorf("stopped at %s, want at %s or one message later", end, half)
		}
		b.holds(1, origin, b.Status().Written.LSN, false)
	})
	t.Run("while idle behind it", func(t *testing.T) {
		t.Parallel()
		b := script(t, 1, nil) // sends nothing more
		done := b.start(context.Background(), 1, origin)
		b.await(1, origin+1<<20)
		begun := time.Now()
		b.StopAt(at(1, half))
		if err := b.result(done); err != nil || time.Since(begun) > 2*time.Second {
			t.Errorf("got %v after %s", err, time.Since(begun))
		}
		b.holds(1, origin, origin+1<<20, false)
	})
	t.Run("while idle before it", func(t *testing.T) {
		t.Parallel()
		b := scriptRange(t, origin, half, nil)
		done := b.start(context.Background(), 1, origin)
		b.await(1, half)
		b.StopAt(at(1, half+1000))
		select {
		case err := <-done:
			t.Fatalf("Run returned %v before the position", err)
		case <-time.After(100 * time.Millisecond):
		}
		b.wal.Advance(walsender.LSN(half + 1000))
		if err := b.result(done); err != nil {
			t.Error(err)
		}
		b.holds(1, origin, half+1000, false)
	})
	t.Run("already passed", func(t *testing.T) {
		t.Parallel()
		b := script(t, 2, nil)
		b.mustReceive(at(1, origin+1<<20), at(1, half))
		if b.asked("START_REPLICATION") != 0 {
			t.Errorf("asked %q", b.server.Queries())
		}
		b.none("0*")
	})
	t.Run("on a later timeline", func(t *testing.T) {
		t.Parallel()
		b := script(t, 2, nil)
		b.StopAt(at(2, half))
		done := b.start(context.Background(), 1, origin)
		b.await(1, origin+2<<20) // beyond the LSN, on the timeline before
		b.wal.Promote(walsender.LSN(origin+2<<20), 2, walsender.LSN(origin+2<<20))
		if err := b.result(done); err != nil {
			t.Error(err)
		}
		if s := b.Status(); s.Written != at(2, origin+2<<20) || s.Switches != 1 {
			t.Errorf("stopped with %+v", s)
		}
	})
	t.Run("on an earlier timeline that ended before it", func(t *testing.T) {
		t.Parallel()
		b := script(t, 1, nil)
		b.wal.Promote(walsender.LSN(half), 2, walsender.LSN(origin+1<<20))
		b.mustReceive(at(1, origin), at(1, half+5000))
		b.holds(1, origin, half, false)
		b.holds(2, origin, b.Status().Written.LSN, false)
	})
	t.Run("while waiting for the next try", func(t *testing.T) {
		t.Parallel()
		b := script(t, 1, func(_ *walsender.Options, _ *logstream.DirOptions, o *logstream.Options) { o.GiveUpAfter = 0 })
		done := b.start(context.Background(), 1, origin)
		b.await(1, origin+1<<20)
		b.server.Stop()
		for b.Status().Lost < 3 {
			time.Sleep(5 * time.Millisecond)
		}
		b.Stop()
		if err := b.result(done); err != nil {
			t.Error(err)
		}
	})
}

// TestCancelledReceiverReturnsTheCauseAndLeavesNothing is not parallel: it
// counts goroutines.
func TestCancelledReceiverReturnsTheCauseAndLeavesNothing(t *testing.T) {
	hangAt := func(command string) func(*scripted) {
		return func(b *scripted) { b.server.Handle(command, walsender.Hang) }
	}
	promote := func(b *scripted) {
		b.wal.Promote(walsender.LSN(origin+1<<19), 2, walsender.LSN(origin+1<<20))
	}
	for _, c := range []struct {
		name   string
		hang   func(*scripted)
		state  logstream.State
		change func(*walsender.Options, *logstream.DirOptions, *logstream.Options)
	}{
		{"start-up", func(*scripted) {}, logstream.Connecting,
			func(o *walsender.Options, _ *logstream.DirOptions, _ *logstream.Options) {
				o.OnStartup = walsender.Hang
			}},
		{"IDENTIFY_SYSTEM", hangAt("IDENTIFY_SYSTEM"), logstream.Identifying, nil},
		{"SHOW", hangAt("SHOW"), logstream.Identifying, nil},
		{"slot", hangAt("CREATE_REPLICATION_SLOT"), logstream.Identifying,
			func(_ *walsender.Options, _ *logstream.DirOptions, o *logstream.Options) { o.Slot.Temporary = true }},
		{"history before the stream", func(b *scripted) { promote(b); hangAt("TIMELINE_HISTORY")(b) }, logstream.Identifying, nil},
		{"before CopyBoth", hangAt("START_REPLICATION"), logstream.Streaming, nil},
		{"in the middle of the stream", func(b *scripted) { b.wal.At(walsender.LSN(origin+1000), walsender.Hang) }, logstream.Streaming, nil},
		{"idle", func(*scripted) {}, logstream.Streaming, nil},
		{"after the timeline's end", func(b *scripted) {
			b.wal.At(walsender.LSN(origin+5000), func(c *walsender.Conn) error { c.CopyDone(); return walsender.Hang(c) })
		}, logstream.Streaming, nil},
		{"between description and row", func(b *scripted) {
			b.server.Handle("START_REPLICATION", func(c *walsender.Conn) error {
				c.RowDescription("next_tli:int8", "next_tli_startpos")
				return walsender.Hang(c)
			})
		}, logstream.Streaming, nil},
		{"waiting", func(b *scripted) { b.wal.AtEvery(walsender.LSN(origin+1<<20), walsender.Cut) }, logstream.Waiting, forEver},
		{"fetching from the archive", func(b *scripted) { b.wal.Remove(walsender.LSN(origin + 1<<20)) }, logstream.FetchingFromArchive,
			func(_ *walsender.Options, _ *logstream.DirOptions, o *logstream.Options) {
				o.Archive = "exec sleep 100"
			}},
	} {
		for _, patience := range []time.Duration{-1, 0, time.Minute} {
			t.Run(fmt.Sprintf("%s, giving up after %s", c.name, patience), func(t *testing.T) {
				if patience < 0 && c.state == logstream.Waiting {
					t.Skip("it never waits")
				}
				b := script(t, 1, func(so *walsender.Options, do *logstream.DirOptions, ro *logstream.Options) {
					if c.change != nil {
						c.change(so, do, ro)
					}
					ro.GiveUpAfter = patience
				})
				c.hang(b)
				cause := errors.New("the operator went home")
				ctx, cancel := context.WithCancelCause(context.Background())
				done := b.start(ctx, 1, origin)
				for deadline := time.Now().Add(10 * time.Second); b.Status().State != c.state; time.Sleep(time.Millisecond) {
					if time.Now().After(deadline) {
						t.Fatalf("state is %s, want %s", b.Status().State, c.state)
					}
				}
				time.Sleep(10 * time.Millisecond) // into the read that hangs
				begun := time.Now()
				cancel(cause)
				if err := b.result(done); !errors.Is(err, cause) {
					t.Errorf("got %v, want the cause", err)
				}
				if took := time.Since(begun); took > 2*time.Second {
					t.Errorf("returned after %s", took)
				}
				noGoroutines(t)
				if s := b.Status(); s.State != logstream.Stopped || s.Durable != s.Written {
					t.Errorf("status at the end: %+v", s)
				}
			})
		}
	}
}

func forEver(_ *walsender.Options, _ *logstream.DirOptions, o *logstream.Options) { o.GiveUpAfter = 0 }

// noGoroutines checks that none runs code of the package.
func noGoroutines(t *testing.T) {
	t.Helper()
	var stacks string
	for range 100 {
		buf := make([]byte, 1<<20)
		stacks = string(buf[:runtime.Stack(buf, true)])
		if !strings.Contains(stacks, "/logstream.(") && !strings.Contains(stacks, "/replconn.") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("goroutines are left:\n%s", stacks)
}

func TestStopIsAnsweredForByAServerThatSaysNothingMore(t *testing.T) {
	t.Parallel()
	b := script(t, 1, nil)
	b.wal.At(walsender.LSN(origin+1<<20), func(c *walsender.Conn) error {
		_, err := c.WaitCopyDone()
		if err != nil {
			return err
		}
		return walsender.Cut(c)
	})
	b.mustReceive(at(1, origin), at(1, origin+1<<20))
	b.holds(1, origin, origin+1<<20, false)
}

func TestPreparedReceiverUsesItsConnection(t *testing.T) {
	t.Parallel()
	b := script(t, 1, func(_ *walsender.Options, _ *logstream.DirOptions, o *logstream.Options) { o.Slot.Temporary = true })
	if err := b.Prepare(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n := len(b.server.Slots()); n != 1 || b.asked("START_REPLICATION") != 0 {
		t.Errorf("after Prepare: %d slots, commands %q", n, b.server.Queries())
	}
	b.mustReceive(at(1, origin), at(1, origin+1<<20))
	if n := len(b.server.Startups()); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	if n := b.asked("CREATE_REPLICATION_SLOT"); n != 1 {
		t.Errorf("%d slots were made, want 1", n)
	}
}
