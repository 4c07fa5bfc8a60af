package logstream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/internal/pgtest/walsender"
	"github.com/pgbraid/pgbraid/logstream"
)

// sound is a bed whose log of n MB has pages and records.
func sound(t *testing.T, n int, wal []byte, setUp func(*logstream.DirOptions, *logstream.Options)) *scripted {
	t.Helper()
	b := script(t, n, func(s *walsender.Options, d *logstream.DirOptions, o *logstream.Options) {
		s.SystemID = fmt.Sprint(uint64(logstream.MadeSystem))
		o.GiveUpAfter = 0
		if setUp != nil {
			setUp(d, o)
		}
	})
	b.wal.Fill = filled(wal)
	return b
}

func filled(wal []byte) func(uint32, walsender.LSN, []byte) {
	return func(_ uint32, at walsender.LSN, p []byte) { copy(p, wal[logstream.LSN(at)-origin:]) }
}

// becomes has the server have other WAL from the next connection on.
func (b *scripted) becomes(wal []byte, end logstream.LSN) {
	w := walsender.NewWAL(walsender.LSN(origin), walsender.LSN(end))
	w.Fill = filled(wal)
	b.wal = w
	b.server.ServeWAL(w)
	b.server.CloseConnections()
}

func made(n, length int, salt func(logstream.LSN) byte) []byte {
	return logstream.MakeWAL(mib1, at(1, origin), n<<20, length, salt, 0)
}

func (b *scripted) read(name string) []byte {
	b.t.Helper()
	content, err := os.ReadFile(filepath.Join(b.dir, name))
	if err != nil {
		b.t.Fatal(err)
	}
	return content
}

// Two servers whose records lie at the same places: only their bytes differ.
func TestOtherWALAtTheSamePlacesIsRefused(t *testing.T) {
	t.Parallel()
	for _, end := range []logstream.LSN{origin + mb, origin + mb + 200, origin + mb + 300_000, origin + 2*mb - 1} {
		t.Run(end.String(), func(t *testing.T) {
			t.Parallel()
			b := sound(t, 4, made(4, 300, logstream.Salt(1)), nil)
			b.becomes(made(4, 300, logstream.Salt(1)), end)
			done := b.start(context.Background(), 1, origin)
			b.await(1, end)
			for b.Status().Segments == 0 { // await has a limit, and sealing follows
				time.Sleep(time.Millisecond)
			}
			b.becomes(made(4, 300, logstream.Salt(2)), origin+4*mb)
			err := b.result(done)
			var got *logstream.DivergedError
			if !errors.As(err, &got) || got.Stored != at(1, end) || got.Server != at(1, origin+4*mb) || got.System != logstream.MadeSystem {
				t.Fatalf("got %v", err)
			}
			b.none("*22*")
			b.none("*21")
			want := made(4, 300, logstream.Salt(1))
			if !bytes.Equal(b.read("000000010000000000000020"), want[:mb]) {
				t.Error("the sealed segment was changed")
			}
			if n := end - origin - mb; n > 0 && !bytes.Equal(b.read("000000010000000000000021.partial")[:n], want[mb:mb+n]) {
				t.Error("the partial segment was changed")
			}
		})
	}
}

// Only the beginning of a record is kept that the server wrote anew.
func TestUnfinishedRecordIsReplacedByTheServers(t *testing.T) {
	t.Parallel()
	const page = 8192
	for _, pages := range []logstream.LSN{20, 21, 22, 23} {
		end := origin + mb + pages*page
		b := sound(t, 4, made(4, 3000, logstream.Salt(1)), nil)
		b.becomes(made(4, 3000, logstream.Salt(1)), end)
		done := b.start(context.Background(), 1, origin)
		b.await(1, end)
		// The record that the end cuts is the first that differs.
		var first logstream.LSN
		wal := made(4, 3000, func(l logstream.LSN) byte {
			if l < end && l+3000 > end {
				first = l
			}
			if first != 0 {
				return 2
			}
			return 1
		})
		b.StopAt(at(1, origin+3*mb))
		b.becomes(wal, origin+4*mb)
		if err := b.result(done); err != nil {
			t.Fatal(err)
		}
		if first == 0 {
			t.Fatal("no record is cut")
		}
		if !bytes.Equal(b.read("000000010000000000000021"), wal[mb:2*mb]) {
			t.Error("the segment is not the server's")
		}
	}
}

