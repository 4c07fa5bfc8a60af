package manifest

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/pgbraid/pgbraid/logstream"
)

// backup is a small one; each test of the checker changes something of it.
type backup struct {
	options  WriterOptions
	listed   []File
	ranges   []WALRange
	received []File
	want     Expect
	rescan   bool
}

func newBackup(a Algorithm) *backup {
	b := &backup{
		options: WriterOptions{Version: 2, SystemIdentifier: 7000},
		ranges:  []WALRange{{3, 0x5000000, 0x6000000}, {2, 0x2000028, 0x5000000}},
		want:    Expect{SystemIdentifier: 7000, Timeline: 2, Start: 0x2000028, EndTimeline: 3, End: 0x6000000},
	}
	for i, path := range []string{"base/1/1255", "base/1/1259", "PG_VERSION", "pg_tblspc/16384/PG_15_202209061/5/16385", "global/\xff"} {
		f := File{Path: path, Size: int64(i) * 8192, Algorithm: a}
		if h := a.New(); h != nil {
			h.Write([]byte(path))
			f.Checksum = h.Sum(nil)
		}
		b.listed = append(b.listed, f)
	}
	b.received = append(b.received, b.listed...)
	return b
}

func (b *backup) check(t *testing.T, a Algorithm) (*Summary, error) {
	t.Helper()
	c := NewChecker(a)
	for _, f := range b.received {
		if err := c.Add(f.Path, f.Size, f.Checksum); err != nil {
			t.Fatal(err)
		}
	}
	if b.rescan {
		c.Rescan = func(yield func(string) bool) {
			for _, f := range append(b.received, File{Path: "not added"}) {
				if !yield(f.Path) {
					return
				}
			}
		}
	}
	return c.Check(strings.NewReader(write(t, b.options, b.listed, b.ranges)), b.want)
}

func TestCheckPassesAWholeBackup(t *testing.T) {
	t.Parallel()
	for a := None; a <= SHA512; a++ {
		b := newBackup(a)
		// The order in which files came does not matter.
		b.received[0], b.received[3] = b.received[3], b.received[0]
		summary, err := b.check(t, a)
		if err != nil || summary.Files != 5 || summary.SystemIdentifier != 7000 || len(summary.Ranges) != 2 {
			t.Errorf("%s: got %+v, %v", a, summary, err)
		}
	}
}

func TestCheckLeavesOutWhatIsNotKnown(t *testing.T) {
	t.Parallel()
	b := newBackup(CRC32C)
	b.want = Expect{}
	if _, err := b.check(t, CRC32C); err != nil {
		t.Error(err)
	}
	b = newBackup(CRC32C)
	b.options.Version = 1 // names no system
	if _, err := b.check(t, CRC32C); err != nil {
		t.Error(err)
	}
}

