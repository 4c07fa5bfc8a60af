package tarx

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestHeaderHasTheServersBytes(t *testing.T) {
	t.Parallel()
	got := mustHeader(t, &Header{Name: "backup_manifest", Mode: 0o100600, Size: 1234, ModTime: time.Unix(1700000000, 0), UID: 0o4000, GID: 0o2000})
	want := make([]byte, 512)
	for offset, text := range map[int]string{
		0: "backup_manifest", 100: "0000600 ", 108: "0004000 ", 116: "0002000 ", 124: "00000002322 ", 136: "14524770400 ",
		148: "0016240 ", 156: "0", 257: "ustar\x0000", 265: "postgres", 297: "postgres", 329: "0000000 ", 337: "0000000 ",
	} {
		copy(want[offset:], text)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

var writable = []*Header{
	file("base/1/1259", 8192),
	file("empty", 0),
	file(strings.Repeat("n", 99), 3),
	{Name: "sticky", Type: TypeFile, Mode: 0o7777, ModTime: time.Unix(0, 0), UID: 1<<32 - 1, GID: 1 << 21},
	directory("pg_wal"),
	directory(strings.Repeat("d", 99)),
	symlink("pg_tblspc/16384", "/srv/space"),
	symlink("pg_wal", strings.Repeat("t", 99)),
}

func TestWhatIsWrittenReadsBackInBothParsers(t *testing.T) {
	t.Parallel()
	var stream []byte
	for _, h := range writable {
		stream = append(stream, mustHeader(t, h)...)
		stream = append(stream, make([]byte, h.Size+int64(Padding(h.Size)))...)
	}
	stream = append(stream, Trailer...)

	r, _, err := parseWhole(t, stream)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.members) != len(writable) {
		t.Fatalf("%d members, want %d", len(r.members), len(writable))
	}
	other := tar.NewReader(bytes.NewReader(stream))
	for i, want := range writable {
		if got := &r.members[i].header; !reflect.DeepEqual(got, want) {
			t.Errorf("Parser: got %+v, want %+v", got, want)
		}
		got, err := other.Next()
		if err != nil {
			t.Fatalf("archive/tar: %v", err)
		}
		name, flag := want.Name+"/", byte(tar.TypeDir)
		switch want.Type {
		case TypeFile:
			name, flag = want.Name, tar.TypeReg
		case TypeSymlink:
			flag = tar.TypeSymlink
		}
		if got.Name != name || got.Typeflag != flag || got.Linkname != want.Linkname || got.Size != want.Size ||
			got.Mode != int64(want.Mode) || got.Uid != want.UID || got.Gid != want.GID || !got.ModTime.Equal(want.ModTime) ||
			got.Uname != "postgres" || got.Gname != "postgres" {
			t.Errorf("archive/tar: got %+v, want %+v", got, want)
		}
	}
}

// A Parser and a Writer behind it make the stream that went in.
func TestParserAndWriterPutAStreamTogetherAgain(t *testing.T) {
	t.Parallel()
	var stream []byte
	for i, h := range writable {
		stream = append(stream, mustHeader(t, h)...)
		stream = append(stream, bytes.Repeat([]byte{byte(i)}, int(h.Size))...)
		stream = append(stream, Trailer[:Padding(h.Size)]...)
	}
	stream = append(stream, Trailer...)
	for _, piece := range []int{1, 511, 4096, len(stream)} {
		var out bytes.Buffer
		w := NewWriter(&out)
		p := NewParser(w)
		for part := range slices.Chunk(stream, piece) {
			if _, err := p.Write(part); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(p.Close(), w.Close()); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out.Bytes(), stream) {
			t.Errorf("in pieces of %d bytes: %d bytes came out, not those %d that went in", piece, out.Len(), len(stream))
		}
	}
}

func TestWriterHoldsContentAgainstTheSize(t *testing.T) {
	t.Parallel()
	for _, content := range []string{"123", "12345"} {
		w := NewWriter(io.Discard)
		err := w.WriteFile(&Header{Name: "x", Size: 4}, []byte(content))
		if err == nil || !strings.Contains(err.Error(), `"x"`) {
			t.Errorf("%d bytes for 4: %v", len(content), err)
		}
	}
}

func TestLargeSizesAreWrittenInBase256(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		size  int64
		field string
	}{
		{8<<30 - 1, "77777777777 "},
		{8 << 30, "\x80\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00"},
	} {
		b := mustHeader(t, file("big", test.size))
		if got := string((*block)(b).size()); got != test.field {
			t.Errorf("size %d: field is %q", test.size, got)
		}
		if h, err := tar.NewReader(bytes.NewReader(b)).Next(); err != nil || h.Size != test.size {
			t.Errorf("size %d: archive/tar: %+v, %v", test.size, h, err)
		}
	}
}

