//go:build unix

package logstream

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// lockName is the file that keeps a second receiver out of a directory. It
// stays there; what counts is the lock on it, which ends with the process.
const lockName = ".pgbraid.lock"

// directoryLock is held by the one receiver of a directory.
type directoryLock struct{ file *os.File }

// lockDirectory takes the lock. That somebody else has it is an error that
// names the process.
func lockDirectory(dir string) (*directoryLock, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		holder, _ := io.ReadAll(io.LimitReader(f, 20)) // only for the message
		_ = f.Close()                                  // only read from
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("directory %q is in use by another receiver (process %s)", dir, strings.TrimSpace(string(holder)))
		}
		return nil, fmt.Errorf("locking directory %q: %w", dir, err)
	}
	// The process ID is for people; that it cannot be written is no reason
	// not to receive, least of all on a full disk.
	if f.Truncate(0) == nil {
		_, _ = fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	return &directoryLock{f}, nil
}

func (l *directoryLock) release() error { return l.file.Close() }
