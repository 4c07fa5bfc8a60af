package logstream

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"
)

const mb = SegmentSize(1 << 20)

// files lists a directory and below with the sizes of the files.
func files(t *testing.T, dir string) string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		name, _ := filepath.Rel(dir, path)
		list = append(list, fmt.Sprintf("%s %d", name, info.Size()))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(list)
	return strings.Join(list, ", ")
}

// dirStores runs a test with each kind of directory, with fsyncs and without.
func dirStores(t *testing.T, test func(t *testing.T, dir string, o DirOptions)) {
	t.Helper()
	for _, data := range []bool{false, true} {
		for _, noSync := range []bool{false, true} {
			t.Run(fmt.Sprintf("data directory %t, no sync %t", data, noSync), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				if data {
					if err := os.Mkdir(filepath.Join(dir, "archive_status"), 0o700); err != nil {
						t.Fatal(err)
					}
				}
				test(t, dir, DirOptions{DataDirectory: data, NoSync: noSync})
			})
		}
	}
}

func open(t *testing.T, d *DirStore, timeline TimelineID, n SegmentNumber) Segment {
	t.Helper()
	s, err := d.OpenSegment(timeline, n)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func writeAt(t *testing.T, s Segment, p string, offset int64) {
	t.Helper()
	if n, err := s.WriteAt([]byte(p), offset); n != len(p) || err != nil {
		t.Fatalf("%d bytes written, %v", n, err)
	}
}

func TestSegmentIsPartialUntilItIsSealed(t *testing.T) {
	t.Parallel()
	dirStores(t, func(t *testing.T, dir string, o DirOptions) {
		d := NewDirStore(dir, mb, o)
		s := open(t, d, 2, 0x1003)
		const name = "000000020000000100000003"
		if got := files(t, dir); got != name+".partial 1048576" {
			t.Errorf("after opening: %s", got)
		}
		writeAt(t, s, "head", 0)
		writeAt(t, s, "tail", 1<<20-4)
		must(t, s.Sync())
		s.Full()
		if got := files(t, dir); got != name+".partial 1048576" {
			t.Errorf("after the last byte: %s", got)
		}
		must(t, s.Seal())
		want := name + " 1048576"
		if o.DataDirectory {
			want += ", archive_status/" + name + ".done 0"
		}
		if got := files(t, dir); got != want {
			t.Errorf("after sealing: %s, want %s", got, want)
		}
		content, err := os.ReadFile(filepath.Join(dir, name))
		if want := "head" + strings.Repeat("\x00", 1<<20-8) + "tail"; err != nil || string(content) != want {
			t.Errorf("content differs, %v", err)
		}
		if _, err := s.WriteAt([]byte("x"), 0); !errors.Is(err, os.ErrClosed) {
			t.Errorf("the file is still open: %v", err)
		}
	})
}

// In a data directory recovery has to read the last segment of a timeline; it
// is not whole, so it is not marked as archived.
func TestIncompleteSegmentHasItsNameOnlyInADataDirectory(t *testing.T) {
	t.Parallel()
	for _, end := range []func(Segment) error{Segment.Leave, Segment.Finish} {
		dirStores(t, func(t *testing.T, dir string, o DirOptions) {
			s := open(t, NewDirStore(dir, mb, o), 1, 2)
			writeAt(t, s, "head", 0)
			must(t, end(s))
			want := "000000010000000000000002.partial 1048576"
			if o.DataDirectory {
				want = "000000010000000000000002 1048576"
			}
			if got := files(t, dir); got != want {
				t.Errorf("%s, want %s", got, want)
			}
			if _, err := s.WriteAt([]byte("x"), 0); !errors.Is(err, os.ErrClosed) {
				t.Errorf("the file is still open: %v", err)
			}
		})
	}
}

func TestPartialSegmentIsWrittenOverAndNotEmptied(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "000000010000000000000002.partial")
	old := bytes.Repeat([]byte("old "), 1<<18)
	must(t, os.WriteFile(path, old, 0o600))
	before, err := os.Stat(path)
	must(t, err)
	s := open(t, NewDirStore(dir, mb, DirOptions{}), 1, 2)
	content := func() string {
		b, err := os.ReadFile(path)
		must(t, err)
		return string(b)
	}
	if content() != string(old) {
		t.Fatal("opening changed what was there")
	}
	writeAt(t, s, "new", 0)
	must(t, s.Leave())
	if content() != "new"+string(old[3:]) {
		t.Error("more was changed than was written")
	}
	after, err := os.Stat(path)
	must(t, err)
	if !os.SameFile(before, after) {
		t.Error("the file is another one")
	}
	// One that is too short keeps what it has and gets its length.
	must(t, os.WriteFile(path, []byte("short"), 0o600))
	s = open(t, NewDirStore(dir, mb, DirOptions{}), 1, 2)
	if content() != "short"+strings.Repeat("\x00", 1<<20-5) {
		t.Error("a short one lost its bytes or did not get its length")
	}
	must(t, s.Leave())
}

