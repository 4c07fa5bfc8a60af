package logstream_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/internal/pgtest/walsender"
	"github.com/pgbraid/pgbraid/logstream"
)

// checkFeedback: nothing was reported as flushed that was not durable then,
// and nothing as written that was not sent.
func (b *scripted) checkFeedback() {
	b.t.Helper()
	for _, f := range b.server.Feedback() {
		// The message has microseconds, and the position to begin at counts
		// as durable.
		durable := max(b.store.durableBy(f.Time.Add(2*time.Microsecond)), origin)
		if l := logstream.LSN(f.Flushed); l > durable {
			b.t.Errorf("%s was reported as flushed while %s was durable", l, durable)
		}
		if f.Flushed > f.Written || f.Applied != 0 || f.ReplyRequested {
			b.t.Errorf("status message %+v", f)
		}
	}
}

func (b *scripted) lastFeedback() walsender.Feedback {
	b.t.Helper()
	list := b.server.Feedback()
	if len(list) == 0 {
		b.t.Fatal("no status message")
	}
	return list[len(list)-1]
}

func TestTemporarySlotIsMadeOnEachConnection(t *testing.T) {
	t.Parallel()
	for version, grammar := range map[string]string{"18.4": "(RESERVE_WAL)", "14.9": "RESERVE_WAL", "19devel": "(RESERVE_WAL)"} {
		for _, name := range []string{"", "mine"} {
			b := script(t, 2, func(so *walsender.Options, _ *logstream.DirOptions, o *logstream.Options) {
				so.Version, o.GiveUpAfter, o.Slot = version, 0, logstream.Slot{Name: name, Temporary: true}
			})
			b.wal.At(walsender.LSN(origin+mb+100), walsender.Cut)
			b.mustReceive(at(1, origin), at(1, origin+2*mb))
			b.holds(1, origin, origin+2*mb, false)
			var want []string
			for conn := range 2 {
				slot := name
				if slot == "" {
					slot = fmt.Sprintf("pgbraid_%d", 1001+conn)
				}
				want = append(want, fmt.Sprintf("CREATE_REPLICATION_SLOT %q TEMPORARY PHYSICAL %s", slot, grammar))
			}
			got := slices.DeleteFunc(b.server.Queries(), func(q string) bool { return !strings.HasPrefix(q, "CREATE") })
			if !slices.Equal(got, want) {
				t.Errorf("release %s: asked %q, want %q", version, got, want)
			}
		}
	}
}

func TestPermanentSlotIsMadeOnce(t *testing.T) {
	t.Parallel()
	b := script(t, 2, func(_ *walsender.Options, _ *logstream.DirOptions, o *logstream.Options) {
		o.GiveUpAfter, o.Slot = 0, logstream.Slot{Name: "kept", Create: true}
	})
	b.wal.At(walsender.LSN(origin+mb+100), walsender.Cut)
	b.mustReceive(at(1, origin), at(1, origin+2*mb))
	if n := b.asked("CREATE_REPLICATION_SLOT"); n != 1 || !b.SlotCreated() {
		t.Errorf("made %d times, SlotCreated %v", n, b.SlotCreated())
	}
	if n := b.asked(`START_REPLICATION SLOT "kept" `); n != 2 {
		t.Errorf("commands: %q", b.server.Queries())
	}
	if slot, ok := b.server.Slots()["kept"]; !ok || slot.RestartLSN != walsender.LSN(origin+2*mb) {
		t.Errorf("slot at the end: %+v, want it at the stop position", slot)
	}
	b.checkFeedback()
}

func TestSlotThatExistsIsNotMadeOver(t *testing.T) {
	t.Parallel()
	b := script(t, 1, func(_ *walsender.Options, _ *logstream.DirOptions, o *logstream.Options) {
		o.GiveUpAfter, o.Slot = 0, logstream.Slot{Name: "kept", Create: true}
	})
	b.server.AddSlot("kept", walsender.Slot{RestartLSN: walsender.LSN(origin), Timeline: 1})
	if err := b.receive(at(1, origin), at(1, origin+mb)); err == nil || !strings.Contains(err.Error(), "already exists") {
		t.Errorf("got %v", err)
	}
	if b.SlotCreated() {
		t.Error("SlotCreated is true")
	}
}

