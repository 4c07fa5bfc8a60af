package logstream_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/internal/pgtest/walsender"
	"github.com/pgbraid/pgbraid/logstream"
)

// cutting makes a bed whose server breaks every second connection off after
// the bytes that next says, counted from START_REPLICATION on, and the others
// after at least a message, so that the pauses stay short.
func cutting(t *testing.T, reset bool, next func() (bytes int64, more bool)) (b *scripted, cuts func() int) {
	var mu sync.Mutex
	n, over := 0, false
	b = script(t, 8, forEver)
	b.wal.ChunkSize = 8192
	b.server.Handle("START_REPLICATION", func(c *walsender.Conn) error {
		mu.Lock()
		defer mu.Unlock()
		if over {
			return walsender.Pass
		}
		bytes, more := int64(10000), true
		if n%2 == 0 {
			bytes, more = next()
		}
		n++
		if over = !more; over {
			n--
			return walsender.Pass
		}
		if reset {
			c.ResetAfter(bytes)
		} else {
			c.CutAfter(bytes)
		}
		return walsender.Pass
	})
	return b, func() int { mu.Lock(); defer mu.Unlock(); return n }
}

// The first 64 bytes hold CopyBoth and the header of the first message, whose
// every byte is a place to break off at.
func TestConnectionCutAfterEveryByteGoesOnFromTheLast(t *testing.T) {
	t.Parallel()
	const shards = 16
	var all sync.WaitGroup
	for shard := range int64(shards) {
		at64 := shard - shards
		b, cuts := cutting(t, false, func() (int64, bool) { at64 += shards; return at64, at64 < 64 })
		all.Go(func() {
			b.mustReceive(at(1, origin), at(1, origin+8*mb))
			b.holds(1, origin, origin+8*mb, false)
			if s := b.Status(); s.Lost != cuts() || s.LastError == nil || s.Received != int64(8*mb) {
				t.Errorf("%d cuts, status: %+v", cuts(), s)
			}
		})
	}
	all.Wait()
}

func TestConnectionCutAtRandomBytesGoesOnFromTheLast(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var all sync.WaitGroup
	for i := range uint64(8) {
		random := rand.New(rand.NewPCG(seed, i))
		left := 12
		b, cuts := cutting(t, i%2 == 0, func() (int64, bool) { left--; return 9000 + random.Int64N(600_000), left >= 0 })
		all.Go(func() {
			b.mustReceive(at(1, origin+5), at(1, origin+8*mb))
			b.holds(1, origin, origin+8*mb, false)
			if s := b.Status(); s.Lost != cuts() {
				t.Errorf("%d cuts, status: %+v", cuts(), s)
			}
			checkStarts(t, b)
		})
	}
	all.Wait()
}

// checkStarts: each stream begins in the segment of what was received, or in the
// one before, to compare what the server has there.
func checkStarts(t *testing.T, b *scripted) {
	var last logstream.LSN
	for _, q := range b.server.Queries() {
		text, ok := strings.CutPrefix(q, "START_REPLICATION ")
		if !ok {
			continue
		}
		l, err := logstream.ParseLSN(strings.Fields(text)[0])
		if err != nil || l+2*mb < last {
			t.Errorf("%q after %s: %v", q, last, err)
		}
		last = max(last, l)
	}
}

func TestControlledShutdownIsRetried(t *testing.T) {
	t.Parallel()
	b := script(t, 2, forEver)
	b.wal.At(walsender.LSN(origin+mb+100), walsender.ControlledShutdown)
	b.mustReceive(at(1, origin), at(1, origin+2*mb))
	b.holds(1, origin, origin+2*mb, false)
	s := b.Status()
	if s.Lost != 1 || !errors.Is(s.LastError, logstream.ErrTerminatedEarly) {
		t.Errorf("status: %+v", s)
	}
	// So little is kept of the segment that the one before is compared too.
	if b.asked(fmt.Sprintf("START_REPLICATION %s ", origin)) != 2 {
		t.Errorf("commands: %q", b.server.Queries())
	}
}