// A file that is longer than a segment is not one: what is too much is cut off
// where it is zeros, and never thrown away otherwise.
func TestPartialSegmentThatIsTooLong(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "000000010000000000000002.partial")
	must(t, os.WriteFile(path, append([]byte("head"), make([]byte, mb+12345)...), 0o600))
	s := open(t, NewDirStore(dir, mb, DirOptions{NoSync: true}), 1, 2)
	must(t, s.Seal())
	if got := files(t, dir); got != "000000010000000000000002 1048576" {
		t.Errorf("zeros: %s", got)
	}
	content := append(make([]byte, mb+12345), "tail"...)
	must(t, os.WriteFile(path, content, 0o600))
	_, err := NewDirStore(dir, mb, DirOptions{NoSync: true}).OpenSegment(1, 2)
	var length *LengthError
	if !errors.As(err, &length) || length.Has != int64(len(content)) || length.Want != int64(mb) || length.Hint() == "" {
		t.Errorf("not zeros: %v", err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(after, content) {
		t.Error("the file was changed")
	}
}

func TestSealRefusesAnotherLength(t *testing.T) {
	t.Parallel()
	for _, compressed := range []bool{false, true} {
		for _, length := range []int64{int64(mb) - 1, int64(mb) + 1} {
			dir := t.TempDir()
			o := DirOptions{NoSync: true}
			if compressed {
				o.Compression, _ = ParseCompression("gzip")
			}
			s := open(t, NewDirStore(dir, mb, o), 1, 2)
			must(t, os.Truncate(filepath.Join(dir, "000000010000000000000002.partial"), length))
			s.Full()
			var wrong *LengthError
			if err := s.Seal(); !errors.As(err, &wrong) || wrong.Has != length {
				t.Errorf("%d bytes, compressed %t: %v", length, compressed, err)
			}
			if got := files(t, dir); got != fmt.Sprintf("000000010000000000000002.partial %d", length) {
				t.Errorf("files: %s", got)
			}
		}
	}
}

func TestSealedSegmentReplacesOneOfTheSameName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "000000010000000000000002"), []byte("torn"), 0o600))
	s := open(t, NewDirStore(dir, mb, DirOptions{}), 1, 2)
	must(t, s.Seal())
	if got := files(t, dir); got != "000000010000000000000002 1048576" {
		t.Error(got)
	}
}

func TestHistoryFilesAppearAsAWhole(t *testing.T) {
	t.Parallel()
	dirStores(t, func(t *testing.T, dir string, o DirOptions) {
		d := NewDirStore(dir, mb, o)
		const name = "0000000B.history"
		has := func(want bool) {
			t.Helper()
			if got, err := d.HasHistory(11); got != want || err != nil {
				t.Errorf("has the history: %t, %v", got, err)
			}
		}
		has(false)
		// What a killed run left under the temporary name counts for nothing.
		must(t, os.WriteFile(filepath.Join(dir, name+".tmp"), []byte("a long torn rest"), 0o600))
		has(false)
		must(t, d.WriteHistory(11, []byte("10\t0/1\tx\n")))
		has(true)
		want := name + " 9"
		if o.DataDirectory {
			want += ", archive_status/" + name + ".done 0"
		}
		if got := files(t, dir); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
	// One that cannot be written leaves the old one.
	dir := t.TempDir()
	d := NewDirStore(dir, mb, DirOptions{})
	must(t, d.WriteHistory(2, []byte("old")))
	must(t, os.Symlink("/dev/full", filepath.Join(dir, "00000002.history.tmp")))
	if err := d.WriteHistory(2, []byte("new")); err == nil {
		t.Error("a full device is no error")
	}
	if got := files(t, dir); got != "00000002.history 3" {
		t.Error(got)
	}
	if content, err := os.ReadFile(filepath.Join(dir, "00000002.history")); string(content) != "old" {
		t.Errorf("%q, %v", content, err)
	}
}

// The mask belongs to the whole process: no other test of this package runs
// beside this one.
func TestFilesHaveTheModeOfTheCluster(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o022))
	for mode, want := range map[fs.FileMode]fs.FileMode{0: 0o600, 0o600: 0o600, 0o640: 0o640} {
		dir := t.TempDir()
		must(t, os.Mkdir(filepath.Join(dir, "archive_status"), 0o700))
		d := NewDirStore(dir, mb, DirOptions{Mode: mode, DataDirectory: true})
		must(t, open(t, d, 1, 1).Seal())
		must(t, open(t, NewDirStore(dir, mb, DirOptions{Mode: mode}), 1, 2).Leave())
		must(t, d.WriteHistory(2, nil))
		for _, name := range []string{
			"000000010000000000000001", "000000010000000000000002.partial", "00000002.history", "archive_status/000000010000000000000001.done",
		} {
			info, err := os.Stat(filepath.Join(dir, name))
			must(t, err)
			if info.Mode().Perm() != want {
				t.Errorf("mode %o: %s has %o", mode, name, info.Mode().Perm())
			}
		}
	}
}

func TestDirectoryThatIsGoneIsReported(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "no")
	d := NewDirStore(dir, mb, DirOptions{})
	if _, err := d.OpenSegment(1, 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("OpenSegment: %v", err)
	}
	if err := d.WriteHistory(2, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("WriteHistory: %v", err)
	}
	// A directory without archive_status is not a pg_wal.
	dir = t.TempDir()
	s := open(t, NewDirStore(dir, mb, DirOptions{DataDirectory: true}), 1, 1)
	if err := s.Seal(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Seal: %v", err)
	}
}