func TestMissingSlotIsNotStreamedFrom(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"18.4", "14.9"} {
		b := script(t, 1, func(so *walsender.Options, _ *logstream.DirOptions, o *logstream.Options) {
			so.Version, o.GiveUpAfter, o.Slot = version, 0, logstream.Slot{Name: "gone"}
		})
		if err := b.receive(at(1, origin), at(1, origin+mb)); err == nil || !strings.Contains(err.Error(), "gone") {
			t.Errorf("release %s: got %v", version, err)
		}
		b.none("0*")
	}
}

func TestFlushPositionIsReportedOnlyWhereSomebodyReliesOnIt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ slot, synchronous bool }{{false, false}, {true, false}, {false, true}} {
		b := script(t, 3, func(_ *walsender.Options, _ *logstream.DirOptions, o *logstream.Options) {
			o.Slot.Temporary, o.Synchronous, o.StatusInterval = c.slot, c.synchronous, time.Millisecond
		})
		b.wal.KeepaliveEvery, b.wal.ReplyRequested = 3, true
		end := origin + 2*mb + mb/2
		b.mustReceive(at(1, origin), at(1, end))
		b.checkFeedback()
		last, want := b.lastFeedback(), b.Status().Written.LSN
		if logstream.LSN(last.Written) != want {
			t.Errorf("%+v: last status %+v, want all %s as written", c, last, want)
		}
		if !c.slot && !c.synchronous {
			want = 0
		}
		for _, f := range b.server.Feedback() {
			if want == 0 && f.Flushed != 0 {
				t.Fatalf("%+v: status %+v", c, f)
			}
		}
		if logstream.LSN(last.Flushed) != want {
			t.Errorf("%+v: last status %+v, want %s as flushed", c, last, want)
		}
	}
}

func TestReplyRequestIsAnsweredWithoutAnInterval(t *testing.T) {
	t.Parallel()
	for _, slot := range []bool{false, true} {
		b := scriptRange(t, origin, origin+5000, func(_ *walsender.Options, _ *logstream.DirOptions, o *logstream.Options) { o.Slot.Temporary = slot })
		var before, answered atomic.Int64
		b.wal.At(walsender.LSN(origin+5000), func(c *walsender.Conn) error {
			c.Sleep(50 * time.Millisecond)
			before.Store(int64(len(b.server.Feedback())))
			begun := time.Now()
			c.Keepalive(walsender.LSN(origin+5000), true)
			for {
				f, err := c.ReceiveFeedback()
				if err != nil {
					return err
				}
				if f.Written == walsender.LSN(origin+5000) && (!slot || f.Flushed == f.Written) {
					answered.Store(int64(time.Since(begun)))
					return nil
				}
			}
		})
		ctx, cancel := context.WithCancel(context.Background())
		done := b.start(ctx, 1, origin)
		for deadline := time.Now().Add(10 * time.Second); answered.Load() == 0 && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		cancel()
		_ = b.result(done) // the cancellation
		unasked := int64(0)
		if slot {
			unasked = 1 // at the start
		}
		if took := time.Duration(answered.Load()); took == 0 || took > time.Second || before.Load() != unasked {
			t.Errorf("slot %v: answered after %s, %d unasked messages before", slot, took, before.Load())
		}
		b.checkFeedback()
	}
}

