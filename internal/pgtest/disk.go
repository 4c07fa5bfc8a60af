package pgtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// Mount mounts a file system on a directory, as mount(8) does with these
// arguments, until the test ends. Without the right to do so the test is
// skipped.
func Mount(t testing.TB, on string, args ...string) {
	t.Helper()
	if out, err := exec.Command("mount", append(args, on)...).CombinedOutput(); err != nil {
		t.Skipf("this test mounts a file system, for which it must be root: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", on).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
}

// MountImage makes a file system of a size in bytes in a new file, by a program
// such as mkfs.ext4 with arguments, and mounts it.
func MountImage(t testing.TB, on, image string, size int64, mkfs ...string) {
	t.Helper()
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, size)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mkfs[0], append(mkfs[1:], image)...).CombinedOutput(); err != nil {
		t.Skipf("this test makes a file system: %v: %s", err, out)
	}
	Mount(t, on, "-o", "loop", image)
}

// Device is the device of a FailingDisk.
type Device struct{ dir string }

// FailingDisk mounts a file system whose device has room for some bytes, and
// then fails. Without a journal only data fails to be written: all of the
// metadata is there from the start.
func FailingDisk(t testing.TB, size int64) (disk string, device Device) {
	t.Helper()
	device, disk = Device{TempDir(t)}, TempDir(t)
	Mount(t, device.dir, "-t", "tmpfs", "-o", fmt.Sprintf("size=%d", size), "none")
	MountImage(t, disk, filepath.Join(device.dir, "image"), 2*size,
		"mkfs.ext2", "-q", "-N", "8192", "-E", "nodiscard,lazy_itable_init=0")
	if err := os.Remove(filepath.Join(disk, "lost+found")); err != nil {
		t.Fatal(err)
	}
	return disk, device
}

func (d Device) filler() string { return filepath.Join(d.dir, "filler") }

// Fill takes what room there is: what is written anew cannot be written to the
// device from now on.
func (d Device) Fill(t testing.TB) {
	t.Helper()
	f, err := os.Create(d.filler())
	if err != nil {
		t.Fatal(err)
	}
	for buf := make([]byte, 64<<10); err == nil; {
		_, err = f.Write(buf)
	}
	if err := errors.Join(err, f.Close()); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

// MakeRoom takes back what Fill did.
func (d Device) MakeRoom(t testing.TB) {
	t.Helper()
	if err := os.Remove(d.filler()); err != nil {
		t.Fatal(err)
	}
}
