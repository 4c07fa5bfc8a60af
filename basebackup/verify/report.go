package verify

import (
	"fmt"
	"syscall"
	"time"

	"github.com/pgbraid/pgbraid/basebackup/lineage"
	"github.com/pgbraid/pgbraid/internal/controlfile"
	"github.com/pgbraid/pgbraid/logstream"
)

var errNotDirectory = syscall.ENOTDIR

// OpenDirectory is the operation in the [fs.PathError] of an Unreadable
// directory that could not be opened; that of a file is "open".
const OpenDirectory = "opendir"

// Kind says what is wrong.
type Kind int

// The kinds, in the order of a report.
const (
	// DamagedManifest says that the manifest is none, or not what was written:
	// nothing else was looked at.
	DamagedManifest Kind = iota
	// DuplicateFile says that a file is twice in the archives, or in the
	// manifest: nothing else was looked at then.
	DuplicateFile
	// DamagedControlFile says that pg_control cannot be believed.
	DamagedControlFile
	// ForeignSystem says that pg_control is another cluster's.
	ForeignSystem
	// DamagedArchive says that a tar file cannot be read to its end. Files
	// after the damage are neither missing nor good.
	DamagedArchive
	// ArchiveEnd says that a tar file is cut short after its last member, or
	// that something follows its end. The members are what they are.
	ArchiveEnd
	// Unreadable says that the system refused a file or directory.
	Unreadable
	// NotRegular says that something is neither a file nor a directory.
	NotRegular
	// MissingDirectory says that a directory is not there that has no files in
	// the manifest, and that a server needs all the same.
	MissingDirectory
	// MissingFile says that a file of the manifest is not there.
	MissingFile
	// SizeMismatch says that a file has another size than in the manifest.
	SizeMismatch
	// ChecksumMismatch says that a file has another content.
	ChecksumMismatch
	// DamagedPages says that a file has pages that no server would read.
	DamagedPages
	// ExtraFile says that a file is there and not in the manifest.
	ExtraFile
	// UnexpectedFile says that a file beside the archives is none of them.
	UnexpectedFile
	// MissingHistory says that the history file is not there without which no
	// server follows the log from timeline to timeline.
	MissingHistory
	// MissingWAL says that a segment is not there.
	MissingWAL
	// TornWAL says that a record begins that is not there to its end.
	TornWAL
	// DamagedWAL says that bytes of the log contradict its format, or are of
	// another cluster or timeline.
	DamagedWAL
)

var kindNames = [...]string{
	"damaged manifest", "duplicate file", "damaged pg_control", "foreign cluster", "damaged archive", "archive end", "unreadable", "not a regular file",
	"missing directory", "missing file", "size mismatch", "checksum mismatch", "damaged pages", "extra file", "unexpected file", "missing history", "missing WAL", "torn WAL", "damaged WAL",
}

// String names the kind, such as "checksum mismatch".
func (k Kind) String() string { return kindNames[k] }

// WAL tells whether the kind is one of the log.
func (k Kind) WAL() bool { return k >= MissingHistory }

// Problem is one thing that is wrong with a backup.
type Problem struct {
	Kind Kind
	// Path is the file's, relative to the data directory; that of a file
	// beside the archives of a tar set; a segment's name; or the manifest's as
	// it was opened.
	Path string
	// Archive is the name of the tar file that the file is in; else "".
	Archive string
	// Member is the file's name in Archive as it stands there, for what is
	// found in its header; else "".
	Member string
	// Size and Want are what a file has and should have, in bytes, or its
	// system identifiers with ForeignSystem. Want is that of a MissingFile too.
	Size, Want int64
	// Timeline and LSN are where the log stops being good, or whose history is
	// missing.
	Timeline logstream.TimelineID
	LSN      logstream.LSN
	// Err is the cause, or nil where the kind says all.
	Err error
}

// Detail says more than kind and path do; it may be empty.
func (p Problem) Detail() string {
	switch p.Kind {
	case SizeMismatch:
		return fmt.Sprintf("has %d bytes, the manifest %d", p.Size, p.Want)
	case ForeignSystem:
		return fmt.Sprintf("its system identifier is %d, the manifest's %d", uint64(p.Size), uint64(p.Want))
	case MissingHistory:
		return fmt.Sprintf("a server cannot follow the log to timeline %d", p.Timeline)
	case MissingWAL, TornWAL, DamagedWAL:
		return fmt.Sprintf("timeline %d, good up to %s: %v", p.Timeline, p.LSN, p.Err)
	}
	if p.Err != nil {
		return p.Err.Error()
	}
	return ""
}

// String gives kind, path, archive and detail.
func (p Problem) String() string {
	text := fmt.Sprintf("%s: %s", p.Kind, p.Path)
	if p.Archive != "" {
		text += " in " + p.Archive
	}
	if d := p.Detail(); d != "" {
		text += ": " + d
	}
	return text
}

// Range is a stretch of the log that the backup needs.
type Range struct {
	Timeline   logstream.TimelineID
	Start, End logstream.LSN
	// Reached is the end of the last good record, or Start.
	Reached logstream.LSN
	// Last is where the last good record begins; 0 where there is none.
	Last    logstream.LSN
	Records int64
	// Good says that every record from Start to End is.
	Good bool
}

// Report is what was found.
type Report struct {
	Directory       string
	Format          Format
	ManifestVersion int
	// SystemIdentifier is 0 for manifests of version 1.
	SystemIdentifier uint64
	// Major is the release in PG_VERSION, such as 17; 0 where that cannot be
	// read.
	Major int
	// Label is what backup_label says: where the backup starts, and of an
	// incremental one where the backup starts that it is on top of. It is nil
	// where the file is not there or makes no sense.
	Label *lineage.Label
	// Files is how many the manifest lists. Good are those with nothing
	// wrong, Ignored those that were to be passed over.
	Files, Good, Ignored int
	// Bytes is how much of the files' content was read.
	Bytes int64
	// Ranges are the manifest's, the newest timeline first.
	Ranges                       []Range
	ChecksumsSkipped, WALSkipped bool
	// Pages is what was found of data pages.
	Pages PageReport
	// Problems are sorted by kind and path.
	Problems []Problem
	Duration time.Duration

	files   *table
	control *controlfile.Control // nil where it could not be read
}

// OK tells whether nothing is wrong.
func (r *Report) OK() bool { return len(r.Problems) == 0 }

// Counts gives how many problems of each kind there are.
func (r *Report) Counts() map[Kind]int {
	counts := map[Kind]int{}
	for _, p := range r.Problems {
		counts[p.Kind]++
	}
	return counts
}
