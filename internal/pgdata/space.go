package pgdata

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pgbraid/pgbraid/internal/durable"
	"github.com/pgbraid/pgbraid/internal/progress"
)

// Need is how much is going to be written to a directory, which need not be
// there yet.
type Need struct {
	Path  string
	Bytes int64
}

// Room is what the directories on one file system need, and what it has.
type Room struct {
	// Path is the first of the directories.
	Path string
	// Need and Free are in bytes.
	Need, Free int64
	// Certain says that what needs more than there is will not find room.
	Certain bool
}

// Short tells whether there is less room than is needed.
func (r Room) Short() bool { return r.Need > r.Free }

// Shortage is the error for a file system that has too little room.
func (r Room) Shortage() *SpaceError { return &SpaceError{r} }

// SpaceError says that what is to be written does not fit.
type SpaceError struct{ Room }

func (e *SpaceError) Error() string {
	return fmt.Sprintf("not enough space for %q: its file system has %s free (%d bytes), and at least %s are needed (%d bytes)",
		e.Path, progress.Bytes(e.Free), e.Free, progress.Bytes(e.Need), e.Need)
}

// Hint is advice for the person who sees the error.
func (e *SpaceError) Hint() string {
	return "Nothing was copied yet. Make room there, or put a part of it elsewhere."
}

// Rooms adds up what is needed on each file system. Where the system does not
// tell what is free, there is no Room.
func Rooms(needs []Need) ([]Room, error) {
	var list []Room
	index := map[uint64]int{}
	for _, n := range needs {
		space, err := durable.FreeSpace(existing(n.Path))
		if errors.Is(err, errors.ErrUnsupported) {
			continue
		}
		if err != nil {
			return nil, err
		}
		i, known := index[space.Device]
		if !known {
			i = len(list)
			index[space.Device] = i
			list = append(list, Room{Path: n.Path, Free: space.Free, Certain: space.Certain})
		}
		list[i].Need += n.Bytes
	}
	return list, nil
}

// existing is the deepest directory of a path that is there.
func existing(path string) string {
	for {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}
