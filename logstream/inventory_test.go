package logstream_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgbraid/pgbraid/internal/compress"
	"github.com/pgbraid/pgbraid/logstream"
)

// fill makes the files of a list such as "1/5 1/6.partial 1/7.gz 2.history@5",
// where the last one is of timeline 2, which left timeline 1 in the middle of
// segment 5; 3.history@5,7 left 1 in 5 and 2 in 7. A "!" makes a file bad.
func fill(t *testing.T, dir, list string) {
	t.Helper()
	for _, word := range strings.Fields(list) {
		word, bad := strings.CutPrefix(word, "!")
		if rest, forks, ok := strings.Cut(word, ".history@"); ok {
			content := ""
			for i, fork := range strings.Split(forks, ",") {
				var n logstream.SegmentNumber
				if _, err := fmt.Sscanf(fork, "%X", &n); err != nil {
					t.Fatal(err)
				}
				content += fmt.Sprintf("%d\t%s\tx\n", i+1, mib1.Start(n)+0x8000)
			}
			put(t, dir, "0000000"+rest+".history", []byte(content))
			continue
		}
		name, suffix, hasSuffix := strings.Cut(word, ".")
		if hasSuffix {
			suffix = "." + suffix
		}
		var tl logstream.TimelineID
		var n logstream.SegmentNumber
		if _, err := fmt.Sscanf(name, "%d/%X", &tl, &n); err != nil {
			t.Fatal(err)
		}
		content := fakeSegment(tl, n)
		if strings.HasSuffix(suffix, ".partial") {
			content = append(content[:mib1/2], make([]byte, mib1/2)...)
		}
		suffix = strings.Replace(suffix, ".full", ".partial", 1)
		if bad {
			content = content[:mib1/2]
		}
		m, _ := compress.BySuffix(strings.TrimSuffix(suffix, ".partial"))
		put(t, dir, mib1.FileName(tl, n)+suffix, pack(t, m, content))
	}
}

