package logstream_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/pgbraid/pgbraid/internal/compress"
	"github.com/pgbraid/pgbraid/logstream"
	"github.com/pierrec/lz4/v4"
)

const testSystem = 7300000000000000001

// fakeSegment is a segment full of one record that began before it and goes on
// behind it.
func fakeSegment(timeline logstream.TimelineID, n logstream.SegmentNumber) []byte {
	b := make([]byte, mib1)
	random := rand.NewChaCha8([32]byte{byte(n)})
	// What a compressor can halve.
	for i := 0; i < len(b); i += 512 {
		_, _ = random.Read(b[i : i+256]) // never fails
	}
	for page := 0; page < len(b); page += 8192 {
		h := b[page:]
		flags := uint16(1) // continued
		binary.LittleEndian.PutUint64(h[8:], uint64(mib1.Start(n))+uint64(page))
		if page == 0 {
			flags |= 2
			binary.LittleEndian.PutUint64(h[24:], testSystem)
			binary.LittleEndian.PutUint32(h[32:], uint32(mib1))
			binary.LittleEndian.PutUint32(h[36:], 8192)
		}
		binary.LittleEndian.PutUint16(h, 0xD110)
		binary.LittleEndian.PutUint16(h[2:], flags)
		binary.LittleEndian.PutUint32(h[4:], uint32(timeline))
		// One record, of which this is somewhere in the middle.
		passed := (int(n)&0xFF)*(len(b)-len(b)/8192*24-16) + page/8192*(8192-24)
		if page > 0 {
			passed -= 16 // the first header of a segment is longer
		}
		binary.LittleEndian.PutUint32(h[16:], uint32(512<<20-passed))
		binary.LittleEndian.PutUint32(h[20:], 0)
	}
	return b
}

