package durable

import (
	"errors"
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

// startWriteBack asks the kernel to begin writing a range of the file to the
// disk now, so that the fsync at its end finds little left to do. It is advice
// only: what it cannot do, the fsync does.
func startWriteBack(f *os.File, offset, length int64) {
	_ = unix.SyncFileRange(int(f.Fd()), offset, length, unix.SYNC_FILE_RANGE_WRITE)
}