// A segment that is no sound WAL never gets its final name.
func TestBrokenChainIsNotSealed(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(p []byte){
		"a byte":         func(p []byte) { p[mb+500_001] ^= 1 },
		"a page":         func(p []byte) { copy(p[mb+80*8192:], p[mb+70*8192:mb+71*8192]) },
		"the first page": func(p []byte) { clear(p[mb : mb+8192]) },
		"the last byte":  func(p []byte) { p[2*mb-1] ^= 1 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wal := made(4, 300, logstream.Salt(1))
			change(wal)
			b := sound(t, 4, wal, nil)
			err := b.receive(at(1, origin), at(1, origin+4*mb))
			var got *logstream.BrokenChainError
			if !errors.As(err, &got) || got.Position.Timeline != 1 || got.Server != at(1, origin+4*mb) || got.Hint() == "" {
				t.Fatalf("got %v", err)
			}
			t.Log(err)
			b.holds(1, origin, origin+mb, true)
			b.none("*22*")
			if name != "the last byte" { // it belongs to a record that ends in the next segment
				b.none("*21")
			}
		})
	}
}

// Where the server no longer has the segment before, its first record still
// says which one it follows.
func TestChainLinksToASealedSegment(t *testing.T) {
	t.Parallel()
	for _, length := range []int{300, 500} {
		b := sound(t, 4, made(4, 300, logstream.Salt(1)), nil)
		b.becomes(made(4, 300, logstream.Salt(1)), origin+mb)
		done := b.start(context.Background(), 1, origin)
		b.await(1, origin+mb)
		b.becomes(made(4, length, logstream.Salt(1)), origin+4*mb)
		b.wal.Remove(walsender.LSN(origin + mb))
		b.StopAt(at(1, origin+3*mb))
		err := b.result(done)
		var got *logstream.BrokenChainError
		if length == 300 {
			if err != nil {
				t.Errorf("the same WAL: %v", err)
			}
		} else if !errors.As(err, &got) {
			t.Errorf("other WAL: %v", err)
		}
	}
}

// What is only compared is not reported as flushed: it may be another server's.
func TestNothingIsReportedAsFlushedWhileItIsCompared(t *testing.T) {
	t.Parallel()
	wal := made(4, 300, logstream.Salt(1))
	half := origin + mb + mb/2
	b := sound(t, 4, wal, func(_ *logstream.DirOptions, o *logstream.Options) {
		o.StatusInterval, o.Synchronous = time.Millisecond, true
	})
	b.becomes(wal, half)
	done := b.start(context.Background(), 1, origin)
	b.await(1, half)
	before := len(b.server.Startups())
	b.becomes(wal, origin+4*mb)
	b.wal.At(walsender.LSN(origin+mb+mb/4), func(c *walsender.Conn) error { c.Sleep(100 * time.Millisecond); return nil })
	b.await(1, origin+4*mb)
	b.StopAt(at(1, origin+4*mb))
	if err := b.result(done); err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, f := range b.server.Feedback() {
		if f.Conn <= before {
			continue
		}
		if logstream.LSN(f.Written) < half {
			compared++
			if f.Flushed != 0 {
				t.Errorf("%+v while only up to %s is known to be the same", f, logstream.LSN(f.Written))
			}
		}
	}
	if compared < 5 {
		t.Errorf("%d statuses while comparing", compared)
	}
	b.holds(1, origin, origin+4*mb, false)
}

// A connection that never lasts for a segment gets on all the same.
func TestConnectionThatBreaksOffBeforeTheEndOfItsSegmentGetsOn(t *testing.T) {
	t.Parallel()
	wal := made(2, 300, logstream.Salt(1))
	b := sound(t, 2, wal, nil)
	b.wal.ChunkSize = 8192
	b.server.Handle("START_REPLICATION", func(c *walsender.Conn) error {
		c.CutAfter(150_000)
		return walsender.Pass
	})
	b.StopAt(at(1, origin+mb+mb/2))
	if err := b.result(b.start(context.Background(), 1, origin)); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d connections", len(b.server.Startups()))
}