func TestControlledShutdownEndsAReceiverWithoutPatience(t *testing.T) {
	t.Parallel()
	for _, slot := range []bool{false, true} {
		b := script(t, 2, func(_ *walsender.Options, _ *logstream.DirOptions, o *logstream.Options) { o.Slot.Temporary = slot })
		b.wal.At(walsender.LSN(origin+mb+100), walsender.ControlledShutdown)
		if err := b.receive(at(1, origin), at(1, origin+2*mb)); !errors.Is(err, logstream.ErrTerminatedEarly) {
			t.Errorf("slot %v: got %v, want ErrTerminatedEarly", slot, err)
		}
		b.holds(1, origin, origin+mb+100, false)
		if n := len(b.server.Startups()); n != 1 {
			t.Errorf("%d connections, want 1", n)
		}
	}
}

func TestErrorAfterCopyBothIsReported(t *testing.T) {
	t.Parallel()
	b := script(t, 1, nil)
	err := b.receive(at(1, origin+2*mb), at(1, origin+3*mb)) // ahead of the server
	if err == nil || !strings.Contains(err.Error(), "ahead of the WAL flush position") {
		t.Errorf("got %v", err)
	}
	b.none("0*")
}

func TestFirstConnectionIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	for _, patience := range []time.Duration{-1, 0, time.Hour} {
		setUp := func(_ *walsender.Options, _ *logstream.DirOptions, o *logstream.Options) { o.GiveUpAfter = patience }
		for name, broken := range map[string]func(*scripted){
			"refused":         func(b *scripted) { b.server.Stop() },
			"error":           func(b *scripted) { b.server.Handle("IDENTIFY_SYSTEM", walsender.Failing("57P03", "starting up")) },
			"cut":             func(b *scripted) { b.server.Handle("IDENTIFY_SYSTEM", walsender.Cut) },
			"cut at settings": func(b *scripted) { b.server.Handle("SHOW", walsender.Cut) },
		} {
			b := script(t, 1, setUp)
			broken(b)
			if err := b.receive(at(1, origin), at(1, origin+mb)); err == nil {
				t.Errorf("%s, giving up after %s: no error", name, patience)
			}
			if s := b.Status(); s.Lost != 0 || len(b.server.Startups()) > 1 {
				t.Errorf("%s, giving up after %s: %d connections, %+v", name, patience, len(b.server.Startups()), s)
			}
		}
	}
}

func TestGiveUpAfterIsKept(t *testing.T) {
	t.Parallel()
	run := func(patience time.Duration) (*scripted, time.Duration, error) {
		b := script(t, 1, func(_ *walsender.Options, _ *logstream.DirOptions, o *logstream.Options) { o.GiveUpAfter = patience })
		done := b.start(context.Background(), 1, origin)
		b.await(1, origin+mb)
		begun := time.Now()
		b.server.Handle("IDENTIFY_SYSTEM", walsender.Cut)
		b.server.CloseConnections()
		if patience == 0 {
			for b.Status().Lost < 5 {
				time.Sleep(5 * time.Millisecond)
			}
			b.server.Handle("IDENTIFY_SYSTEM", func(c *walsender.Conn) error { c.IdentifySystem(b.wal.End()); return nil })
			b.StopAt(at(1, origin+2*mb))
			b.wal.Advance(walsender.LSN(origin + 2*mb))
		}
		err := b.result(done)
		return b, time.Since(begun), err
	}
	t.Run("for ever", func(t *testing.T) {
		t.Parallel()
		b, _, err := run(0)
		if err != nil {
			t.Error(err)
		}
		b.holds(1, origin, origin+2*mb, false)
	})
	t.Run("not at all", func(t *testing.T) {
		t.Parallel()
		b, took, err := run(-1)
		if err == nil || len(b.server.Startups()) != 1 || took > 5*time.Second {
			t.Errorf("%d connections, %v after %s", len(b.server.Startups()), err, took)
		}
	})
	t.Run("a second, with growing pauses", func(t *testing.T) {
		t.Parallel()
		b, took, err := run(time.Second)
		if err == nil || !strings.Contains(err.Error(), "did not come back for 1s") {
			t.Errorf("got %v", err)
		}
		// At most: tries after about 0.1, 0.3, 0.7 and 1.5 s, pauses shorter by up to
		// a quarter.
		if n := len(b.server.Startups()); n < 3 || n > 6 || took < time.Second || took > 5*time.Second {
			t.Errorf("%d connections in %s", n, took)
		}
	})
}