func TestFailingFsyncEndsTheStreamAndIsNeverReportedAsFlushed(t *testing.T) {
	t.Parallel()
	broken := errors.New("input/output error")
	for _, what := range []string{"sync", "seal", "finish", "open", "write"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			b := script(t, 3, func(_ *walsender.Options, _ *logstream.DirOptions, o *logstream.Options) {
				o.Slot.Temporary, o.Synchronous, o.GiveUpAfter, o.StatusInterval = true, what == "sync", 0, time.Millisecond
			})
			b.wal.ChunkSize, b.wal.KeepaliveEvery, b.wal.ReplyRequested = 40960, 5, true
			var seen atomic.Int64
			b.store.before = func(op string) error {
				if op == what && (seen.Add(1) > 1 || what == "finish" || what == "sync") {
					return broken
				}
				return nil
			}
			err := b.receive(at(1, origin), at(1, origin+2*mb+5000))
			var store *logstream.StoreError
			if !errors.As(err, &store) || !errors.Is(err, broken) {
				t.Errorf("got %v, want a StoreError", err)
			}
			b.checkFeedback()
			s := b.Status()
			if durable := max(origin, b.store.durableBy(time.Now())); s.Durable.LSN > durable || s.Lost != 0 {
				t.Errorf("durable is %s, status %+v", durable, s)
			}
			if n := len(b.server.Startups()); n != 1 {
				t.Errorf("%d connections, want 1", n)
			}
		})
	}
}

// A disk that stalls must not cost the connection.
func TestStalledStoreStillAnswersTheServer(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"write", "seal", "seal and ping", "finish"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			b := script(t, 24, func(so *walsender.Options, _ *logstream.DirOptions, o *logstream.Options) {
				so.WALSenderTimeout, o.Slot.Temporary = "1s", true
			})
			// Behind 17 segments that wait to be sealed no more jobs are taken.
			stalls, ping := strings.CutSuffix(what, " and ping")
			if ping {
				b.wal.At(walsender.LSN(origin+17*mb+8192), func(c *walsender.Conn) error {
					c.Keepalive(walsender.LSN(origin+17*mb), true)
					return nil
				})
			}
			const stall = 2500 * time.Millisecond
			begun := make(chan time.Time, 1)
			var first atomic.Bool
			b.store.before = func(op string) error {
				if op == stalls && first.CompareAndSwap(false, true) {
					// The stream goes on until too many segments wait.
					for stalls == "seal" && b.Status().Written.LSN < origin+17*mb {
						time.Sleep(time.Millisecond)
					}
					begun <- time.Now()
					time.Sleep(stall)
				}
				return nil
			}
			b.mustReceive(at(1, origin), at(1, origin+23*mb+8192))
			from := <-begun
			to := from.Add(stall)
			last := from
			for _, f := range b.server.Feedback() {
				if f.Time.After(from) && f.Time.Before(to) {
					if gap := f.Time.Sub(last); gap > 1400*time.Millisecond {
						t.Errorf("%s without a word", gap)
					}
					last = f.Time
				}
			}
			if gap := to.Sub(last); gap > 1400*time.Millisecond {
				t.Errorf("%s without a word at the end", gap)
			}
			b.checkFeedback()
		})
	}
}

func TestFlushPositionWaitsForTheDisk(t *testing.T) {
	t.Parallel()
	b := script(t, 4, func(_ *walsender.Options, _ *logstream.DirOptions, o *logstream.Options) {
		o.Slot.Temporary, o.StatusInterval = true, 5*time.Millisecond
	})
	release := make(chan struct{})
	b.store.before = func(op string) error {
		if op == "seal" || op == "sync" {
			<-release
		}
		return nil
	}
	b.StopAt(at(1, origin+4*mb))
	done := b.start(context.Background(), 1, origin)
	b.server.WaitFeedback(func(f walsender.Feedback) bool { return f.Written >= walsender.LSN(origin+3*mb) })
	for _, f := range b.server.Feedback() {
		if f.Flushed > walsender.LSN(origin) {
			t.Errorf("%s was reported as flushed before anything was", f.Flushed)
		}
	}
	close(release)
	if err := b.result(done); err != nil {
		t.Fatal(err)
	}
	if last := b.lastFeedback(); logstream.LSN(last.Flushed) != origin+4*mb {
		t.Errorf("last status: %+v", last)
	}
}
