package logstream

// Store keeps segments and history files. A Receiver calls it from one
// goroutine; the Segments that it gave are written to from that goroutine and
// synced, sealed or left from another.
type Store interface {
	// OpenSegment makes the segment ready to be written from its first byte
	// on. A partial one of an earlier run is written over, not emptied: what
	// it holds may be all that is left of these bytes.
	OpenSegment(t TimelineID, n SegmentNumber) (Segment, error)

	// HasHistory tells whether the history file of a timeline is there.
	HasHistory(t TimelineID) (bool, error)

	// WriteHistory keeps a history file, durable when it returns, whole or
	// not at all.
	WriteHistory(t TimelineID, content []byte) error
}

// Segment is one segment being written. After Seal, Finish or Leave it must
// not be used.
type Segment interface {
	// WriteAt writes p at an offset in bytes from the segment's start. p is
	// not kept. It may be called while Sync runs.
	WriteAt(p []byte, offset int64) (int, error)

	// Sync returns when what was written before the call is durable, under
	// the name of a partial segment.
	Sync() error

	// Seal returns when the whole segment is durable under its last name.
	Seal() error

	// Finish ends the last segment of a stream that reached the position it
	// was to stop at.
	Finish() error

	// Leave ends a segment that stays incomplete: the last one of a timeline
	// that was left, or of a stream that was broken off. It is durable and
	// keeps the name of a partial segment.
	Leave() error
}
