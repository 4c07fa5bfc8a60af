package logstream_test

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/internal/compress"
	"github.com/pgbraid/pgbraid/internal/durable"
	"github.com/pgbraid/pgbraid/internal/pgtest/powerloss"
	"github.com/pgbraid/pgbraid/internal/pgtest/walsender"
	"github.com/pgbraid/pgbraid/logstream"
)

// noRoomToPack is a receiver that compresses, with three full segments and a
// half to receive. There is no room for what it compresses while full is set,
// after some segments.
func noRoomToPack(t *testing.T, after int, synchronous bool, refusal error) (b *scripted, full *atomic.Bool, log *powerloss.Log) {
	b = scriptRange(t, origin, origin+3<<20+512<<10, func(_ *walsender.Options, do *logstream.DirOptions, o *logstream.Options) {
		do.NoSync, do.SealFirst = false, synchronous
		do.Compression = compress.Spec{Method: compress.Gzip, Level: 1}
		o.GiveUpAfter, o.Synchronous = 0, synchronous
	})
	full = new(atomic.Bool)
	full.Store(true)
	first := b.size.FileName(1, b.size.Segment(origin)+logstream.SegmentNumber(after))
	t.Cleanup(durable.Watch(b.dir, func(c durable.Change) (int, error) {
		if full.Load() && c.Op == durable.OpWrite && strings.HasSuffix(c.Path, ".gz.tmp") && filepath.Base(c.Path) >= first {
			return 0, &fs.PathError{Op: "write", Path: c.Path, Err: refusal}
		}
		return len(c.Data), nil
	}))
	return b, full, powerloss.Record(t, b.dir)
}

// awaitNoRoom waits until the receiver waits for room, on a server that has
// nothing more to send.
func (b *scripted) awaitNoRoom() logstream.Status {
	b.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		s := b.Status()
		if s.State == logstream.Waiting {
			if logstream.ErrorClass(s.LastError) != logstream.ClassDiskFull || !strings.Contains(s.LastError.Error(), ".gz.tmp") {
				b.t.Fatalf("waits for %v", s.LastError)
			}
			return s
		}
		if s.State == logstream.Stopped || time.Now().After(deadline) {
			b.t.Fatalf("does not wait for room: %+v", s)
		}
	}
}

func TestNoRoomForACompressedSegmentIsWaitedOut(t *testing.T) {
	t.Parallel()
	for name, synchronous := range map[string]bool{"plain": false, "synchronous": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, full, log := noRoomToPack(t, 1, synchronous, syscall.ENOSPC)
			done := b.start(context.Background(), 1, origin)
			s := b.awaitNoRoom()
			if s.Segments != 1 || s.Durable.LSN < origin+1<<20 {
				t.Errorf("with one segment sealed: %+v", s)
			}
			time.Sleep(600 * time.Millisecond) // it tries again, and again
			if again := b.awaitNoRoom(); again.Segments != 1 || again.Durable.LSN < s.Durable.LSN || again.Lost > s.Lost+6 {
				t.Errorf("tries again: %+v, after %+v", again, s)
			}
			full.Store(false)
			b.await(1, origin+3<<20+512<<10)
			b.Stop()
			if err := b.result(done); err != nil {
				t.Error(err)
			}
			if s := b.Status(); s.Segments != 3 || s.Durable.LSN != origin+3<<20+512<<10 {
				t.Errorf("at the end: %+v", s)
			}
			sent := append(b.wal.Bytes(1, walsender.LSN(origin), walsender.LSN(origin+3<<20+512<<10)), make([]byte, b.size)...)
			if n := b.sealedWhole(log.Len(), log.Crash(log.Len(), powerloss.None), sent, false, origin+3<<20+512<<10); n != 3 {
				t.Errorf("%d segments", n)
			}
		})
	}
}

// A stop while what was received cannot be kept is no end in good order.
func TestStopWithNoRoomForACompressedSegmentFails(t *testing.T) {
	t.Parallel()
	b, _, _ := noRoomToPack(t, 0, false, syscall.ENOSPC)
	done := b.start(context.Background(), 1, origin)
	b.awaitNoRoom()
	b.Stop()
	if err := b.result(done); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("ends with %v", err)
	}
}

// A disk that fails in another way is not waited for, and is noticed on a
// server that has nothing more to send.
func TestFailureToCompressASegmentEndsTheStream(t *testing.T) {
	t.Parallel()
	b, _, _ := noRoomToPack(t, 0, false, syscall.EIO)
	if err := b.result(b.start(context.Background(), 1, origin)); !errors.Is(err, syscall.EIO) {
		t.Errorf("ends with %v", err)
	}
}