func TestCheckFindsEachKindOfProblem(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*backup)
		want   []Problem
	}{
		{"missing", func(b *backup) { b.received = b.received[:4] },
			[]Problem{{"global/\xff", MissingFile, ""}}},
		{"extra, named", func(b *backup) { b.listed, b.rescan = b.listed[1:], true },
			[]Problem{{"base/1/1255", ExtraFile, ""}}},
		{"extra, not named", func(b *backup) { b.listed = b.listed[1:] },
			[]Problem{{"", ExtraFile, "1 files without a name"}}},
		{"other name", func(b *backup) { b.received[1].Path, b.rescan = "base/1/1260", true },
			[]Problem{{"base/1/1259", MissingFile, ""}, {"base/1/1260", ExtraFile, ""}}},
		{"listed twice", func(b *backup) { b.listed = append(b.listed, b.listed[1]) },
			[]Problem{{"base/1/1259", DuplicateFile, ""}}},
		{"size", func(b *backup) { b.received[1].Size++ },
			[]Problem{{"base/1/1259", SizeMismatch, "manifest has 8192 bytes"}}},
		{"checksum", func(b *backup) { b.received[2].Checksum = []byte{1, 2, 3, 4} },
			[]Problem{{"PG_VERSION", ChecksumMismatch, "manifest has CRC32C ?"}}},
		{"checksums exchanged", func(b *backup) {
			b.received[0].Checksum, b.received[2].Checksum = b.received[2].Checksum, b.received[0].Checksum
		}, []Problem{{"base/1/1255", ChecksumMismatch, "manifest has CRC32C ?"}, {"PG_VERSION", ChecksumMismatch, "manifest has CRC32C ?"}}},
		{"no checksum", func(b *backup) { b.listed[2].Checksum = nil },
			[]Problem{{"PG_VERSION", ChecksumMismatch, "manifest has none"}}},
		{"other algorithm", func(b *backup) { b.listed[2].Algorithm, b.listed[2].Checksum = SHA256, make([]byte, 32) },
			[]Problem{{"PG_VERSION", AlgorithmMismatch, "manifest has SHA256, computed CRC32C"}}},
		{"no algorithm", func(b *backup) { b.listed[2].Algorithm, b.listed[2].Checksum = None, nil },
			[]Problem{{"PG_VERSION", AlgorithmMismatch, "manifest has NONE, computed CRC32C"}}},
		{"other system", func(b *backup) { b.options.SystemIdentifier++ },
			[]Problem{{"", SystemIdentifierMismatch, "manifest has 7001, server is 7000"}}},
		{"no ranges", func(b *backup) { b.ranges = nil },
			[]Problem{{"", WALRangeMismatch, "manifest has none"}}},
		{"other start", func(b *backup) { b.want.Start++ },
			[]Problem{{"", WALRangeMismatch, "manifest starts at 0/2000028, backup at 0/2000029"}}},
		{"other end", func(b *backup) { b.want.End++ },
			[]Problem{{"", WALRangeMismatch, "manifest ends at 0/6000000, backup at 0/6000001"}}},
		{"other start timeline", func(b *backup) { b.want.Timeline = 1 },
			[]Problem{{"", WALRangeMismatch, "manifest starts on timeline 2, backup on 1"}}},
		{"other end timeline", func(b *backup) { b.want.EndTimeline = 4 },
			[]Problem{{"", WALRangeMismatch, "manifest ends on timeline 3, backup on 4"}}},
		{"gap between ranges", func(b *backup) { b.ranges[1].End-- },
			[]Problem{{"", WALRangeMismatch, "timeline 3 from 0/5000000 does not follow timeline 2 up to 0/4FFFFFF"}}},
		{"range that ends before it starts", func(b *backup) { b.ranges, b.want = []WALRange{{1, 2, 1}}, Expect{} },
			[]Problem{{"", WALRangeMismatch, "timeline 1: end 0/1 is before start 0/2"}}},
		{"oldest range first", func(b *backup) {
			b.ranges, b.want = []WALRange{{1, 5, 6}, {2, 4, 5}}, Expect{}
		}, []Problem{{"", WALRangeMismatch, "timeline 1 from 0/5 does not follow timeline 2 up to 0/5"}}},
	}
	for _, tt := range tests {
		b := newBackup(CRC32C)
		for i, p := range tt.want {
			for _, f := range b.listed {
				if f.Path == p.Path {
					tt.want[i].Detail = strings.Replace(p.Detail, "?", fmt.Sprintf("%x", f.Checksum), 1)
				}
			}
		}
		tt.change(b)
		summary, err := b.check(t, CRC32C)
		var mismatch *MismatchError
		if !errors.As(err, &mismatch) || !reflect.DeepEqual(mismatch.Problems, tt.want) || mismatch.Total != len(tt.want) {
			t.Errorf("%s: got %v\nwant %v", tt.name, err, tt.want)
			continue
		}
		if summary == nil || !strings.Contains(err.Error(), tt.want[0].String()) {
			t.Errorf("%s: text %q lacks the problem", tt.name, err)
		}
	}
}

func TestCheckWithoutAlgorithmComparesSizes(t *testing.T) {
	t.Parallel()
	b := newBackup(None)
	b.received[0].Size = 1
	_, err := b.check(t, None)
	var mismatch *MismatchError
	if !errors.As(err, &mismatch) || mismatch.Total != 1 || mismatch.Problems[0].Kind != SizeMismatch {
		t.Errorf("got %v", err)
	}
}

