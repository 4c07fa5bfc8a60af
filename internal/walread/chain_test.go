package walread

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

func newTestChain(t testing.TB, start uint64) Chain {
	t.Helper()
	c, err := NewChain(start, testOptions)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// feed gives WAL in pieces of the sizes that next says.
func feed(c *Chain, p []byte, next func() int) error {
	for len(p) > 0 {
		n := min(next(), len(p))
		if err := c.Feed(p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

func inPieces(n int) func() int { return func() int { return n } }

func TestChainTakesSoundWALHoweverItIsCut(t *testing.T) {
	t.Parallel()
	const seed = 1
	random := rand.New(rand.NewPCG(seed, 0))
	for name, b := range map[string]*builder{"mixed": mixed(), "crossing": crossing()} {
		for _, cut := range []func() int{
			inPieces(1), inPieces(7), inPieces(8192), inPieces(131072), inPieces(1 << 30),
			func() int { return 1 + random.IntN(100) }, func() int { return 1 + random.IntN(20000) },
		} {
			c := newTestChain(t, b.base)
			if err := feed(&c, b.buf, cut); err != nil {
				t.Fatalf("%s, seed %d: %v", name, seed, err)
			}
			if c.Position() != b.pos() || c.End() != b.last().End || !c.Linked() || !c.Known() {
				t.Errorf("%s: at %X, end %X, want %X", name, c.Position(), c.End(), b.last().End)
			}
		}
	}
}

// An archive may begin anywhere, also inside a record.
func TestChainBeginsAtAnySegment(t *testing.T) {
	t.Parallel()
	b := mixed()
	for at := testSegment; at < len(b.buf); at += testSegment {
		c := newTestChain(t, b.base+uint64(at))
		if err := c.Feed(b.buf[at:]); err != nil {
			t.Errorf("from byte %X: %v", at, err)
		}
		if c.End() != b.last().End {
			t.Errorf("from byte %X: end %X", at, c.End())
		}
	}
}

// A copy goes on from the same place by itself.
func TestChainIsCopied(t *testing.T) {
	t.Parallel()
	b := mixed()
	for at := 999; at < len(b.buf); at += 50021 {
		c := newTestChain(t, b.base)
		if err := c.Feed(b.buf[:at]); err != nil {
			t.Fatal(err)
		}
		d := c
		_ = d.Feed(make([]byte, 100)) // whatever becomes of it
		if err := c.Feed(b.buf[at:]); err != nil || c.End() != b.last().End {
			t.Errorf("cut at %d: %v", at, err)
		}
	}
}

func TestChainFindsEachFlippedByte(t *testing.T) {
	t.Parallel()
	b := crossing()
	for at := range b.buf {
		off := at % b.pageSize
		if off >= 20 && off < 24 || off >= 4 && off < 8 {
			continue // padding, and timelines, which may be higher ones
		}
		if at >= 24 && at < 32 || at >= 16 && at < 20 {
			continue // the system identifier, which is not told, and a length that means nothing here
		}
		padding := true
		for i := range b.recs {
			if first := int(b.recs[i].LSN - b.base); at >= first && at < dataEnd(b, i) || off < 24 {
				padding = false
			}
		}
		if padding {
			continue
		}
		for _, cut := range []int{1, 300, 1 << 20} {
			wal := bytes.Clone(b.buf)
			wal[at] ^= 0x40
			c := newTestChain(t, b.base)
			err := feed(&c, wal, inPieces(cut))
			end, ok := errors.AsType[*EndError](err)
			if at < 2 {
				if err != nil || c.Known() {
					t.Errorf("an unknown format is judged: %v", err)
				}
			} else if !ok || end.Ending == Torn || c.Position() > b.base+uint64(len(wal)) {
				// A length that became greater is found at the next page.
				if !(c.state == chainRecord && at >= int(b.last().LSN-b.base)) {
					t.Errorf("byte %d in pieces of %d: %v", at, cut, err)
				}
			}
		}
	}
}

func TestChainSaysWhatIsBroken(t *testing.T) {
	t.Parallel()
	good := func() *builder { return newBuilder().many(2000, 100) }
	for _, tt := range []struct {
		name   string
		change func(b *builder) []byte
		reason Reason
	}{
		{"zeros within", func(b *builder) []byte { clear(b.buf[50000:60000]); return b.buf }, 0},
		{"zeros where a record begins", func(b *builder) []byte { return append(b.buf, make([]byte, 8)...) }, Zeros},
		{"page of elsewhere", func(b *builder) []byte { copy(b.buf[16384:], b.buf[8192:16384]); return b.buf }, BadPage},
		{"record of elsewhere", func(b *builder) []byte {
			copy(b.buf[b.recs[30].LSN-b.base:], b.buf[b.recs[20].LSN-b.base:][:100])
			return b.buf
		}, BadPrev},
		{"a lower timeline", func(b *builder) []byte { b.toPageEnd(0); b.timeline = 0; return b.many(10, 100).buf }, BadPage},
		{"not zeros after a switch", func(b *builder) []byte {
			b.add(rmgrXLOG, infoSwitch, 24)
			b.buf[len(b.buf)-5000] = 1
			return b.buf
		}, BadLength},
		{"continuation of no record", func(b *builder) []byte {
			b.toPageEnd(0).flags = FlagContinuation
			return b.many(10, 100).buf
		}, BadContinuation},
		{"no continuation", func(b *builder) []byte { b.toPageEnd(48).abort(500).flags = 0; return b.many(10, 100).buf }, BadContinuation},
		{"another system", func(b *builder) []byte {
			for len(b.buf) < testSegment {
				b.many(1, 100)
			}
			b.buf[testSegment+26]++
			return b.buf
		}, BadPage},
	} {
		b := good()
		wal := tt.change(b)
		c := newTestChain(t, b.base)
		err := feed(&c, wal, inPieces(777))
		end, ok := errors.AsType[*EndError](err)
		if !ok || tt.reason != 0 && end.Reason != tt.reason {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if _, err := NewChain(testBase+8192, testOptions); err == nil {
		t.Error("a chain begins within a segment")
	}
	c := newTestChain(t, testBase)
	c.LimitTimeline(1)
	b := good().toPageEnd(0)
	b.timeline = 2
	if err := c.Feed(b.many(10, 100).buf); err == nil {
		t.Error("a timeline over the limit is taken")
	}
}

// Release 10 leaves page headers behind a segment switch.
func TestChainTakesHeadersAfterASwitch(t *testing.T) {
	t.Parallel()
	b := newBuilder().many(10, 100).add(rmgrXLOG, infoSwitch, 24)
	le := newBuilder()
	for at := 8192; at < testSegment; at += 8192 {
		le.buf = make([]byte, at)
		le.pageStart(0)
		copy(b.buf[at:], le.buf[at:])
	}
	b.many(10, 100)
	c := newTestChain(t, b.base)
	if err := feed(&c, b.buf, inPieces(4000)); err != nil || c.End() != b.pos() {
		t.Errorf("%v, end %X", err, c.End())
	}
}

// Only what is of a known format can be broken.
func TestChainPassesOverAnUnknownFormat(t *testing.T) {
	t.Parallel()
	c := newTestChain(t, testBase)
	for range 3 {
		if err := feed(&c, bytes.Repeat([]byte{0xA7, 3, 99}, testSegment/3), inPieces(5000)); err != nil || c.Known() {
			t.Fatal(err)
		}
		if err := c.Feed([]byte{5}); err != nil { // 3 does not divide a segment
			t.Fatal(err)
		}
	}
	b := newBuilder()
	b.base += 3 * testSegment
	if err := c.Feed(b.many(10000, 300).buf); err != nil || !c.Known() || c.End() != b.pos() {
		t.Errorf("a known one after it: %v", err)
	}
}

func TestChainDoesNotAllocate(t *testing.T) {
	b := mixed()
	next := inPieces(131072)
	c := newTestChain(t, b.base)
	n := testing.AllocsPerRun(3, func() {
		c, _ = NewChain(b.base, testOptions)
		if err := feed(&c, b.buf, next); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzChain gives any bytes as WAL, in two pieces: nothing may panic, and what
// a Chain takes must not depend on where it is cut.
func FuzzChain(f *testing.F) {
	small := crossing()
	f.Add(small.buf, uint32(100))
	b := newBuilder()
	b.pageSize = 1024
	f.Add(b.many(5, 90).toPageEnd(24).abort(3000).add(0, 0xD0, 42).buf, uint32(5000))
	f.Add(newBuilder().many(3, 30).add(rmgrXLOG, infoSwitch, 24).buf[:300], uint32(40))
	f.Fuzz(func(t *testing.T, wal []byte, cut uint32) {
		whole, parts := newTestChain(t, testBase), newTestChain(t, testBase)
		at := int(cut) % (len(wal) + 1)
		err := whole.Feed(wal)
		err2 := parts.Feed(wal[:at])
		if err2 == nil {
			err2 = parts.Feed(wal[at:])
		}
		if fmt.Sprint(err) != fmt.Sprint(err2) || err == nil && whole.End() != parts.End() {
			t.Fatalf("%v, end %X; cut at %d: %v, end %X", err, whole.End(), at, err2, parts.End())
		}
	})
}

func BenchmarkChain(b *testing.B) {
	for _, length := range []int{60, 300, 8000} {
		b.Run(fmt.Sprint(length), func(b *testing.B) {
			w := newBuilder()
			for len(w.buf) < 32<<20 {
				w.add(10, 0, length)
			}
			b.SetBytes(int64(len(w.buf)))
			for b.Loop() {
				c := newTestChain(b, w.base)
				if err := feed(&c, w.buf, inPieces(131072)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
