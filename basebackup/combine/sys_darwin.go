package combine

import (
	"os"

	"github.com/pgbraid/pgbraid/internal/durable"
	"golang.org/x/sys/unix"
)

const hasClone = true

// cloneFile makes a file that shares the blocks of another one.
func cloneFile(path string, from *os.File, _ func(string) (*durable.File, error)) error {
	return unix.Clonefile(from.Name(), path, unix.CLONE_NOFOLLOW)
}
