//go:build unix

package durable

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// LockDir takes the lock on an open directory, whatever its name, until the file
// is closed or the process ends. ErrLocked says that somebody else has it, and
// errors.ErrUnsupported that the file system has no such locks. On NFS the lock
// holds for the processes of this machine.
func LockDir(dir *os.File) error {
	for {
		err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EWOULDBLOCK):
			return ErrLocked
		case errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL),
			errors.Is(err, unix.ENOLCK), errors.Is(err, unix.EBADF):
			return errors.ErrUnsupported
		}
		return &os.PathError{Op: "flock", Path: dir.Name(), Err: err}
	}
}
