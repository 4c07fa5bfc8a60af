package walread

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestFirstRecordAtOrAfterEachPosition(t *testing.T) {
	t.Parallel()
	b := newBuilder()
	b.pageSize = 1024
	b.many(9, 100).add(10, 0, 5000).toPageEnd(8).add(10, 0, 64).toPageEnd(0).many(3, 40)
	b.toPageEnd(24).add(10, 0, 24+3*1000) // ends with its last page
	b.many(3, 40).toPageEnd(32).abort(4000).add(0, 0xD0, 42).many(30, 72)
	aborted := b.recs[len(b.recs)-31].Aborted
	if aborted == 0 {
		t.Fatal("wrong record")
	}
	for from := b.base; from < b.last().LSN; from++ {
		want := uint64(0)
		for _, rec := range b.recs {
			if rec.LSN >= from {
				want = rec.LSN
				break
			}
		}
		got, err := FirstRecord(b.source(), from, testOptions)
		if err != nil {
			t.Fatalf("from %X: %v", from, err)
		}
		// A page's start stands for the record after its header, and the start
		// of a record that was given up for the one after it.
		if got != want && got != aborted && (got < from || got != want&^1023) {
			t.Fatalf("from %X: %X, want %X", from, got, want)
		}
		r, err := NewReader(b.source(), got, testOptions)
		if err != nil {
			t.Fatal(err)
		}
		if rec, err := r.Next(); err != nil || rec.LSN != want {
			t.Fatalf("from %X: record %X, want %X, %v", from, rec.LSN, want, err)
		}
	}
}

func TestFirstRecordWithoutOne(t *testing.T) {
	t.Parallel()
	b := newBuilder().many(3, 100).add(10, 0, 30000)
	b.zeros(b.left())
	tests := []struct {
		name   string
		from   uint64
		cut    int
		ending Ending
		reason Reason
		lsn    uint64
	}{
		{"past the end", b.pos() + 8192, len(b.buf), Clean, SourceEnd, b.pos() + 8192},
		{"past the end on its page", b.last().End + 8, len(b.buf), Clean, Zeros, b.last().End},
		{"inside a cut record", b.base + 8192, 16384, Torn, SourceEnd, b.base + 8192},
		{"inside a page that is cut", b.base + 8192, 12000, Torn, SourceEnd, b.base + 8192},
		{"nothing at all", b.base + 100, 0, Clean, SourceEnd, b.base + 100},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := FirstRecord(&memory{base: b.base, bytes: b.buf[:tt.cut]}, tt.from, testOptions)
			end, ok := errors.AsType[*EndError](err)
			if !ok {
				t.Fatalf("got %v", err)
			}
			wantEnd(t, end, tt.lsn, tt.ending, tt.reason)
		})
	}
}

func TestEndOfWALCountsWhatIsWhole(t *testing.T) {
	t.Parallel()
	b := mixed()
	for _, first := range []int{0, 1, 7, 400, 1000, len(b.recs) - 1} {
		reach, err := EndOfWAL(b.source(), b.recs[first].LSN, testOptions)
		if err != nil {
			t.Fatal(err)
		}
		want := b.recs[first:]
		last := b.last()
		if len(want) == 1 || first > 1400 {
			last.Aborted = 0
		}
		if reach.Records != uint64(len(want)) || reach.Last != last || reach.End != b.pos() || reach.Start != want[0].LSN {
			t.Errorf("from record %d: %+v", first, reach)
		}
	}
	reach, err := EndOfWAL(b.source(), b.base-testSegment, testOptions)
	if err != nil {
		t.Fatal(err)
	}
	if reach.Records != 0 || reach.End != b.base-testSegment || reach.Stop.Ending != Clean {
		t.Errorf("before all WAL: %+v", reach)
	}
}

// After a promotion the last record of the parent timeline may be followed by
// more of that timeline in the parent's own file.
func TestRecordPastAForkPointIsSeen(t *testing.T) {
	t.Parallel()
	b := newBuilder().many(10, 100)
	fork := b.last().End
	b.many(1, 300)
	for cut, want := range map[uint64]bool{0: false, 8: false, 299: false, 304: true} {
		m := &memory{base: b.base, bytes: append(b.buf[:fork-b.base+cut:fork-b.base+cut], make([]byte, 9000)...)}
		r, err := NewReader(m, fork, testOptions)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Next(); (err == nil) != want {
			t.Errorf("%d bytes past the fork: %v", cut, err)
		}
	}
}

func TestDirectoryOfSegments(t *testing.T) {
	t.Parallel()
	b := mixed()
	dir := t.TempDir()
	for i := 0; i*testSegment < len(b.buf); i++ {
		name := segmentFileName(1, testSegment, uint64(3+i))
		part := b.buf[i*testSegment : min((i+1)*testSegment, len(b.buf))]
		if (i+1)*testSegment > len(b.buf) {
			name += ".partial"
		}
		if err := os.WriteFile(filepath.Join(dir, name), part, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	src, err := NewDirSource(dir, 1, testSegment)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	recs, end := walk(t, src, b.base, testOptions)
	sameRecords(t, recs, b.recs)
	wantEnd(t, end, b.pos(), Clean, SourceEnd)

	// A read over a segment's start, and one at a gap.
	p := make([]byte, 100)
	if n, err := src.ReadWAL(p, b.base+testSegment-50); n != 100 || err != nil || string(p) != string(b.buf[testSegment-50:][:100]) {
		t.Errorf("over a segment's start: %d, %v", n, err)
	}
	if err := os.Remove(filepath.Join(dir, segmentFileName(1, testSegment, 4))); err != nil {
		t.Fatal(err)
	}
	if n, err := src.ReadWAL(p, b.base+testSegment-50); n != 50 || err == nil {
		t.Errorf("at a gap: %d, %v", n, err)
	}
	if got := segmentFileName(0xA, 16<<20, 0x1234); got != "0000000A0000001200000034" {
		t.Errorf("segment name %s", got)
	}
}
