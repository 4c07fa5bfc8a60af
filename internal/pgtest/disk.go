package pgtest

import (
	"errors"
	"os"
	"os/exec"
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
