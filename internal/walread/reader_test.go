package walread

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
)

var testOptions = Options{SegmentSize: testSegment}

// walk reads all records from start on and the end they lead to.
func walk(t testing.TB, src Source, start uint64, opts Options) ([]Record, *EndError) {
	t.Helper()
	r, err := NewReader(src, start, opts)
	if err != nil {
		t.Fatal(err)
	}
	var recs []Record
	for {
		rec, err := r.Next()
		if err != nil {
			end, ok := errors.AsType[*EndError](err)
			if !ok {
				t.Fatal(err)
			}
			if end.LSN != r.Position() {
				t.Errorf("end at %X, position %X", end.LSN, r.Position())
			}
			return recs, end
		}
		recs = append(recs, rec)
	}
}

func sameRecords(t testing.TB, got, want []Record) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("record %d\n got %+v\nwant %+v", i, got[i], want[i])
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
}

func wantEnd(t testing.TB, got *EndError, lsn uint64, ending Ending, reason Reason) {
	t.Helper()
	if got.LSN != lsn || got.Ending != ending || got.Reason != reason {
		t.Errorf("got %q, want %s: %s: %s", got, formatLSN(lsn), ending, reason)
	}
}

// mixed has records of all kinds of sizes and crossings, over several segments.
func mixed() *builder { return mix(newBuilder()) }

func mix(b *builder) *builder {
	for n := 24; n < 400; n++ {
		b.add(10, 0, n)
	}
	for left := 8; left <= 64; left += 8 { // headers split at each possible place
		b.toPageEnd(left).add(11, 0x10, 100)
	}
	b.toPageEnd(0).add(12, 0, 24)
	b.toPageEnd(8).add(12, 0, 24)
	b.add(21, 0, 3*8192).add(21, 0, 2*testSegment+77)
	b.many(1000, 61).add(rmgrXLOG, infoSwitch, 24).many(10, 333)
	b.toPageEnd(24).abort(50000).add(0, 0xD0, 42).many(100, 99)
	b.timeline = 2
	b.many(200, 1234)
	return b
}

// The flag of a record that was given up is another one in release 19.
func TestEveryRecordIsFound(t *testing.T) {
	t.Parallel()
	for magic, major := range majorOfMagic {
		b := newBuilder()
		b.magic = magic
		mix(b)
		recs, end := walk(t, b.source(), b.base, testOptions)
		sameRecords(t, recs, b.recs)
		wantEnd(t, end, b.pos(), Clean, SourceEnd)
		if t.Failed() {
			t.Fatalf("WAL of release %d", major)
		}
	}
}

func TestPageSizeComesFromTheSegment(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1 << 10, 16 << 10, 64 << 10} {
		b := newBuilder()
		b.pageSize = size
		b.many(500, 777).add(10, 0, 200000).many(5, 25)
		recs, end := walk(t, b.source(), b.base, testOptions)
		sameRecords(t, recs, b.recs)
		wantEnd(t, end, b.pos(), Clean, SourceEnd)
	}
}

// crossing is short WAL with small pages, records within and over them, and a
// header that is split.
func crossing() *builder {
	b := newBuilder()
	b.pageSize = 1024
	return b.many(3, 50).toPageEnd(16).add(10, 0, 1100).many(2, 48).toPageEnd(8).add(10, 0, 56)
}

// dataEnd is the offset after a record's last byte, without its padding.
func dataEnd(b *builder, i int) int {
	return int(b.recs[i].End-b.base) - (-int(b.recs[i].Length) & 7)
}

// At every byte that WAL can be cut, the whole records before the cut are
// found, whether the file ends there or goes on with zeros.
func TestCutAnywhereKeepsTheRecordsBefore(t *testing.T) {
	t.Parallel()
	b := crossing()
	for cut := range len(b.buf) {
		whole := 0
		for whole < len(b.recs) && dataEnd(b, whole) <= cut {
			whole++
		}
		end, inside := b.base, false
		if whole > 0 {
			end = b.recs[whole-1].End
		}
		if whole < len(b.recs) {
			inside = b.base+uint64(cut) > b.recs[whole].LSN
		}
		short := &memory{base: b.base, bytes: b.buf[:cut]}
		recs, got := walk(t, short, b.base, testOptions)
		sameRecords(t, recs, b.recs[:whole])
		want := Clean
		if inside {
			want = Torn
		}
		wantEnd(t, got, end, want, SourceEnd)

		padded := &memory{base: b.base, bytes: append(bytes.Clone(b.buf[:cut]), make([]byte, 4096)...)}
		recs, got = walk(t, padded, b.base, testOptions)
		sameRecords(t, recs, b.recs[:whole])
		// Inside the very first page header nothing is known yet.
		if got.LSN != end || inside && got.Ending != Torn || got.Ending == Invalid && cut >= longHeaderSize {
			t.Errorf("with zeros: %v, want end %X, inside a record: %t", got, end, inside)
		}
		if t.Failed() {
			t.Fatalf("cut at %d", cut)
		}
	}
}

