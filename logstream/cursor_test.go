package logstream

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
)

// The cursor does not care that no cluster has segments of 8 bytes.
const tiny SegmentSize = 8

func newTestCursor(t *testing.T, pos Position) (*cursor, *fakeStore) {
	store := newFakeStore(tiny)
	f := newFlusher(pos, 0, func() {}, nil)
	t.Cleanup(func() { _ = f.close() }) // the tests look at its errors
	return &cursor{store: store, size: tiny, flush: f, pos: pos}, store
}

// writeAll writes data from an LSN on, in pieces of the given sizes.
func writeAll(t *testing.T, c *cursor, start LSN, data []byte, sizes func() int) {
	t.Helper()
	for len(data) > 0 {
		n := min(len(data), sizes())
		if err := c.write(start, data[:n]); err != nil {
			t.Fatal(err)
		}
		start += LSN(n)
		data = data[n:]
	}
}

func TestWALCutInAnyWayGivesTheSameSegments(t *testing.T) {
	t.Parallel()
	data := []byte("abcdefghijklmnopqrstuvwxyz.ABC")
	check := func(t *testing.T, name string, sizes func() int) {
		t.Helper()
		c, store := newTestCursor(t, Position{1, 16})
		writeAll(t, c, 16, data, sizes)
		if c.pos != (Position{1, 16 + LSN(len(data))}) {
			t.Errorf("%s: the stream stands at %s", name, c.pos)
		}
		if err := c.flush.drain(); err != nil {
			t.Fatal(err)
		}
		for i, segment := range []string{"1/2", "1/3", "1/4"} {
			s := store.segments[segment]
			if s == nil || string(s.data) != string(data[8*i:8*i+8]) || !s.whole() {
				t.Fatalf("%s: segment %s is %+v", name, segment, s)
			}
		}
		if s := store.segments["1/5"]; s == nil || string(s.data) != "yz.ABC\x00\x00" || s.whole() {
			t.Fatalf("%s: the last segment is %+v", name, s)
		}
		if got := c.flush.position(); got != (Position{1, 40}) {
			t.Errorf("%s: durable up to %s", name, got)
		}
		if err := c.end(flushFinish); err != nil {
			t.Fatal(err)
		}
		if err := c.flush.drain(); err != nil || c.flush.position() != c.pos {
			t.Errorf("%s: durable up to %s in the end, %v", name, c.flush.position(), err)
		}
		// Seals run beside the stream: each segment's own order counts.
		var all []string
		for _, segment := range []string{"1/2", "1/3", "1/4", "1/5"} {
			for _, line := range store.lines {
				if strings.HasSuffix(line, segment) {
					all = append(all, strings.Fields(line)[0])
				}
			}
		}
		if got := strings.Join(all, " "); got != "open full seal open full seal open full seal open finish" {
			t.Errorf("%s: %s", name, got)
		}
	}
	for cut := 1; cut <= len(data); cut++ {
		next := cut
		check(t, "one cut", func() int { n := next; next = len(data); return n })
		check(t, "equal pieces", func() int { return cut })
	}
	const seed = 1
	random := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		check(t, "random pieces, seed 1", func() int { return 1 + random.IntN(20) })
	}
}

func TestWALThatDoesNotFollowIsRefused(t *testing.T) {
	t.Parallel()
	for _, start := range []LSN{0, 15, 18, 19, 21, 24, 1 << 32} {
		c, store := newTestCursor(t, Position{1, 16})
		if err := c.write(16, []byte("abcd")); err != nil {
			t.Fatal(err)
		}
		if err := c.write(start, []byte("x")); err == nil || !strings.Contains(err.Error(), "expected 0/14") {
			t.Errorf("WAL at %s: %v", start, err)
		}
		if c.pos.LSN != 20 || !bytes.Equal(store.segments["1/2"].data, []byte("abcd\x00\x00\x00\x00")) {
			t.Errorf("WAL at %s changed something", start)
		}
	}
	// A segment is only opened at its start.
	c, store := newTestCursor(t, Position{1, 17})
	if err := c.write(17, []byte("x")); err == nil {
		t.Error("WAL in mid segment is taken with no segment open")
	}
	store.want(t, "in mid segment", "")
}

