package tarx

import (
	"archive/tar"
	"bytes"
	"io"
	"math/rand/v2"
	"reflect"
	"testing"
)

// repair makes the checksum of each header good where a parser would look for
// one, so that mutated streams get past the first check.
func repair(stream []byte) {
	for len(stream) >= blockSize {
		b := (*block)(stream)
		if *b != zeroBlock {
			fixChecksum(stream[:blockSize])
		}
		size, ok := parseNumber(b.size())
		if !ok || size > uint64(len(stream)) {
			return
		}
		next := blockSize + int(size) + Padding(int64(size))
		if next > len(stream) {
			return
		}
		stream = stream[next:]
	}
}

// addSeeds keeps the seeds small: the fuzzer spends its time on minimising
// long ones.
func addSeeds(f *testing.F, add func(stream []byte)) {
	whole := concat(
		withContent(f, "label", "START"),
		mustHeader(f, directory("./pg_wal")),
		mustHeader(f, symlink("pg_tblspc/1", "/srv")),
		withContent(f, "empty", ""),
	)
	add(nil)
	add(whole)
	add(concat(whole, Trailer))
	add(concat(whole, Trailer[:512]))
	add(whole[:1000])
	add(concat(withContent(f, "a", "x"), Trailer, []byte{1}))
	add(edited(f, file("f", 0), 345, "prefix"))
	add(edited(f, file("f", 0), 156, "x"))
	add(edited(f, file("f", 0), 124, "\x80\x00\x00\x00\x80"))
	var other bytes.Buffer
	w := tar.NewWriter(&other)
	w.WriteHeader(&tar.Header{Name: "by/archive/tar", Mode: 0o600, Size: 3, Format: tar.FormatUSTAR})
	io.WriteString(w, "abc")
	w.Close()
	add(other.Bytes())
}

func FuzzParser(f *testing.F) {
	addSeeds(f, func(stream []byte) { f.Add(stream, uint64(1), true) })
	f.Fuzz(func(t *testing.T, stream []byte, seed uint64, fix bool) {
		stream = bytes.Clone(stream)
		if fix {
			repair(stream)
		}
		want, whole, wantErr := parseWhole(t, stream)
		random := rand.New(rand.NewPCG(seed, 0))
		most := 1 + random.IntN(1500)
		got, split, gotErr := parseIn(t, stream, func() int { return random.IntN(most + 1) })
		if !reflect.DeepEqual(got, want) {
			t.Errorf("events differ\nwhole: %+v\nsplit: %+v", want, got)
		}
		if !reflect.DeepEqual(gotErr, wantErr) {
			t.Errorf("errors differ\nwhole: %v\nsplit: %v", wantErr, gotErr)
		}
		if whole.Offset() != split.Offset() {
			t.Errorf("offsets differ: whole %d, split %d", whole.Offset(), split.Offset())
		}
		if wantErr == nil && (want.open || whole.Offset() != int64(len(stream))) {
			t.Errorf("no error, but offset %d of %d, in a member: %v", whole.Offset(), len(stream), want.open)
		}
		for _, m := range want.members {
			checkNames(t, &m.header)
		}
	})
}

// checkNames holds what the safe-path functions promise against any name.
func checkNames(t *testing.T, h *Header) {
	clean, err := CleanName(h.Name)
	if err != nil {
		return
	}
	if again, err := CleanName(clean); again != clean || err != nil {
		t.Errorf("CleanName(%q) = %q, and of that %q, %v", h.Name, clean, again, err)
	}
	if clean == "." || clean[0] == '/' || hasDotDot(clean) {
		t.Errorf("CleanName(%q) = %q", h.Name, clean)
	}
}

func FuzzParserAgainstArchiveTar(f *testing.F) {
	addSeeds(f, func(stream []byte) { f.Add(stream, true) })
	f.Fuzz(func(t *testing.T, stream []byte, fix bool) {
		stream = bytes.Clone(stream)
		if fix {
			repair(stream)
		}
		ours, _, err := parseWhole(t, stream)
		if err != nil {
			return
		}
		r := tar.NewReader(bytes.NewReader(stream))
		for i := 0; ; i++ {
			h, err := r.Next()
			if err == io.EOF {
				if i != len(ours.members) {
					t.Fatalf("archive/tar has %d members, Parser %d", i, len(ours.members))
				}
				return
			}
			if err != nil {
				return // archive/tar reads fields that the Parser leaves alone
			}
			if i == len(ours.members) {
				t.Fatalf("Parser has only %d members, archive/tar has also %q", i, h.Name)
			}
			m := &ours.members[i]
			content, err := io.ReadAll(r)
			if err != nil {
				return
			}
			flag := map[Type]byte{TypeFile: tar.TypeReg, TypeDirectory: tar.TypeDir, TypeSymlink: tar.TypeSymlink}[m.header.Type]
			if trimName(h.Name) != m.header.Name || h.Typeflag != flag || h.Size != m.header.Size || string(content) != m.content ||
				m.header.Type == TypeSymlink && h.Linkname != m.header.Linkname ||
				h.ModTime.Unix() != m.header.ModTime.Unix() || uint32(h.Mode&0o7777) != m.header.Mode {
				t.Fatalf("member %d\narchive/tar: %+v\nParser: %+v", i, h, m.header)
			}
		}
	})
}
