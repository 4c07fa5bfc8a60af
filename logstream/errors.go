package logstream

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pgbraid/pgbraid/internal/replconn"
)

// StoreError says that the WAL could not be kept: the disk is full, or failed.
type StoreError struct{ Err error }

func (e *StoreError) Error() string { return "keeping WAL: " + e.Err.Error() }
func (e *StoreError) Unwrap() error { return e.Err }

// noRoom tells whether err is that of a full disk, or a quota.
func noRoom(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// WALMissingError says that the server no longer has WAL that is needed.
type WALMissingError struct {
	Segment  string // the file name of the first segment that is missing
	Position Position
	Err      error // what the server said
}

func (e *WALMissingError) Error() string {
	return fmt.Sprintf("server no longer has WAL segment %s, needed from %s: %v", e.Segment, e.Position, e.Err)
}
func (e *WALMissingError) Unwrap() error { return e.Err }

// Hint is advice for the person who sees the error.
func (e *WALMissingError) Hint() string {
	return "Stream from a replication slot, or raise wal_keep_size (wal_keep_segments before release 13) or max_slot_wal_keep_size on the server."
}

// ArchiveError says that the restore command failed: that is no answer whether
// the archive has the segment.
type ArchiveError struct {
	Segment string // the file name
	Err     error
}

func (e *ArchiveError) Error() string {
	return fmt.Sprintf("restore command for %s: %v", e.Segment, e.Err)
}
func (e *ArchiveError) Unwrap() error { return e.Err }

// Hint is advice for the person who sees the error.
func (e *ArchiveError) Hint() string {
	return "The command says by exit code 1 that the archive does not have a file. Any other failure is tried again."
}

// SystemMismatchError says that a connection leads to another cluster.
type SystemMismatchError struct{ Want, Got uint64 }

func (e *SystemMismatchError) Error() string {
	return fmt.Sprintf("server has system identifier %d, want %d: this is another cluster", e.Got, e.Want)
}

// TimelineError says that the server's history does not hold the position
// that the stream has to go on from.
type TimelineError struct {
	Position Position   // where the stream stands
	Server   TimelineID // the server's timeline
	Fork     LSN        // where the server's history left the stream's timeline; 0: it never was on it
}

func (e *TimelineError) Error() string {
	switch {
	case e.Server < e.Position.Timeline:
		return fmt.Sprintf("timeline %d is not present in the server, which is on timeline %d", e.Position.Timeline, e.Server)
	case e.Fork == 0:
		return fmt.Sprintf("timeline %d is not in the history of the server, which is on timeline %d", e.Position.Timeline, e.Server)
	default:
		return fmt.Sprintf("WAL up to %s was received, but the server left timeline %d at %s: it never had the rest",
			e.Position, e.Position.Timeline, e.Fork)
	}
}

// Hint is advice for the person who sees the error.
func (e *TimelineError) Hint() string {
	if e.Server < e.Position.Timeline {
		return "This server was not promoted, or is the old primary: connect to the one on the newest timeline (target_session_attrs=read-write). To go back to the old one for good, remove the newer timelines' files first."
	}
	return "The old primary wrote WAL that was lost in the failover, and segments with it are complete here. Keep this directory as it is for a look at what was lost, and go on with an empty directory and a new base backup."
}

// ErrTerminatedEarly says that the server ended the stream, as it does when it
// is shut down, before the position that was waited for.
var ErrTerminatedEarly = errors.New("replication stream was terminated before the stop point")

// permanent tells whether trying again can only give the same error. Of several
// servers each has to say so.
func permanent(err error) bool {
	var servers *replconn.ServersError
	if errors.As(err, &servers) {
		return servers.All(permanent)
	}
	var (
		store    *StoreError
		missing  *WALMissingError
		system   *SystemMismatchError
		timeline *TimelineError
		slot     *MissingSlotError
	)
	if errors.As(err, &store) || errors.As(err, &missing) || errors.As(err, &system) || errors.As(err, &timeline) || errors.As(err, &slot) || otherWAL(err) {
		return true
	}
	if errors.Is(err, replconn.ErrMalformed) {
		return true
	}
	switch sqlstate(err) {
	case sqlstateUndefinedObject, sqlstateInvalidated, sqlstateDuplicateObject:
		return true
	}
	return false
}

// otherWAL tells whether err says that this server's WAL is not the one that is
// kept: another server may have that.
func otherWAL(err error) bool {
	var (
		diverged *DivergedError
		broken   *BrokenChainError
		history  *HistoryMismatchError
	)
	return errors.As(err, &diverged) || errors.As(err, &broken) || errors.As(err, &history)
}

// The classes of errors that ErrorClass tells apart.
const (
	ClassConnection = "connection"  // the connection could not be made, or was lost
	ClassDiskFull   = "disk_full"   // no room, or no quota, to keep WAL
	ClassWALMissing = "wal_missing" // the server no longer has the WAL
	ClassTimeline   = "timeline"    // the server's history is another
	ClassSystem     = "system"      // the server is of another cluster
	ClassSlot       = "slot"        // the slot is missing, in use, or lost its WAL
	ClassAuth       = "auth"        // the server refused the user
	ClassProtocol   = "protocol"    // the server sent what is no valid message
	ClassArchive    = "archive"     // the restore command failed
	ClassOther      = "other"
)

// ErrorClass is the class of an error of a Receiver or an Archiver, one of the
// constants above, and "" for nil. It holds nothing of the error's text.
func ErrorClass(err error) string {
	var (
		store    *StoreError
		missing  *WALMissingError
		archive  *ArchiveError
		system   *SystemMismatchError
		timeline *TimelineError
		slot     *MissingSlotError
		foreign  *ForeignSegmentError
		network  net.Error
		connect  *pgconn.ConnectError
		servers  *replconn.ServersError
	)
	switch {
	case err == nil:
		return ""
	case errors.As(err, &servers):
		return serversClass(servers)
	case errors.As(err, &store):
		if noRoom(err) {
			return ClassDiskFull
		}
		return ClassOther
	case errors.As(err, &archive):
		return ClassArchive
	case errors.As(err, &missing):
		return ClassWALMissing
	case errors.As(err, &timeline), otherWAL(err):
		return ClassTimeline
	case errors.As(err, &system), errors.As(err, &foreign):
		return ClassSystem
	case errors.As(err, &slot):
		return ClassSlot
	}
	if code := sqlstate(err); code != "" {
		return sqlstateClass(code)
	}
	switch {
	case errors.Is(err, replconn.ErrMalformed):
		return ClassProtocol
	case errors.Is(err, replconn.ErrClosedByServer), errors.Is(err, ErrTerminatedEarly),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, os.ErrDeadlineExceeded),
		errors.Is(err, net.ErrClosed), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET),
		errors.As(err, &network), errors.As(err, &connect):
		return ClassConnection
	}
	return ClassOther
}

// serversClass is the class of what keeps the servers of a list from being
// used: of the first one that may still be, else of the first.
func serversClass(e *replconn.ServersError) string {
	for _, s := range e.List {
		if !permanent(s.Err) {
			return ErrorClass(s.Err)
		}
	}
	return ErrorClass(e.List[0].Err)
}

// sqlstateClass is the class of an error that the server sent (PostgreSQL
// manual, "PostgreSQL Error Codes").
func sqlstateClass(code string) string {
	switch code {
	case sqlstateUndefinedFile:
		return ClassWALMissing
	case sqlstateUndefinedObject, sqlstateDuplicateObject, sqlstateInUse, sqlstateInvalidated,
		"53400": // max_replication_slots
		return ClassSlot
	case "42501": // no right to replicate
		return ClassAuth
	case "08P01":
		return ClassProtocol
	case "53300", // too many connections
		"57P01", "57P02", "57P03", "57P05": // shutting down, crashed, starting, idle
		return ClassConnection
	}
	switch code[:min(2, len(code))] {
	case "28":
		return ClassAuth
	case "08":
		return ClassConnection
	}
	return ClassOther
}
