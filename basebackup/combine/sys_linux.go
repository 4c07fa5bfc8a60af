package combine

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

const (
	hasClone     = true
	hasCopyRange = true
)

// cloneFile makes a file that shares the blocks of another one.
func cloneFile(path string, from *os.File, create func(path string) (*os.File, error)) error {
	f, err := create(path)
	if err != nil {
		return err
	}
	err = unix.IoctlFileClone(int(f.Fd()), int(from.Fd()))
	return errors.Join(err, f.Close())
}

// copyFileRange has the kernel copy bytes that begin at an offset to where
// another file is. It may copy fewer than asked for.
func copyFileRange(to, from *os.File, at, length int64) (int64, error) {
	for {
		n, err := unix.CopyFileRange(int(from.Fd()), &at, int(to.Fd()), nil, int(length), 0)
		if !errors.Is(err, unix.EINTR) {
			return int64(n), err
		}
	}
}
