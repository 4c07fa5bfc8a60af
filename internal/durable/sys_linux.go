package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Allocate reserves size bytes of disk for a new file, so that a full disk
// shows here and not in the middle of a segment. The bytes read as zeros.
// Where the file system cannot do that, the file is only given its length.
func Allocate(f *os.File, size int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), 0, 0, size)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return f.Truncate(size)
		case err != nil:
			return &os.PathError{Op: "fallocate", Path: f.Name(), Err: err}
		}
		return nil
	}
}

// SyncData makes a file's bytes durable, and of its metadata what reading
// them needs.
func SyncData(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
		}
		return nil
	}
}

// Unnamed makes a file in a directory that has no name there until Link gives it
// one, and is gone with the process before that. Some file systems cannot do
// that.
func Unnamed(dir string, mode fs.FileMode) (*os.File, error) {
	return os.OpenFile(dir, os.O_RDWR|unix.O_TMPFILE, mode)
}

// Link gives a file of Unnamed its name, which must not be taken. The name is
// not durable before the directory is synced.
func Link(f *os.File, path string) error {
	from := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	if err := unix.Linkat(unix.AT_FDCWD, from, unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW); err != nil {
		return &os.LinkError{Op: "linkat", Old: from, New: path, Err: err}
	}
	return nil
}

// startWriteBack asks the kernel to begin writing a range of the file to the
// disk now, so that the fsync at its end finds little left to do. It is advice
// only: what it cannot do, the fsync does.
func startWriteBack(f *os.File, offset, length int64) {
	_ = unix.SyncFileRange(int(f.Fd()), offset, length, unix.SYNC_FILE_RANGE_WRITE)
}

// HasSyncFS tells whether this system can sync a whole file system.
const HasSyncFS = true

// SyncFS makes the file system that holds path durable, all of it.
func SyncFS(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	// Nothing is written through this descriptor.
	defer func() { _ = f.Close() }()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return &os.PathError{Op: "syncfs", Path: path, Err: err}
	}
	return nil
}

// hasDirect tells whether this system can write past the page cache.
const hasDirect = true

// setDirect makes writes to f go past the page cache, or not, and tells whether
// the file system can do that.
func setDirect(f *os.File, on bool) bool {
	fd := f.Fd()
	flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
	if err != nil {
		return false
	}
	if on {
		flags |= unix.O_DIRECT
	} else {
		flags &^= unix.O_DIRECT
	}
	_, err = unix.FcntlInt(fd, unix.F_SETFL, flags)
	return err == nil
}
