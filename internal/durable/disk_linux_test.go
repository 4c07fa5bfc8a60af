package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pgbraid/pgbraid/internal/pgtest"
	"golang.org/x/sys/unix"
)

// allocated is how many bytes of disk a file has.
func allocated(t *testing.T, f *File) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

// smallDisk is a directory that holds 1 MiB, or "" where none can be mounted.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("pgbraid-test", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Logf("no small file system (%v): /dev/full stands for it", err)
		return ""
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmounting: %v", err)
		}
	})
	return dir
}

func TestFullDiskIsReportedAndHarmsNoFileThatWasThere(t *testing.T) {
	dir := smallDisk(t)
	if dir == "" {
		f, err := OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		w := NewWriter(true)
		w.Start(f)
		if _, err := w.Write(make([]byte, gather)); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("Writer: %v", err)
		}
		return
	}
	path := filepath.Join(dir, "f")
	if err := WriteFile(path, []byte("old"), 0o600, true); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(path, make([]byte, 2<<20), 0o600, true); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("WriteFile: %v", err)
	}
	alone(t, dir, "f")
	if got := content(t, path); got != "old" {
		t.Errorf("content %q, want the old one", got)
	}

	segment, err := OpenFile(filepath.Join(dir, "segment"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	var at *os.PathError
	if err := Allocate(segment, 16<<20); !errors.Is(err, syscall.ENOSPC) || !errors.As(err, &at) || at.Path != segment.Name() {
		t.Errorf("Allocate: %v", err)
	}
	w := NewWriter(true)
	w.Start(segment)
	_, err = w.Write(make([]byte, 3*gather))
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Writer: %v", err)
	}
	if err := segment.Close(); err != nil {
		t.Error(err)
	}
}

func TestWriteFileToAFullDeviceLeavesTheOldFile(t *testing.T) {
	t.Parallel()
	for _, sync := range []bool{false, true} {
		// The temporary name leads to a device that is full.
		dir := t.TempDir()
		path := filepath.Join(dir, "f")
		if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("/dev/full", path+".tmp"); err != nil {
			t.Fatal(err)
		}
		if err := WriteFile(path, []byte("new"), 0o600, sync); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%v, want that there is no space", err)
		}
		alone(t, dir, "f")
		if got := content(t, path); got != "old" {
			t.Errorf("content %q, want the old one", got)
		}
	}
}

func TestAllocateTakesRoomOnTheDisk(t *testing.T) {
	t.Parallel()
	f := create(t, "f")
	if err := Allocate(f, 1<<20); err != nil {
		t.Fatal(err)
	}
	if got := allocated(t, f); got < 1<<20 {
		t.Errorf("%d bytes of disk", got)
	}
}

func TestUnnamedFileGetsAName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f, err := Unnamed(dir, 0o600)
	if err != nil {
		t.Skipf("this file system has no files without a name: %v", err)
	}
	if _, err := f.Write([]byte("before ")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "name")
	if err := Link(f, path); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("after")); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "before after" {
		t.Errorf("holds %q, %v", got, err)
	}
	if f.Name() != path || f.Path() != path {
		t.Errorf("is called %s, %s", f.Name(), f.Path())
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("more")); !strings.Contains(fmt.Sprint(err), path) {
		t.Errorf("error does not tell the name: %v", err)
	}
	g, err := Unnamed(dir, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := Link(g, path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a name that is taken: %v", err)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
}

// TestRoomThatIsNotThereIsNotTaken asks for more than the disk has. ext4 keeps
// what it could give, and has none left for others.
func TestRoomThatIsNotThereIsNotTaken(t *testing.T) {
	t.Parallel()
	disk := t.TempDir()
	pgtest.MountImage(t, disk, filepath.Join(t.TempDir(), "image"), 16<<20, "mkfs.ext4", "-q")
	f, err := OpenFile(filepath.Join(disk, "f"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := Allocate(f, 1<<20); err != nil {
		t.Fatal(err)
	}
	if err := Allocate(f, 1<<30); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("it has more room than there is: %v", err)
	}
	if got := allocated(t, f); got > 1<<20+64<<10 {
		t.Errorf("%d bytes are taken, want %d", got, 1<<20)
	}
	if info, err := f.Stat(); err != nil || info.Size() != 1<<20 {
		t.Errorf("it has %d bytes, %v", info.Size(), err)
	}
}