func TestAppendHeaderAppendsAndIgnoresOldBytes(t *testing.T) {
	t.Parallel()
	dirty := bytes.Repeat([]byte{0xAA}, 2048)
	got, err := AppendHeader(dirty[:5], file("f", 0))
	if err != nil || len(got) != 517 || !bytes.Equal(got[:5], dirty[:5]) || !bytes.Equal(got[5:], mustHeader(t, file("f", 0))) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if dirty[517] != 0xAA {
		t.Error("wrote past the header")
	}
}

func TestHeadersThatCannotBeWrittenAreRefused(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("n", 100)
	for name, h := range map[string]*Header{
		"long name":             file(long, 0),
		"long directory":        directory(long),
		"long target":           symlink("l", long),
		"empty name":            file("", 0),
		"empty directory":       directory("/"),
		"no target":             symlink("l", ""),
		"NUL in name":           file("a\x00b", 0),
		"NUL in target":         symlink("l", "a\x00b"),
		"file with slash":       file("a/", 0),
		"negative size":         file("a", -1),
		"directory with a size": {Name: "d", Type: TypeDirectory, Size: 1},
		"link with a size":      {Name: "l", Linkname: "t", Type: TypeSymlink, Size: 1},
		"negative owner":        {Name: "f", UID: -1},
		"owner over 32 bits":    {Name: "f", GID: 1 << 32},
		"unknown type":          {Name: "f", Type: 3},
	} {
		dst := []byte("kept")
		got, err := AppendHeader(dst, h)
		if err == nil || string(got) != "kept" || !strings.HasPrefix(err.Error(), "tar header: ") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestPaddingFillsTheLastBlock(t *testing.T) {
	t.Parallel()
	for size, want := range map[int64]int{0: 0, 1: 511, 511: 1, 512: 0, 513: 511, 8 << 30: 0, 1<<63 - 1: 1} {
		if got := Padding(size); got != want {
			t.Errorf("Padding(%d) = %d, want %d", size, got, want)
		}
	}
}

func TestTimesAreWrittenAsTheServerCastsThem(t *testing.T) {
	t.Parallel()
	for _, moment := range []time.Time{time.Unix(-2, 0), time.Unix(0, 0), time.Unix(1<<33, 0)} {
		r, _, err := parseWhole(t, mustHeader(t, &Header{Name: "f", ModTime: moment}))
		if err != nil || !r.members[0].header.ModTime.Equal(moment) {
			t.Errorf("%v: %v", moment, err)
		}
	}
	if got := string((*block)(mustHeader(t, &Header{Name: "f"})).mtime()); got != "00000000000 " {
		t.Errorf("zero time is written as %q", got)
	}
}

func TestFileModeTranslatesSpecialBits(t *testing.T) {
	t.Parallel()
	for mode, want := range map[uint32]fs.FileMode{
		0o600: 0o600, 0o4755: 0o755 | fs.ModeSetuid, 0o2750: 0o750 | fs.ModeSetgid, 0o1777: 0o777 | fs.ModeSticky,
	} {
		if got := (&Header{Mode: mode}).FileMode(); got != want {
			t.Errorf("mode %o: got %v, want %v", mode, got, want)
		}
	}
}
