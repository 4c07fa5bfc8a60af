package logstream

import "fmt"

// DivergedError says that the server has other WAL than what was received
// before, up to a position that both have: their histories parted, although
// system identifier and timeline are the same. Nothing that was there was
// changed.
type DivergedError struct {
	// File holds the WAL that was received before.
	File string
	// Differs is the LSN of the first byte that differs.
	Differs LSN
	// Stored is where what was received ends, Server the end of the server's
	// WAL on the timeline that it is on; zero for a segment from an archive.
	Stored, Server Position
	// System is the system identifier of both.
	System uint64
}

func (e *DivergedError) Error() string {
	if e.Server.Timeline == 0 {
		return fmt.Sprintf("WAL differs from %s on: %s, which holds WAL up to %s, has other WAL there than this file, and the same system identifier %d",
			e.Differs, e.File, e.Stored, e.System)
	}
	return fmt.Sprintf("WAL differs from %s on: %s, which holds WAL up to %s, was received from a server that had other WAL there than this one, "+
		"which is at %s; both have the system identifier %d", e.Differs, e.File, e.Stored, e.Server, e.System)
}

// Hint is advice for the person who sees the error.
func (e *DivergedError) Hint() string {
	return "Two servers were promoted from the same place, or this one was set back to an earlier state (a snapshot, a restored backup). Connect to the server whose WAL is in the directory. If that is gone, keep this directory as it is, and go on with an empty one and a new base backup."
}

// BrokenChainError says that what the server sent is no WAL that goes on from
// the WAL before it. The segment stays incomplete.
type BrokenChainError struct {
	// Segment is the file name of the segment.
	Segment string
	// Position is where the piece that holds the fault begins.
	Position Position
	// Server is where the server said its WAL ends; zero for a segment from an
	// archive.
	Server Position
	// System is the system identifier of both.
	System uint64
	Err    error // where the chain breaks, and how
}

func (e *BrokenChainError) Error() string {
	if e.Server.Timeline == 0 {
		return fmt.Sprintf("segment %s does not continue the WAL before it: %v", e.Segment, e.Err)
	}
	return fmt.Sprintf("segment %s: what the server sent (at %s, system identifier %d) does not continue the WAL before it: %v",
		e.Segment, e.Server, e.System, e.Err)
}
func (e *BrokenChainError) Unwrap() error { return e.Err }

// Hint is advice for the person who sees the error.
func (e *BrokenChainError) Hint() string {
	return "Either the server has another history than the one whose WAL is in the directory, or its WAL is damaged: read it there with pg_waldump. pgbraid status --check tells whether the directory is sound up to here."
}

// HistoryMismatchError says that the history of a timeline that was kept before
// is another than the server's: its timeline has the same number, and began
// elsewhere.
type HistoryMismatchError struct {
	Timeline       TimelineID
	Stored, Server History
}

func (e *HistoryMismatchError) Error() string {
	return fmt.Sprintf("timeline %d descends from %s in %s, and from %s on the server: these are two timelines with one number",
		e.Timeline, e.Stored.forks(), e.Timeline.HistoryFileName(), e.Server.forks())
}

// Hint is advice for the person who sees the error.
func (e *HistoryMismatchError) Hint() string {
	return "Two servers were promoted to timelines of the same number. Connect to the one whose WAL is in the directory, or use another directory."
}
