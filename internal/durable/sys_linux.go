package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Allocate reserves size bytes of disk for a new file, so that a full disk
// shows here and not in the middle of a segment. The bytes read as zeros.
// Where the file system cannot do that, the file is only given its length.
// After an error the file has the room that it had before.
func Allocate(f *File, size int64) error {
	if err := refused(Change{Op: OpResize, File: f, Path: f.path, Offset: size}); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	err = retried(func() error { return unix.Fallocate(int(f.Fd()), 0, 0, size) })
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return f.Truncate(size)
	}
	if err != nil {
		// ext4 keeps what it got, all that there was: others need it.
		return errors.Join(pathError("fallocate", f, err), f.Truncate(info.Size()))
	}
	return nil
}

// SyncData makes a file's bytes durable, and of its metadata what reading
// them needs.
func SyncData(f *File) error {
	if err := refused(Change{Op: OpSync, File: f, Path: f.path}); err != nil {
		return err
	}
	return pathError("fdatasync", f, retried(func() error { return unix.Fdatasync(int(f.Fd())) }))
}

// retried makes a system call again that a signal interrupted.
func retried(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func pathError(op string, f *File, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: f.Name(), Err: err}
}

// Unnamed makes a file in a directory that has no name there until Link gives it
// one, and is gone with the process before that. Some file systems cannot do
// that.
func Unnamed(dir string, mode fs.FileMode) (*File, error) {
	return OpenFile(dir, os.O_RDWR|unnamedFlag, mode)
}

const unnamedFlag = unix.O_TMPFILE

// Link gives a file of Unnamed its name, which must not be taken. The name is
// not durable before the directory is synced.
func Link(f *File, path string) error {
	from := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	if err := refused(Change{Op: OpLink, File: f, Path: f.path, To: path}); err != nil {
		return err
	}
	if err := unix.Linkat(unix.AT_FDCWD, from, unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW); err != nil {
		return &os.LinkError{Op: "linkat", Old: from, New: path, Err: err}
	}
	made(path)
	// Errors tell the name from now on. Without a second descriptor they go on
	// telling the directory's.
	if fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0); err == nil {
		_ = f.File.Close() // the file stays open
		f.File, f.path = os.NewFile(uintptr(fd), path), path
	}
	return nil
}

// HasCopyRange tells whether this system's kernel can copy between files.
const HasCopyRange = true

// CopyRange has the kernel copy bytes that begin at an offset in one file to
// where another one is. It may copy fewer than asked for.
func CopyRange(to *File, from *os.File, at, length int64) (n int64, err error) {
	if watched() {
		return io.Copy(to, io.NewSectionReader(from, at, length))
	}
	err = retried(func() error {
		copied, err := unix.CopyFileRange(int(from.Fd()), &at, int(to.Fd()), nil, int(length), 0)
		n = int64(copied)
		return err
	})
	return n, err
}

// startWriteBack asks the kernel to begin writing a range of the file to the
// disk now, so that the fsync at its end finds little left to do. It is advice
// only: what it cannot do, the fsync does.
func startWriteBack(f *File, offset, length int64) {
	_ = unix.SyncFileRange(int(f.Fd()), offset, length, unix.SYNC_FILE_RANGE_WRITE)
}

// HasSyncFS tells whether this system can sync a whole file system.
const HasSyncFS = true

func syncfs(f *os.File) error {
	return retried(func() error { return unix.Syncfs(int(f.Fd())) })
}

// hasDirect tells whether this system can write past the page cache.
const hasDirect = true

// setDirect makes writes to f go past the page cache, or not, and tells whether
// the file system can do that.
func setDirect(f *File, on bool) bool {
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
