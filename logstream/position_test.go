package logstream

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

func TestParseLSN(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]LSN{
		"0/0":               0,
		"0/2000028":         0x2000028,
		"0/02000028":        0x2000028, // as release 19 pads it
		"00000000/00000001": 1,
		"16/B374D848":       0x16B374D848,
		"16/b374d848":       0x16B374D848,
		"1/0":               1 << 32,
		"FFFFFFFF/FFFFFFFF": math.MaxUint64,
	} {
		if got, err := ParseLSN(text); got != want || err != nil {
			t.Errorf("%q: %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "/", "0", "0/", "/0", "0/0/0", "0//0", " 0/0", "0/0 ", "0/ 0", "0/0\n", "0/0\x00",
		"+1/0", "0/+1", "-1/0", "0/-1", "0x1/0", "0/0x1", "1_0/0", "0/1_0", "0_/0", "G/0", "0/g",
		"100000000/0", "0/100000000", "000000000/0", "0/000000001", "0\\0", "０/0",
	} {
		if got, err := ParseLSN(text); err == nil {
			t.Errorf("%q is taken for %s", text, got)
		} else if !strings.HasPrefix(err.Error(), "invalid LSN") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestLSNStringIsPostgreSQLs(t *testing.T) {
	t.Parallel()
	for l, want := range map[LSN]string{
		0: "0/0", 0x2000028: "0/2000028", 0x16B374D848: "16/B374D848", 1 << 32: "1/0", math.MaxUint64: "FFFFFFFF/FFFFFFFF",
	} {
		if got := l.String(); got != want {
			t.Errorf("%d: %s, want %s", uint64(l), got, want)
		}
	}
	if got := (Position{3, 0x2000028}).String(); got != "0/2000028 on timeline 3" {
		t.Error(got)
	}
}

// FuzzParseLSN: what is taken means what it says, in every form of it.
func FuzzParseLSN(f *testing.F) {
	for _, text := range []string{"0/2000028", "16/B374D848", "0/02000028", "+1/0", "1_0/0", "100000000/0", "0x1/1", "/"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, err := ParseLSN(text)
		if err != nil {
			return
		}
		high, low, _ := strings.Cut(text, "/")
		padded := fmt.Sprintf("%08s/%08s", high, low)
		if want := fmt.Sprintf("%08X/%08X", uint64(l)>>32, uint32(l)); !strings.EqualFold(padded, want) {
			t.Fatalf("%q was taken for %s", text, want)
		}
		for _, again := range []string{l.String(), padded} {
			if back, err := ParseLSN(again); back != l || err != nil {
				t.Fatalf("%q became %q, which is %s, %v", text, again, back, err)
			}
		}
	})
}

func TestParseTimelineID(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]TimelineID{"1": 1, "10": 10, "4294967295": math.MaxUint32} {
		if got, err := ParseTimelineID(text); got != want || err != nil {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0", "-1", "+1", "1_0", "0x1", "A", " 1", "4294967296"} {
		if got, err := ParseTimelineID(text); err == nil {
			t.Errorf("%q is taken for %d", text, got)
		}
	}
	if got := TimelineID(0x1A).HistoryFileName(); got != "0000001A.history" {
		t.Error(got)
	}
}

func TestParseSegmentSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]SegmentSize{
		"1MB": 1 << 20, "2MB": 2 << 20, "16MB": 16 << 20, "64MB": 64 << 20, "512MB": 512 << 20, "1024MB": 1 << 30, "1GB": 1 << 30,
	} {
		if got, err := ParseSegmentSize(text); got != want || err != nil {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", "MB", "GB", "16", "16777216", "0MB", "3MB", "15MB", "2GB", "4GB", "2048MB", "4096MB", "4097MB",
		"512kB", "1024kB", "16mb", "16 MB", "-16MB", "+16MB", "1.5GB", "16MB ", "0GB", "4294967296MB", "18446744073709551615MB",
		"17592186044417MB", // 1 MiB modulo 2^64
	} {
		if got, err := ParseSegmentSize(text); err == nil {
			t.Errorf("%q is taken for %d", text, got)
		}
	}
}

var segmentSizes = []SegmentSize{1 << 20, 16 << 20, 64 << 20, 1 << 30}

// The examples are of pg_walfile_name on servers with these segment sizes.
func TestSegmentFileNames(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		size     SegmentSize
		timeline TimelineID
		lsn      LSN
		name     string
	}{
		{16 << 20, 1, 0x2000028, "000000010000000000000002"},
		{16 << 20, 1, 0x1000000, "000000010000000000000001"},
		{16 << 20, 1, 0xFF000000, "0000000100000000000000FF"},
		{16 << 20, 1, 1 << 32, "000000010000000100000000"},
		{16 << 20, 2, 0x16B374D848, "0000000200000016000000B3"},
		{16 << 20, 0xABCDEF12, 0x16B374D848, "ABCDEF1200000016000000B3"},
		{1 << 20, 1, 0x2000028, "000000010000000000000020"},
		{1 << 20, 1, 0x1FFFFFFFF, "000000010000000100000FFF"},
		{64 << 20, 1, 0x1FFFFFFFF, "00000001000000010000003F"},
		{1 << 30, 1, 0x1FFFFFFFF, "000000010000000100000003"},
		{1 << 30, 1, math.MaxUint64, "00000001FFFFFFFF00000003"},
		{1 << 20, 1, math.MaxUint64, "00000001FFFFFFFF00000FFF"},
	} {
		number := test.size.Segment(test.lsn)
		if got := test.size.FileName(test.timeline, number); got != test.name {
			t.Errorf("%s with segments of %d: %s, want %s", test.lsn, test.size, got, test.name)
		}
		timeline, n, ok := test.size.ParseFileName(test.name)
		if timeline != test.timeline || n != number || !ok {
			t.Errorf("%s with segments of %d: timeline %d, segment %d, %t", test.name, test.size, timeline, n, ok)
		}
		if start := test.size.Start(n); start > test.lsn || test.lsn-start >= LSN(test.size) ||
			start != test.size.Floor(test.lsn) || start+LSN(test.size.Offset(test.lsn)) != test.lsn {
			t.Errorf("%s with segments of %d: begins at %s, floor %s, offset %d",
				test.lsn, test.size, start, test.size.Floor(test.lsn), test.size.Offset(test.lsn))
		}
	}
}

