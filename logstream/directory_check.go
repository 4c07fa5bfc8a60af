package logstream

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// witnesses is how many of the newest segments are asked whose directory it is.
const witnesses = 8

// ForeignSegmentError says that a directory holds WAL that is not the server's:
// the file is of another cluster, or not the segment that its name says.
// Nothing was written.
type ForeignSegmentError struct {
	File string
	// System, SegmentSize and Begin are what the file's first page says, and
	// Named is where a segment of that size and the file's name begins.
	System      uint64
	SegmentSize SegmentSize
	Begin       Position
	Named       Position
	// ServerSystem and ServerSegmentSize are the server's.
	ServerSystem      uint64
	ServerSegmentSize SegmentSize
}

func (e *ForeignSegmentError) Error() string {
	var what []string
	if e.System != e.ServerSystem {
		what = append(what, fmt.Sprintf("it is of the cluster with system identifier %d, the server's is %d", e.System, e.ServerSystem))
	}
	if e.SegmentSize != e.ServerSegmentSize {
		what = append(what, fmt.Sprintf("its segments have %d bytes, the server's %d", e.SegmentSize, e.ServerSegmentSize))
	}
	if e.misnamed() {
		what = append(what, fmt.Sprintf("it begins at %s, its name says %s", e.Begin, e.Named))
	}
	return fmt.Sprintf("%s is not this server's WAL: %s", e.File, strings.Join(what, "; "))
}

func (e *ForeignSegmentError) misnamed() bool {
	return e.Begin.LSN != e.Named.LSN || e.Begin.Timeline > e.Named.Timeline
}

// Hint is advice for the person who sees the error.
func (e *ForeignSegmentError) Hint() string {
	return "Each cluster needs a directory of its own, also after pg_upgrade or a new initdb: give an empty one, or connect to the server that this directory is of."
}

// checkDirectory makes sure, before anything is written, that the newest
// segments in a directory are of a server's cluster: the long header of their
// first page says it, with the segment size and the place in the log. Its
// timeline may be an older one than the name's, for a timeline's first segment
// begins with a copy of its parent's. A file that is empty, or has no header
// that can be read, such as a partial one whose room was only reserved, says
// nothing.
func checkDirectory(dir string, s Server) error {
	names, err := fileNames(dir)
	if err != nil {
		return err
	}
	// Whatever the segment size is, its names are among those of the smallest.
	names = slices.DeleteFunc(names, func(name string) bool {
		_, ok := parseSegmentFile(name, MinSegmentSize)
		return !ok
	})
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(b[8:segmentNameLength], a[8:segmentNameLength]), cmp.Compare(b, a))
	})
	seen := 0
	for _, name := range names[:min(len(names), 8*witnesses)] {
		spoke, err := checkOwner(dir, name, s)
		if err != nil {
			return err
		}
		if spoke {
			if seen++; seen == witnesses {
				break
			}
		}
	}
	return nil
}

// checkOwner asks one file. spoke tells whether it said anything.
func checkOwner(dir, name string, s Server) (spoke bool, err error) {
	f, _ := parseSegmentFile(name, MinSegmentSize)
	r, err := f.Open(dir)
	if errors.Is(err, fs.ErrNotExist) || torn(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = r.Close() }() // only read from
	h, _, err := readSegmentHeader(r)
	if err != nil {
		var path *fs.PathError
		if errors.As(err, &path) {
			return false, err
		}
		return false, nil
	}
	e := &ForeignSegmentError{
		File: name, System: h.SystemID, SegmentSize: SegmentSize(h.SegmentSize),
		Begin:        Position{TimelineID(h.Timeline), LSN(h.Address)},
		ServerSystem: s.SystemIdentifier, ServerSegmentSize: s.SegmentSize,
	}
	if t, n, ok := e.SegmentSize.ParseFileName(name[:segmentNameLength]); ok {
		e.Named = Position{t, e.SegmentSize.Start(n)}
	}
	if e.System != e.ServerSystem || e.SegmentSize != e.ServerSegmentSize || e.misnamed() {
		return true, e
	}
	return true, nil
}