// Any damaged byte of a record, or of the page headers inside it, ends the
// walk at that record and is taken for damage.
func TestFlippedByteIsFoundAtItsRecord(t *testing.T) {
	t.Parallel()
	const victim = 4
	b := crossing()
	for at := int(b.recs[victim].LSN - b.base); at < dataEnd(b, victim); at++ {
		if off := at % b.pageSize; off >= 4 && off < 8 || off >= 20 && off < 24 {
			continue // a higher timeline can be right, and padding means nothing
		}
		for _, bit := range []byte{0x01, 0x80} {
			m := &memory{base: b.base, bytes: bytes.Clone(b.buf)}
			m.bytes[at] ^= bit
			recs, end := walk(t, m, b.base, testOptions)
			sameRecords(t, recs, b.recs[:victim])
			if end.LSN != b.recs[victim].LSN || end.Ending == Clean || end.Ending == Torn && end.Reason != SourceEnd {
				t.Fatalf("byte %d, bit %x: %v", at, bit, end)
			}
		}
	}
}

func TestWhereAndWhyWALEnds(t *testing.T) {
	t.Parallel()
	set16 := func(b *builder, at uint64, v uint16) {
		binary.LittleEndian.PutUint16(b.buf[at-b.base:], v)
	}
	set32 := func(b *builder, at uint64, v uint32) {
		binary.LittleEndian.PutUint32(b.buf[at-b.base:], v)
	}
	page := func(b *builder) uint64 { return b.last().LSN &^ 8191 }
	tests := []struct {
		name   string
		make   func(b *builder)
		ending Ending
		reason Reason
		back   int // records at the end that do not count
	}{
		{"zeros on the page", func(b *builder) { b.zeros(b.left()) }, Clean, Zeros, 0},
		{"zero pages", func(b *builder) { b.toPageEnd(0).zeros(3 * 8192) }, Clean, Zeros, 0},
		{"recycled pages", func(b *builder) {
			b.zeros(b.left())
			old := newBuilder().many(1000, 500).buf
			b.buf = append(b.buf, old[len(b.buf):]...)
			binary.LittleEndian.PutUint64(b.buf[8192+8:], testBase-testSegment+8192)
		}, Clean, Zeros, 0},
		{"recycled page next", func(b *builder) {
			at := b.toPageEnd(0).pos()
			b.pageStart(0)
			binary.LittleEndian.PutUint64(b.buf[at-b.base+8:], at-testSegment)
			b.zeros(b.left())
		}, Clean, OldPage, 0},
		{"recycled page inside a record", func(b *builder) {
			b.toPageEnd(64).add(10, 0, 500)
			at := b.last().End &^ 8191
			binary.LittleEndian.PutUint64(b.buf[at-b.base+8:], at-2*testSegment)
		}, Torn, OldPage, 1},
		{"address of another offset", func(b *builder) {
			at := b.toPageEnd(0).pos()
			b.many(100, 100)
			set32(b, at+8, 0x300100)
		}, Invalid, BadPage, 100},
		{"zero length, then WAL", func(b *builder) { b.many(2, 100); set32(b, b.recs[len(b.recs)-2].LSN, 0) }, Invalid, BadLength, 2},
		{"short length, then WAL", func(b *builder) { b.many(2, 100); set32(b, b.recs[len(b.recs)-2].LSN, 23) }, Invalid, BadLength, 2},
		{"huge length", func(b *builder) { b.many(2, 100); set32(b, b.recs[len(b.recs)-2].LSN, 1<<30) }, Invalid, BadLength, 2},
		{"longer than there is", func(b *builder) { set32(b, b.add(10, 0, 100).last().LSN, 1<<29) }, Torn, SourceEnd, 1},
		{"link to another record", func(b *builder) { b.prev -= 8; b.many(2, 100) }, Invalid, BadPrev, 2},
		{"checksum, then WAL", func(b *builder) { b.many(2, 100); b.buf[b.recs[len(b.recs)-2].LSN-b.base+50]++ }, Invalid, BadChecksum, 2},
		{"no continuation", func(b *builder) {
			b.toPageEnd(64).add(10, 0, 500)
			set16(b, b.last().End&^8191+2, 0)
		}, Invalid, BadContinuation, 1},
		{"continuation of another length", func(b *builder) {
			b.toPageEnd(64).add(10, 0, 500)
			set32(b, b.last().End&^8191+16, 435)
		}, Invalid, BadContinuation, 1},
		{"continuation of no record", func(b *builder) {
			b.toPageEnd(0).add(10, 0, 500)
			set16(b, page(b)+2, FlagContinuation)
			set32(b, page(b)+16, 16)
		}, Invalid, BadContinuation, 1},
		{"timeline goes back", func(b *builder) { b.toPageEnd(0); b.timeline = 0; b.many(100, 100) }, Invalid, BadPage, 100},
		{"other magic", func(b *builder) { b.toPageEnd(0); b.magic++; b.many(100, 100) }, Invalid, BadPage, 100},
		{"unknown flag", func(b *builder) { b.toPageEnd(0); b.flags = 0x10; b.many(100, 100) }, Invalid, BadPage, 100},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBuilder().many(20, 100)
			tt.make(b)
			recs, end := walk(t, b.source(), b.base, testOptions)
			sameRecords(t, recs, b.recs[:len(b.recs)-tt.back])
			wantEnd(t, end, b.recs[len(b.recs)-tt.back-1].End, tt.ending, tt.reason)
		})
	}
}