func TestSegmentFileNamesRoundTrip(t *testing.T) {
	t.Parallel()
	for _, size := range segmentSizes {
		per := SegmentNumber((1 << 32) / uint64(size))
		last := SegmentNumber(math.MaxUint64 / uint64(size))
		seen := map[string]bool{}
		for _, n := range []SegmentNumber{1, 2, per - 1, per, per + 1, 5*per - 1, 5 * per, 1000*per + 1, last - per, last - 1, last} {
			name := size.FileName(7, n)
			if timeline, got, ok := size.ParseFileName(name); timeline != 7 || got != n || !ok {
				t.Errorf("size %d: segment %d is %s, which is %d, %t", size, n, name, got, ok)
			}
			if seen[name] && n != per && n != 2 {
				t.Errorf("size %d: %s names two segments", size, name)
			}
			seen[name] = true
		}
		// The first number behind those of one log file.
		if name := fmt.Sprintf("0000000100000000%08X", uint64(per)); func() bool { _, _, ok := size.ParseFileName(name); return ok }() {
			t.Errorf("size %d: %s is taken", size, name)
		}
	}
	for _, name := range []string{
		"", "00000001000000000000000", "0000000100000000000000002", "00000001000000000000000g", "00000001000000000000000a",
		"000000010000000000000002.partial", "00000002.history", "000000000000000000000001", "+00000010000000000000002",
		"0000000100000000000_0002", "00000001 00000000000002", "000000010000000000000002\n", "0000000100000000000000FFx",
	} {
		if timeline, n, ok := SegmentSize(16 << 20).ParseFileName(name); ok {
			t.Errorf("%q is taken for segment %d of timeline %d", name, n, timeline)
		}
	}
}
