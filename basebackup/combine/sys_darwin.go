package combine

import (
	"errors"
	"os"

	"github.com/pgbraid/pgbraid/internal/durable"
	"golang.org/x/sys/unix"
)

const (
	hasClone     = true
	hasCopyRange = false
)

// cloneFile makes a file that shares the blocks of another one.
func cloneFile(path string, from *os.File, _ func(string) (*durable.File, error)) error {
	return unix.Clonefile(from.Name(), path, unix.CLONE_NOFOLLOW)
}

// copyFileRange is not to be had on this system.
func copyFileRange(_ *durable.File, _ *os.File, _, _ int64) (int64, error) {
	return 0, errors.ErrUnsupported
}