// show gives ranges as "1/5-7 2/8".
func show(list []logstream.SegmentRange) string {
	var words []string
	for _, r := range list {
		word := fmt.Sprintf("%d/%X", r.Timeline, uint64(r.First))
		if r.Last != r.First {
			word += fmt.Sprintf("-%X", uint64(r.Last))
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

func TestInventoryFindsHoles(t *testing.T) {
	t.Parallel()
	for files, want := range map[string]string{
		"1/5":                                         "",
		"1/5 1/6 1/7.partial":                         "",
		"1/5 1/7":                                     "1/6",
		"1/5 1/A.gz":                                  "1/6-9",
		"1/5.zst 1/6.lz4 1/7.gz 1/8":                  "",
		"1/5 1/7 1/8 1/A 1/B.partial":                 "1/6 1/9",
		"1/5 1/6.partial 1/7":                         "1/6", // torn
		"1/5 1/6.full 1/7":                            "",    // a receiver that was killed
		"1/5 1/6 1/6.partial 1/7":                     "",
		"1/5 !1/6 1/7":                                "1/6", // bad
		"1/5 1/6.partial 2.history@6 2/6":             "",
		"1/5 2.history@6 2/6":                         "", // the segment of the fork is in the younger timeline
		"1/5 2.history@6 2/7":                         "2/6",
		"1/4 2.history@6 2/6":                         "1/5",
		"1/4 2.history@6 2/7":                         "1/5 2/6",
		"1/4 1/5.partial 2.history@6 2/6":             "1/5", // torn, and built upon
		"1/4 1/5.full 2.history@6 2/6":                "",
		"2.history@6 2/9":                             "", // the archive began there
		"2.history@6 2/6 2/7":                         "",
		"1/5 2.history@6":                             "",
		"1/5 1/6 1/7 1/8 2.history@6 2/6":             "", // the old primary went on
		"1/5 1/6 1/8 2.history@6 2/6":                 "1/7",
		"1/5 2.history@6 3.history@6,6 3/6":           "", // timeline 2 has no segment of its own
		"1/5 3.history@6,6 3/6":                       "",
		"1/5 3.history@6,8 3/8":                       "2/6-7",
		"1/5 3.history@6,8 2.history@6 2/6 3/8 3/9":   "2/7",
		"1/5 1/6 1/7 2.history@6 3.history@8 2/6 3/8": "", // two that left the same one
		"1/5 1/6 2.history@6 3.history@8 2/6 3/8":     "1/7",
	} {
		dir := t.TempDir()
		fill(t, dir, files)
		for _, check := range []bool{false, true} {
			i, err := logstream.TakeInventory(t.Context(), dir, logstream.InventoryOptions{Check: check})
			if err != nil {
				t.Errorf("%s: %v", files, err)
			} else if got := show(i.Holes); got != want {
				t.Errorf("%s: holes %q, want %q", files, got, want)
			}
		}
	}
}

func TestInventoryDescribesTheDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fill(t, dir, "1/4 1/5.gz 1/6 1/6.gz 1/8 1/9.partial 2.history@9 2/9.zst 2/A.partial")
	put(t, dir, "note", nil)
	put(t, dir, "000000010000000000000004.00000028.backup", nil)
	i, err := logstream.TakeInventory(t.Context(), dir, logstream.InventoryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if i.SegmentSize != mib1 || i.SystemID != testSystem || i.Major != 15 || i.Whole() || len(i.Bad) != 0 || i.Other != 2 {
		t.Errorf("%+v", i)
	}
	if i.Plain != (logstream.FileCount{Files: 3, Bytes: 3 << 20}) || i.Compressed.Files != 3 || i.Partial.Files != 2 ||
		i.Compressed.Bytes < 3<<18 || i.Compressed.Bytes > 3<<20 {
		t.Errorf("%+v %+v %+v", i.Plain, i.Compressed, i.Partial)
	}
	if len(i.Timelines) != 2 {
		t.Fatalf("%+v", i.Timelines)
	}
	one, two := i.Timelines[0], i.Timelines[1]
	if show(one.Ranges) != "1/4-6 1/8" || len(one.Partials) != 1 || one.Parent != 0 {
		t.Errorf("%+v", one)
	}
	if show(two.Ranges) != "2/9" || len(two.Partials) != 1 || two.Parent != 1 || two.Fork != mib1.Start(9)+0x8000 {
		t.Errorf("%+v", two)
	}
}

func TestInventoryFindsBadFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fill(t, dir, "1/4 !1/5 1/6 !1/7.zst 2/8")
	put(t, dir, mib1.FileName(1, 3), fakeSegment(1, 9))                                         // another place
	put(t, dir, "00000004.history", []byte("x\n"))                                              //
	put(t, dir, mib1.FileName(1, 9)+".gz", nil)                                                 // empty
	put(t, dir, mib1.FileName(1, 8), bytes.Replace(fakeSegment(1, 8), systemBytes(), other, 1)) // another cluster
	for check, want := range map[bool]string{
		false: "000000010000000000000005 000000010000000000000009.gz 00000002.history 00000004.history",
		true: "000000010000000000000003 000000010000000000000005 000000010000000000000007.zst 000000010000000000000008 " +
			"000000010000000000000009.gz 00000002.history 00000004.history",
	} {
		i, err := logstream.TakeInventory(t.Context(), dir, logstream.InventoryOptions{Check: check})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, b := range i.Bad {
			got = append(got, b.Name)
			if b.Err == nil {
				t.Errorf("%s: no error", b.Name)
			}
		}
		if strings.Join(got, " ") != want || i.Whole() {
			t.Errorf("check %t: %q, want %q", check, got, want)
		}
	}
}

// With larger segments the last part of a name cannot be as large.
func TestInventoryFindsNamesThatTheSegmentSizeCannotGive(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	head := fakeSegment(1, 16*5)[:8192]
	binary.LittleEndian.PutUint32(head[32:], uint32(mib16))
	put(t, dir, mib16.FileName(1, 5), append(head, make([]byte, int(mib16)-len(head))...))
	put(t, dir, "000000010000000000000100.gz", []byte("x"))
	i, err := logstream.TakeInventory(t.Context(), dir, logstream.InventoryOptions{})
	if err != nil || len(i.Bad) != 1 || i.Bad[0].Name != "000000010000000000000100.gz" || show(i.Timelines[0].Ranges) != "1/5" {
		t.Errorf("%+v, %v", i, err)
	}
}

var other = make([]byte, 8)

// systemBytes is the system identifier as it stands in a segment.
func systemBytes() []byte { return fakeSegment(1, 1)[24:32] }

func TestInventoryOfLittle(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	i, err := logstream.TakeInventory(t.Context(), dir, logstream.InventoryOptions{})
	if err != nil || i.SegmentSize != 0 || i.Whole() || len(i.Timelines) != 0 {
		t.Errorf("empty: %+v, %v", i, err)
	}
	// A receiver that has just begun.
	put(t, dir, mib1.FileName(1, 4)+".partial", make([]byte, mib1))
	i, err = logstream.TakeInventory(t.Context(), dir, logstream.InventoryOptions{Check: true})
	if err != nil || i.SegmentSize != mib1 || i.Newest.LSN != 0 || len(i.Timelines) != 1 || !i.Whole() {
		t.Errorf("one of zeros: %+v, %v", i, err)
	}
	put(t, dir, mib1.FileName(1, 4)+".partial", []byte("x"))
	if _, err := logstream.TakeInventory(t.Context(), dir, logstream.InventoryOptions{}); err == nil {
		t.Error("no error where the segment size is unknown")
	}
	if _, err := logstream.TakeInventory(t.Context(), filepath.Join(dir, "missing"), logstream.InventoryOptions{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing directory: %v", err)
	}
	fill(t, dir, "1/5 1/6")
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := logstream.TakeInventory(ended, dir, logstream.InventoryOptions{Check: true}); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
}
