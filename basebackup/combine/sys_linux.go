package combine

import (
	"errors"
	"os"

	"github.com/pgbraid/pgbraid/internal/durable"
	"golang.org/x/sys/unix"
)

const (
	hasClone     = true
	hasCopyRange = true
)

// cloneFile makes a file that shares the blocks of another one.
func cloneFile(path string, from *os.File, create func(path string) (*durable.File, error)) error {
	f, err := create(path)
	if err != nil {
		return err
	}
	err = unix.IoctlFileClone(int(f.Fd()), int(from.Fd()))
	return errors.Join(err, f.Close())
}

// copyFileRange has the kernel copy bytes that begin at an offset to where
// another file is. It may copy fewer than asked for.
func copyFileRange(to *durable.File, from *os.File, at, length int64) (int64, error) {
	for {
		n, err := unix.CopyFileRange(int(from.Fd()), &at, int(to.Fd()), nil, int(length), 0)
		if !errors.Is(err, unix.EINTR) {
			return int64(n), err
		}
	}
}
