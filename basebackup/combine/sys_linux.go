package combine

import (
	"errors"
	"os"

	"github.com/pgbraid/pgbraid/internal/durable"
	"golang.org/x/sys/unix"
)

const hasClone = true

// cloneFile makes a file that shares the blocks of another one.
func cloneFile(path string, from *os.File, create func(path string) (*durable.File, error)) error {
	f, err := create(path)
	if err != nil {
		return err
	}
	err = unix.IoctlFileClone(int(f.Fd()), int(from.Fd()))
	return errors.Join(err, f.Close())
}
