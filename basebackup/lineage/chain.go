// Package lineage tells whether backups follow one another: a full one, then
// each incremental one (release 17 and later) on top of the one before it.
package lineage

import (
	"fmt"
	"path/filepath"

	"github.com/pgbraid/pgbraid/internal/controlfile"
)

// Link is what one backup says of itself.
type Link struct {
	Directory string
	// Major is the release in its PG_VERSION, such as 17.
	Major   int
	Control controlfile.Control
	Label   Label
}

func (l *Link) path(name string) string { return filepath.Join(l.Directory, filepath.FromSlash(name)) }

// Error says that backups do not follow one another.
type Error struct {
	// Directory is the backup that does not fit.
	Directory string
	cause     string
}

func (e *Error) Error() string { return fmt.Sprintf("backup at \"%s\" %s", e.Directory, e.cause) }

// Hint is advice for the person who sees the error.
func (e *Error) Hint() string {
	return "Give the full backup first, then every incremental one on top of it, in the order in which they were taken."
}

// CheckCluster makes sure that all links are of one cluster. There must be at
// least one.
func CheckCluster(links []Link) error {
	const controlFile, versionFile = "global/pg_control", "PG_VERSION"
	last := &links[len(links)-1]
	for i := range links {
		in := &links[i]
		path := in.path(controlFile)
		switch {
		case in.Control.SystemIdentifier != last.Control.SystemIdentifier:
			return fmt.Errorf("%s: expected system identifier %d, but found %d",
				path, last.Control.SystemIdentifier, in.Control.SystemIdentifier)
		case in.Major != last.Major:
			return fmt.Errorf("%s: expected version %d, but found %d", in.path(versionFile), last.Major, in.Major)
		case in.Control.Version != last.Control.Version || in.Control.CatalogVersion != last.Control.CatalogVersion:
			return fmt.Errorf("%s: unexpected control file version", path)
		case in.Control.BlockSize != last.Control.BlockSize || in.Control.SegmentBlocks != last.Control.SegmentBlocks:
			return fmt.Errorf("%s: expected blocks of %d bytes and %d to a file, but found %d and %d", path,
				last.Control.BlockSize, last.Control.SegmentBlocks, in.Control.BlockSize, in.Control.SegmentBlocks)
		}
	}
	return nil
}

// MixedChecksums tells whether the last link has page checksums and another
// one has not.
func MixedChecksums(links []Link) bool {
	last := links[len(links)-1].Control.ChecksumVersion
	for _, in := range links {
		if last != 0 && in.Control.ChecksumVersion != last {
			return true
		}
	}
	return false
}

// CheckOrder makes sure that the first link is a full backup, and that each
// starts where the next one says that it is on top of. What does not fit is an
// *Error.
func CheckOrder(links []Link) error {
	for i := len(links) - 1; i >= 0; i-- {
		in := &links[i]
		fail := func(format string, args ...any) error { return &Error{in.Directory, fmt.Sprintf(format, args...)} }
		switch {
		case i > 0 && !in.Label.Incremental():
			return fail("is a full backup, but only the first backup should be a full backup")
		case i == 0 && in.Label.Incremental():
			return fail("is an incremental backup, but the first backup should be a full backup")
		case i == len(links)-1:
			continue
		}
		want := links[i+1].Label.From
		if in.Label.Start.Timeline != want.Timeline {
			return fail("starts on timeline %d, but expected %d", in.Label.Start.Timeline, want.Timeline)
		}
		if in.Label.Start.LSN != want.LSN {
			return fail("starts at LSN %s, but expected %s", in.Label.Start.LSN, want.LSN)
		}
	}
	return nil
}