func TestServerThatRefusesTheStreamIsNotAskedAgainByAnImpatientReceiver(t *testing.T) {
	t.Parallel()
	b := script(t, 1, func(_ *walsender.Options, _ *logstream.DirOptions, o *logstream.Options) { o.GiveUpAfter = time.Hour })
	b.server.Handle("START_REPLICATION", walsender.Failing("53300", "too many"))
	if err := b.receive(at(1, origin), at(1, origin+mb)); err == nil || b.asked("START_REPLICATION") != 1 {
		t.Errorf("got %v after %q", err, b.server.Queries())
	}
}

func TestAnotherClusterIsRefused(t *testing.T) {
	t.Parallel()
	t.Run("at first", func(t *testing.T) {
		t.Parallel()
		b := script(t, 1, func(_ *walsender.Options, _ *logstream.DirOptions, o *logstream.Options) {
			o.SystemIdentifier, o.GiveUpAfter, o.Slot.Temporary = 5, 0, true
		})
		var got *logstream.SystemMismatchError
		err := b.receive(at(1, origin), at(1, origin+mb))
		if !errors.As(err, &got) || got.Want != 5 || got.Got == 5 {
			t.Errorf("got %v", err)
		}
		if b.asked("CREATE_REPLICATION_SLOT") != 0 {
			t.Error("a slot was made on another cluster")
		}
		b.none("0*")
	})
	t.Run("on reconnect", func(t *testing.T) {
		t.Parallel()
		b := scriptRange(t, origin, origin+1000, forEver)
		done := b.start(context.Background(), 1, origin)
		b.await(1, origin+1000)
		b.server.Handle("IDENTIFY_SYSTEM", func(c *walsender.Conn) error {
			c.Answer(walsender.Columns{"systemid", "timeline:int8", "xlogpos", "dbname"}, "6", 1, walsender.LSN(origin+2*mb), nil)
			return nil
		})
		b.wal.At(walsender.LSN(origin+1000), func(c *walsender.Conn) error {
			b.wal.Advance(walsender.LSN(origin + 2*mb))
			return walsender.Cut(c)
		})
		var got *logstream.SystemMismatchError
		if err := b.result(done); !errors.As(err, &got) || got.Got != 6 || fmt.Sprint(got.Want) != b.server.SystemID() {
			t.Errorf("got %v", err)
		}
		b.holds(1, origin, origin+1000, false)
		if n := b.asked("START_REPLICATION"); n != 1 {
			t.Errorf("%d streams, want 1", n)
		}
	})
}

func TestRemovedWALEndsTheStreamAtOnce(t *testing.T) {
	t.Parallel()
	for _, patience := range []time.Duration{-1, 0, time.Hour} {
		b := script(t, 4, func(_ *walsender.Options, _ *logstream.DirOptions, o *logstream.Options) { o.GiveUpAfter = patience })
		b.wal.At(walsender.LSN(origin+mb+8192), func(*walsender.Conn) error { b.wal.Remove(walsender.LSN(origin + 3*mb)); return nil })
		err := b.receive(at(1, origin), at(1, origin+4*mb))
		var got *logstream.WALMissingError
		if !errors.As(err, &got) || got.Segment != "000000010000000000000021" || got.Position.Timeline != 1 || got.Hint() == "" {
			t.Errorf("got %v", err)
		}
		if n := len(b.server.Startups()); n != 1 {
			t.Errorf("%d connections, want 1", n)
		}
		b.holds(1, origin, b.Status().Written.LSN, false)
	}
}