func TestStoreThatFailsIsReportedAsOne(t *testing.T) {
	t.Parallel()
	c, store := newTestCursor(t, Position{1, 16})
	broken := errors.New("broken")
	var e *StoreError
	store.openErr = broken
	if err := c.write(16, []byte("abc")); !errors.As(err, &e) || !errors.Is(err, broken) || c.pos.LSN != 16 {
		t.Errorf("opening: %v, at %s", err, c.pos)
	}
	store.openErr = nil
	if err := c.write(16, []byte("abc")); err != nil {
		t.Fatal(err)
	}
	segment := store.segments["1/2"]
	segment.err = broken
	if err := c.write(19, []byte("de")); !errors.As(err, &e) || !errors.Is(err, broken) || c.pos.LSN != 19 {
		t.Errorf("writing: %v, at %s", err, c.pos)
	}
	// What failed can be written again at the same place.
	segment.err = nil
	if err := c.write(19, []byte("de")); err != nil || string(segment.data) != "abcde\x00\x00\x00" {
		t.Errorf("%v, %q", err, segment.data)
	}
}

func TestSegmentIsLetGoWhereTheFlusherFailed(t *testing.T) {
	t.Parallel()
	c, store := newTestCursor(t, Position{1, 16})
	if err := c.write(16, []byte("abc")); err != nil {
		t.Fatal(err)
	}
	bad := &fakeSegment{journal: &store.journal, name: "bad", err: errors.New("fsync")}
	if err := c.flush.add(flushJob{flushSync, bad, c.pos}); err != nil {
		t.Fatal(err)
	}
	_ = c.flush.drain()
	if err := c.write(19, []byte("defgh")); !errors.Is(err, bad.err) {
		t.Errorf("%v, want the flusher's error", err)
	}
	if c.segment != nil {
		t.Error("the segment is still open")
	}
	store.want(t, "calls", "open 1/2, sync bad, full 1/2, leave 1/2")
}

func TestMoveLeavesTheOpenSegmentAndGoesToTheStartOfAnother(t *testing.T) {
	t.Parallel()
	c, store := newTestCursor(t, Position{1, 16})
	if err := c.write(16, []byte("abcdefghij")); err != nil {
		t.Fatal(err)
	}
	if err := c.sync(); err != nil {
		t.Fatal(err)
	}
	if err := c.moveTo(Position{2, 26}); err != nil {
		t.Fatal(err)
	}
	if c.pos != (Position{2, 24}) || c.flush.position() != c.pos {
		t.Errorf("at %s, durable up to %s", c.pos, c.flush.position())
	}
	lines := strings.Join(store.lines, ", ")
	if !strings.HasSuffix(lines, "leave 1/3") || strings.Contains(lines, "seal 1/3") || !strings.Contains(lines, "seal 1/2") {
		t.Errorf("calls: %s", lines)
	}
	if err := c.write(24, []byte("klmnopqr")); err != nil {
		t.Fatal(err)
	}
	if string(store.segments["1/3"].data) != "ij\x00\x00\x00\x00\x00\x00" || string(store.segments["2/3"].data) != "klmnopqr" {
		t.Errorf("segments %q and %q", store.segments["1/3"].data, store.segments["2/3"].data)
	}
	// With no segment open there is nothing to leave or to sync.
	if err := c.flush.drain(); err != nil {
		t.Fatal(err)
	}
	store.lines = nil
	for _, err := range []error{c.sync(), c.end(flushLeave), c.moveTo(Position{3, 40})} {
		if err != nil {
			t.Error(err)
		}
	}
	store.want(t, "no segment open", "")
}

