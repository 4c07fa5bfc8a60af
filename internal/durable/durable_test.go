package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// alone checks that a directory holds one file and nothing else.
func alone(t *testing.T, dir, name string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != name {
			t.Errorf("%s is left in the directory", e.Name())
		}
	}
	if len(entries) != 1 {
		t.Errorf("%d files, want 1", len(entries))
	}
}

func TestWriteFileReplacesAsAWhole(t *testing.T) {
	t.Parallel()
	for _, sync := range []bool{false, true} {
		dir := t.TempDir()
		path := filepath.Join(dir, "f")
		for _, want := range []string{"first, the longer one", "second", ""} {
			if err := WriteFile(path, []byte(want), 0o600, sync); err != nil {
				t.Fatal(err)
			}
			if got := content(t, path); got != want {
				t.Errorf("content %q, want %q", got, want)
			}
			alone(t, dir, "f")
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
	}
}

func TestWriteFileNeverWritesIntoTheFormerFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	if err := WriteFile(path, []byte("old"), 0o600, true); err != nil {
		t.Fatal(err)
	}
	// Whoever has the file open goes on reading what it was.
	reader, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Close() }()
	if err := WriteFile(path, []byte("new"), 0o600, true); err != nil {
		t.Fatal(err)
	}
	was := make([]byte, 10)
	n, _ := reader.Read(was)
	if string(was[:n]) != "old" {
		t.Errorf("the open file reads %q now", was[:n])
	}
}

func TestFailedWriteFileLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, sync := range []bool{false, true} {
		// The name is that of a directory which is not empty: everything
		// works but the rename.
		dir := t.TempDir()
		path := filepath.Join(dir, "f")
		if err := os.MkdirAll(filepath.Join(path, "inside"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := WriteFile(path, []byte("x"), 0o600, sync); err == nil {
			t.Error("a file took a directory's place")
		}
		alone(t, dir, "f")

		if err := WriteFile(filepath.Join(dir, "no", "f"), nil, 0o600, sync); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("no directory: %v", err)
		}
	}
}

func TestRename(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	from, to := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	if err := Rename(from, to); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(from, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Rename(from, to); err != nil {
		t.Fatal(err)
	}
	alone(t, dir, "b")
	if err := SyncDir(filepath.Join(dir, "c")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

func TestAllocateGivesSizeAndZerosAndKeepsWhatIsThere(t *testing.T) {
	t.Parallel()
	f := create(t, "f")
	if _, err := f.Write([]byte("kept")); err != nil {
		t.Fatal(err)
	}
	const size = 3<<20 + 17
	if err := Allocate(f, size); err != nil {
		t.Fatal(err)
	}
	want := append([]byte("kept"), make([]byte, size-4)...)
	if got := content(t, f.Name()); got != string(want) {
		t.Errorf("%d bytes, or not zero", len(got))
	}
	if err := SyncData(f); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if Allocate(f, size) == nil || SyncData(f) == nil {
		t.Error("a closed file is no error")
	}
}

func TestZeroFillWritesBehindWhatIsThere(t *testing.T) {
	t.Parallel()
	f := create(t, "f")
	if _, err := f.Write([]byte("kept")); err != nil {
		t.Fatal(err)
	}
	const size = 3<<20 + 17
	if err := ZeroFill(f, size); err != nil {
		t.Fatal(err)
	}
	if got, want := content(t, f.Name()), "kept"+string(make([]byte, size-4)); got != want {
		t.Errorf("%d bytes, or not zero", len(got))
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if ZeroFill(f, 2*size) == nil {
		t.Error("a closed file is no error")
	}
}

func create(t testing.TB, name string) *File {
	t.Helper()
	f, err := OpenFile(filepath.Join(t.TempDir(), name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() }) // most tests close it before
	return f
}