func TestCheckNoticesAnotherAlgorithmBehindEqualSums(t *testing.T) {
	t.Parallel()
	b := newBackup(None)
	b.listed[2].Algorithm = CRC32C // and no sum, as for None
	_, err := b.check(t, None)
	var mismatch *MismatchError
	if !errors.As(err, &mismatch) || mismatch.Total != 1 || mismatch.Problems[0].Kind != AlgorithmMismatch {
		t.Errorf("got %v", err)
	}
}

func TestCheckKeepsTheFirstProblemsAndCountsAll(t *testing.T) {
	t.Parallel()
	b := newBackup(None)
	for i := range 1000 {
		b.listed = append(b.listed, File{Path: fmt.Sprintf("missing/%d", i)})
		b.received = append(b.received, File{Path: fmt.Sprintf("extra/%d", i)})
	}
	for _, b.rescan = range []bool{false, true} {
		_, err := b.check(t, None)
		var mismatch *MismatchError
		if !errors.As(err, &mismatch) || mismatch.Total != 2000 || len(mismatch.Problems) != MaxProblems {
			t.Fatalf("got %v", err)
		}
		for _, part := range []string{`"missing/0": in the manifest, but not received; "missing/1"`, "; and 1995 more"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q lacks %q", err, part)
			}
		}
	}
}

func TestCheckDoesNotBelieveABrokenManifest(t *testing.T) {
	t.Parallel()
	text := replace(seal(sampleV1), "225", "226")
	summary, err := NewChecker(CRC32C).Check(strings.NewReader(text), Expect{})
	if summary != nil || !errors.Is(err, ErrChecksum) {
		t.Errorf("got %v, %v", summary, err)
	}
}

func TestAddRefuses(t *testing.T) {
	t.Parallel()
	c := NewChecker(CRC32C)
	if c.Algorithm() != CRC32C {
		t.Error("another algorithm")
	}
	sum := make([]byte, 4)
	if err := c.Add("a", 1, sum); err != nil {
		t.Fatal(err)
	}
	if err := c.Add("a", 1, sum); !errors.Is(err, ErrDuplicate) || !strings.Contains(err.Error(), `"a"`) {
		t.Errorf("got %v, want ErrDuplicate", err)
	}
	if err := c.Add("b", 1, nil); err == nil {
		t.Error("a missing checksum was taken")
	}
	if err := c.Add("b", 1, sum); err != nil {
		t.Errorf("a refused file was kept: %v", err)
	}
}

func TestAddMayBeCalledFromSeveralGoroutines(t *testing.T) {
	t.Parallel()
	c := NewChecker(None)
	var listed []File
	var adders sync.WaitGroup
	for i := range 4 {
		for j := range 100 {
			listed = append(listed, File{Path: fmt.Sprintf("%d/%d", i, j), Size: int64(j)})
		}
		mine := listed[i*100:]
		adders.Go(func() {
			for _, f := range mine {
				if err := c.Add(f.Path, f.Size, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	adders.Wait()
	text := write(t, WriterOptions{Version: 1}, listed, []WALRange{{1, 1, 2}})
	if _, err := c.Check(strings.NewReader(text), Expect{Timeline: 1, Start: logstream.LSN(1)}); err != nil {
		t.Error(err)
	}
}

func BenchmarkChecker(b *testing.B) {
	const count = 1000000
	text := string(manyFiles(b, count))
	files := make([]string, count)
	if _, err := Read(strings.NewReader(text), func() func(File) error {
		i := 0
		return func(f File) error { files[i] = f.Path; i++; return nil }
	}()); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		c := NewChecker(CRC32C)
		for i, path := range files {
			if err := c.Add(path, int64(i)*8192, []byte{byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}); err != nil {
				b.Fatal(err)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if _, err := c.Check(strings.NewReader(text), Expect{}); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/count, "heap-B/file")
	}
}