func TestOptionsAreHeld(t *testing.T) {
	t.Parallel()
	b := newBuilder().many(10, 100)
	for _, tt := range []struct {
		name string
		opts Options
	}{
		{"system identifier", Options{SegmentSize: testSegment, SystemID: testSystem + 1}},
		{"segment size", Options{SegmentSize: 2 * testSegment}},
		{"timeline", Options{SegmentSize: testSegment, Timeline: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bb := newBuilder()
			bb.base = 4 * testSegment
			if tt.name == "timeline" {
				bb.timeline = 2
			}
			bb.many(10, 100)
			_, end := walk(t, bb.source(), bb.base, tt.opts)
			wantEnd(t, end, bb.base, Invalid, BadPage)
		})
	}
	good := Options{SegmentSize: testSegment, SystemID: testSystem, Timeline: 1}
	recs, _ := walk(t, b.source(), b.base, good)
	sameRecords(t, recs, b.recs)
	for _, size := range []uint32{0, 1 << 19, 1<<20 + 1, 1 << 31} {
		if _, err := NewReader(b.source(), b.base, Options{SegmentSize: size}); err == nil {
			t.Errorf("segment size %d taken", size)
		}
	}
	for _, start := range []uint64{testBase + 41, 1 << 63} {
		if _, err := NewReader(b.source(), start, good); err == nil {
			t.Errorf("start %X taken", start)
		}
	}
}

func TestBigEndianWALIsRefusedByName(t *testing.T) {
	t.Parallel()
	b := newBuilder().many(10, 100)
	b.buf[0], b.buf[1] = b.buf[1], b.buf[0]
	r, err := NewReader(b.source(), b.base, testOptions)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(); !errors.Is(err, ErrByteOrder) {
		t.Errorf("Next: %v", err)
	}
	if _, err := EndOfWAL(b.source(), b.base+100, testOptions); !errors.Is(err, ErrByteOrder) {
		t.Errorf("EndOfWAL: %v", err)
	}
	if _, err := ParsePageHeader(b.buf); !errors.Is(err, ErrByteOrder) {
		t.Errorf("ParsePageHeader: %v", err)
	}
}

func TestNextGoesOnWhenTheSourceGrows(t *testing.T) {
	t.Parallel()
	b := mixed()
	m := &memory{base: b.base}
	r, err := NewReader(m, b.base, testOptions)
	if err != nil {
		t.Fatal(err)
	}
	var recs []Record
	for cut := 0; ; cut += 49999 {
		m.bytes = b.buf[:min(cut, len(b.buf))]
		for {
			rec, err := r.Next()
			if end, ok := errors.AsType[*EndError](err); ok {
				if end.Ending == Invalid {
					t.Fatal(end)
				}
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			recs = append(recs, rec)
		}
		if cut > len(b.buf) {
			break
		}
	}
	sameRecords(t, recs, b.recs)
}

// broken fails at some LSN, or answers against the contract.
type broken struct {
	*memory
	n   int
	err error
}

func (s broken) ReadWAL(p []byte, lsn uint64) (int, error) {
	if lsn < testBase+testSegment {
		return s.memory.ReadWAL(p, lsn)
	}
	return s.n, s.err
}

func TestSourceErrorsAreNotTheEndOfWAL(t *testing.T) {
	t.Parallel()
	b := newBuilder().many(5000, 400)
	boom := errors.New("boom")
	for _, s := range []broken{{n: 0, err: boom}, {n: 5, err: nil}, {n: 2 * pieceSize, err: nil}, {n: -1, err: nil}} {
		s.memory = b.source()
		_, err := EndOfWAL(s, b.base, testOptions)
		if _, ok := errors.AsType[*EndError](err); ok || err == nil {
			t.Errorf("n %d: %v", s.n, err)
		}
		if s.err != nil && !errors.Is(err, boom) {
			t.Errorf("cause lost: %v", err)
		}
	}
}

func TestNoAllocationPerRecord(t *testing.T) {
	b := newBuilder().many(20000, 100)
	r, err := NewReader(b.source(), b.base, testOptions)
	if err != nil {
		t.Fatal(err)
	}
	next := func() {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}
	next()
	if n := testing.AllocsPerRun(15000, next); n != 0 {
		t.Errorf("%v allocations per record", n)
	}
}

func BenchmarkWalk(b *testing.B) {
	for _, length := range []int{60, 300, 8000} {
		b.Run(fmt.Sprint(length), func(b *testing.B) {
			w := newBuilder()
			for len(w.buf) < 32<<20 {
				w.add(10, 0, length)
			}
			m := w.source()
			b.SetBytes(int64(len(w.buf)))
			for b.Loop() {
				r, _ := NewReader(m, w.base, testOptions)
				var err error
				for err == nil {
					_, err = r.Next()
				}
				if r.Position() != w.pos() {
					b.Fatal(err)
				}
			}
		})
	}
}