func pack(t testing.TB, m compress.Method, content []byte) []byte {
	t.Helper()
	if m == compress.None {
		return content
	}
	var b bytes.Buffer
	w, err := compress.Spec{Method: m}.NewWriter(&b)
	if err == nil {
		_, err = w.Write(content)
		err = errors.Join(err, w.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func put(t testing.TB, dir, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

const fifth = "000000010000000000000005"

var methods = []compress.Method{compress.None, compress.Gzip, compress.LZ4, compress.Zstd}

// restoreInto runs RestoreWAL, to the end of the archive, and gives what it made,
// nil for nothing.
func restoreInto(t *testing.T, dir, name string) (from string, content []byte, err error) {
	t.Helper()
	return restoreAs(t, dir, name, logstream.RestoreOptions{Partial: true})
}

func restoreAs(t *testing.T, dir, name string, o logstream.RestoreOptions) (from string, content []byte, err error) {
	t.Helper()
	target := t.TempDir()
	path := filepath.Join(target, "RECOVERYXLOG")
	from, err = logstream.RestoreWAL(t.Context(), dir, name, path, o)
	content, readErr := os.ReadFile(path)
	if readErr != nil && !errors.Is(readErr, fs.ErrNotExist) {
		t.Fatal(readErr)
	}
	entries, _ := os.ReadDir(target)
	if len(entries) > 1 || len(entries) == 1 && content == nil {
		t.Errorf("files are left: %v", entries)
	}
	return from, content, err
}

func TestRestoreGivesASegmentInEveryForm(t *testing.T) {
	t.Parallel()
	want := fakeSegment(1, 5)
	for _, suffix := range []string{"", ".partial"} {
		for _, m := range methods {
			name := fifth + m.Suffix() + suffix
			dir := t.TempDir()
			put(t, dir, name, pack(t, m, want))
			from, got, err := restoreInto(t, dir, fifth)
			if err != nil || from != name || !bytes.Equal(got, want) {
				t.Errorf("%s: from %q, %d bytes, %v", name, from, len(got), err)
			}
		}
	}
	// A complete one comes before a partial one.
	dir := t.TempDir()
	put(t, dir, fifth+".zst", pack(t, compress.Zstd, want))
	put(t, dir, fifth+".partial", fakeSegment(1, 5)[:8192])
	if from, got, err := restoreInto(t, dir, fifth); from != fifth+".zst" || !bytes.Equal(got, want) || err != nil {
		t.Errorf("from %q, %d bytes, %v", from, len(got), err)
	}
}

func TestRestoreFillsAPartialSegmentUp(t *testing.T) {
	t.Parallel()
	full := fakeSegment(1, 5)
	for _, m := range methods {
		dir := t.TempDir()
		packed := pack(t, m, full)
		if m == compress.LZ4 {
			// In blocks as small as pg_receivewal's: only whole ones can be read.
			var b bytes.Buffer
			z := lz4.NewWriter(&b)
			err := z.Apply(lz4.BlockSizeOption(lz4.Block64Kb))
			_, writeErr := z.Write(full)
			if err := errors.Join(err, writeErr, z.Close()); err != nil {
				t.Fatal(err)
			}
			packed = b.Bytes()
		}
		put(t, dir, fifth+m.Suffix()+".partial", packed[:len(packed)*2/3])
		from, got, err := restoreInto(t, dir, fifth)
		if err != nil || from == "" || len(got) != len(full) {
			t.Errorf("%s: from %q, %d bytes, %v", m, from, len(got), err)
			continue
		}
		same := 0
		for same < len(full) && got[same] == full[same] {
			same++
		}
		if rest := bytes.Trim(got[same:], "\x00"); same < 8192 || len(rest) != 0 {
			t.Errorf("%s: %d bytes are right, then %d other ones", m, same, len(rest))
		}
	}
}

func TestRestoreSaysNotThere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put(t, dir, fifth, fakeSegment(1, 5))
	put(t, dir, fifth+".00000028.backup", []byte("x"))
	put(t, dir, "000000010000000000000007.partial", make([]byte, mib1))
	put(t, dir, "000000010000000000000008.gz.partial", nil)
	put(t, dir, "000000010000000000000009.lz4.partial", nil)
	put(t, dir, "00000001000000000000000A.zst.partial", nil)
	for _, name := range []string{
		"000000010000000000000006", "000000020000000000000005", "00000002.history", "000000010000000000000005.partial",
		"000000010000000000000007", "000000010000000000000008", "000000010000000000000009", "00000001000000000000000A",
		fifth + ".00000028.backup", "backup_label", "00000001000000000000000a",
	} {
		if from, got, err := restoreInto(t, dir, name); from != "" || got != nil || err != nil {
			t.Errorf("%s: from %q, %d bytes, %v", name, from, len(got), err)
		}
	}
}

func TestRestoreGivesAHistoryFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	want := []byte("1\t0/5000100\tno recovery target specified\n")
	put(t, dir, "00000002.history", want)
	put(t, dir, "00000003.history.gz", pack(t, compress.Gzip, want))
	for _, name := range []string{"00000002.history", "00000003.history"} {
		if from, got, err := restoreInto(t, dir, name); from == "" || !bytes.Equal(got, want) || err != nil {
			t.Errorf("%s: from %q, %q, %v", name, from, got, err)
		}
	}
}

func TestRestoreRefusesWhatIsNotTheFile(t *testing.T) {
	t.Parallel()
	good := fakeSegment(1, 5)
	broken := bytes.Clone(pack(t, compress.Zstd, good))
	broken[len(broken)/2] ^= 0xFF
	for what, c := range map[string]struct {
		file    string
		content []byte
		name    string
	}{
		"short":                {fifth, good[:len(good)-1], fifth},
		"long":                 {fifth, append(bytes.Clone(good), 0), fifth},
		"long partial":         {fifth + ".partial", append(bytes.Clone(good), 0), fifth},
		"empty":                {fifth, nil, fifth},
		"zeros":                {fifth, make([]byte, mib1), fifth},
		"short when unpacked":  {fifth + ".gz", pack(t, compress.Gzip, good[:len(good)-1]), fifth},
		"long when unpacked":   {fifth + ".lz4", pack(t, compress.LZ4, append(bytes.Clone(good), 0)), fifth},
		"cut":                  {fifth + ".lz4", pack(t, compress.LZ4, good)[:5000], fifth},
		"damaged":              {fifth + ".zst", broken, fifth},
		"not compressed":       {fifth + ".gz", good, fifth},
		"another segment":      {fifth, fakeSegment(1, 6), fifth},
		"a later timeline":     {fifth, fakeSegment(2, 5), fifth},
		"another partial":      {fifth + ".partial", fakeSegment(1, 6), fifth},
		"no WAL":               {fifth, bytes.Repeat([]byte("x"), int(mib1)), fifth},
		"history of nobody":    {"00000002.history", nil, "00000002.history"},
		"history of another":   {"00000002.history", []byte("3\t0/5\tx\n"), "00000002.history"},
		"history that is none": {"00000002.history", []byte("x\n"), "00000002.history"},
		"path":                 {fifth, good, "../" + fifth},
		"path below":           {fifth, good, "a/" + fifth},
		"empty name":           {fifth, good, ""},
	} {
		dir := t.TempDir()
		put(t, dir, c.file, c.content)
		if from, got, err := restoreInto(t, dir, c.name); from != "" && err == nil || got != nil || err == nil {
			t.Errorf("%s: from %q, %d bytes, %v", what, from, len(got), err)
		}
	}
}

func TestRestoreFailsWhereNothingCanBeReadOrWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, _, err := restoreInto(t, filepath.Join(dir, "missing"), fifth); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing directory: %v", err)
	}
	put(t, dir, "file", nil)
	if _, _, err := restoreInto(t, filepath.Join(dir, "file"), fifth); err == nil {
		t.Error("a file is taken for the directory")
	}
	put(t, dir, fifth, fakeSegment(1, 5))
	if _, err := logstream.RestoreWAL(t.Context(), dir, fifth, filepath.Join(dir, "missing", "x"), logstream.RestoreOptions{}); err == nil {
		t.Error("no error where the target cannot be written")
	}
	// A directory in the file's place can be opened and not read.
	for _, name := range []string{"000000010000000000000006", "000000010000000000000007.partial", "000000010000000000000008.gz.partial"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if _, _, err := restoreInto(t, dir, name[:24]); err == nil {
			t.Errorf("%s: an unreadable file is taken for one that is not there", name)
		}
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := logstream.RestoreWAL(ended, dir, fifth, filepath.Join(t.TempDir(), "x"), logstream.RestoreOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
}

// Whoever does not ask for a partial segment gets it only where it is full.
func TestRestoreWithholdsAPartialSegment(t *testing.T) {
	t.Parallel()
	full := fakeSegment(1, 5)
	torn := append(bytes.Clone(full[:mib1/2]), make([]byte, mib1/2)...)
	for _, m := range methods {
		dir := t.TempDir()
		name := fifth + m.Suffix() + ".partial"
		put(t, dir, name, pack(t, m, torn))
		from, got, err := restoreAs(t, dir, fifth, logstream.RestoreOptions{})
		var withheld *logstream.PartialError
		if from != "" || got != nil || !errors.As(err, &withheld) || withheld.File != name {
			t.Errorf("%s: from %q, %d bytes, %v", m, from, len(got), err)
		}
		put(t, dir, name, pack(t, m, full))
		if from, got, err := restoreAs(t, dir, fifth, logstream.RestoreOptions{}); from != name || !bytes.Equal(got, full) || err != nil {
			t.Errorf("%s: the full one: from %q, %d bytes, %v", m, from, len(got), err)
		}
		put(t, dir, fifth, full)
		put(t, dir, name, pack(t, m, torn))
		if from, _, err := restoreAs(t, dir, fifth, logstream.RestoreOptions{}); from != fifth || err != nil {
			t.Errorf("%s: with the complete one there: from %q, %v", m, from, err)
		}
	}
}

// A receiver that was killed leaves several partial segments behind each
// other, of which the earlier ones may be full.
func TestRestoreGivesAnEarlierPartialSegmentOnlyIfItsWALIsThere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put(t, dir, fifth+".partial", fakeSegment(1, 5))
	put(t, dir, "000000010000000000000006.partial", fakeSegment(1, 6))
	put(t, dir, "00000002.history", []byte("1\t0/500000\tx\n"))
	if from, _, err := restoreInto(t, dir, fifth); from == "" || err != nil {
		t.Errorf("the full one: from %q, %v", from, err)
	}
	torn := append(fakeSegment(1, 5)[:mib1/2], make([]byte, mib1/2)...)
	put(t, dir, fifth+".partial", torn)
	if from, _, err := restoreInto(t, dir, fifth); from != "" || err != nil {
		t.Errorf("the torn one: from %q, %v", from, err)
	}
	// What another timeline has behind it does not matter.
	if err := os.Rename(filepath.Join(dir, "000000010000000000000006.partial"), filepath.Join(dir, "000000020000000000000006.partial")); err != nil {
		t.Fatal(err)
	}
	if from, got, err := restoreInto(t, dir, fifth); from == "" || !bytes.Equal(got, torn) || err != nil {
		t.Errorf("the last of its timeline: from %q, %v", from, err)
	}
}