func TestMoveReturnsTheErrorOfTheSegmentBefore(t *testing.T) {
	t.Parallel()
	c, store := newTestCursor(t, Position{1, 16})
	if err := c.write(16, []byte("abc")); err != nil {
		t.Fatal(err)
	}
	store.segments["1/2"].err = errors.New("fsync")
	if err := c.moveTo(Position{2, 16}); !errors.Is(err, store.segments["1/2"].err) {
		t.Errorf("%v, want that of the fsync", err)
	}
}

// What the stream makes durable itself is told as the flusher's work is, and
// a failed sync is the last.
func TestSyncInTheStreamsOwnGoroutine(t *testing.T) {
	t.Parallel()
	c, store := newTestCursor(t, Position{1, 16})
	if done, err := c.syncNow(); done || err != nil {
		t.Errorf("with no segment open: %v, %v", done, err)
	}
	writeAll(t, c, 16, []byte("abc"), func() int { return 1 })
	for _, want := range []bool{true, false} { // the second time there is nothing to do
		if done, err := c.syncNow(); done != want || err != nil {
			t.Errorf("got %v, %v, want %v", done, err, want)
		}
		if got := c.flush.position(); got != (Position{1, 19}) {
			t.Errorf("durable is %s", got)
		}
	}
	writeAll(t, c, 19, []byte("d"), func() int { return 1 })
	broken := errors.New("disk is broken")
	for _, segment := range store.segments {
		segment.err = broken
	}
	for range 2 {
		var failed *StoreError
		if done, err := c.syncNow(); done || !errors.Is(err, broken) || !errors.As(err, &failed) {
			t.Errorf("got %v, %v", done, err)
		}
	}
	if got := c.flush.position(); got != (Position{1, 19}) {
		t.Errorf("durable is %s after a failed sync", got)
	}
}

// newDirCursor makes a cursor over a real directory.
func newDirCursor(t testing.TB, size SegmentSize) *cursor {
	t.Helper()
	pos := Position{1, LSN(size)}
	f := newFlusher(pos, 0, func() {}, nil)
	c := &cursor{store: NewDirStore(t.TempDir(), size, DirOptions{}), size: size, flush: f, pos: pos}
	t.Cleanup(func() { _ = errors.Join(c.end(flushLeave), f.close()) })
	return c
}

func TestWALGoesToASegmentWithoutAllocation(t *testing.T) {
	c := newDirCursor(t, 64<<20)
	data := make([]byte, 8<<10)
	n := testing.AllocsPerRun(1000, func() {
		if err := c.write(c.pos.LSN, data); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations a message", n)
	}
}

// checked makes a cursor check what passes, as a Receiver's does.
func checked(c *cursor) *cursor {
	c.check = &continuity{size: c.size, log: slog.New(slog.DiscardHandler)}
	c.check.store = c.store.(ReadableStore)
	return c
}

func TestWALIsCheckedWithoutAllocation(t *testing.T) {
	const size = 64 << 20
	c := checked(newDirCursor(t, size))
	wal := MakeWAL(size, Position{1, size}, size/2, 300, Salt(1), 0)
	n := testing.AllocsPerRun(1000, func() {
		from := c.size.Offset(c.pos.LSN)
		if err := c.write(c.pos.LSN, wal[from:from+8<<10]); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations a message", n)
	}
}

// What it costs to check what passes: with records of 300 bytes, and without.
func BenchmarkSegments(b *testing.B) {
	const size, message = 16 << 20, 128 << 10
	for _, check := range []bool{false, true} {
		b.Run(fmt.Sprintf("checked %t", check), func(b *testing.B) {
			wal := MakeWAL(size, Position{1, size}, 16*size, 300, Salt(1), 0)
			c := newDirCursor(b, size)
			if check {
				c = checked(c)
			}
			b.SetBytes(message)
			b.ReportAllocs()
			for b.Loop() {
				at := c.pos.LSN - size
				if at == LSN(len(wal)) {
					b.StopTimer()
					if err := c.flush.drain(); err != nil { // the names come again
						b.Fatal(err)
					}
					c.pos.LSN, at = size, 0
					if check {
						c.check.linked = false
					}
					b.StartTimer()
				}
				if err := c.write(c.pos.LSN, wal[at:at+message]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
