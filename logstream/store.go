package logstream

import "io"

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

// RecordStore is a Store that can look into the WAL that it keeps.
type RecordStore interface {
	// RecordsEnd is the end of the last whole record on timeline t, walking
	// from the start of the segment that holds from. It is not less than
	// from, also where there is no WAL.
	RecordsEnd(t TimelineID, from LSN) (LSN, error)
}

// ReadableStore is a Store that gives back what it keeps, so that a stream can be
// held against it.
type ReadableStore interface {
	// ReadSegment opens a segment for reading from its first byte on, as it was
	// written, and gives the name of the file. A complete one comes before a
	// partial one. The error is fs.ErrNotExist where there is none.
	ReadSegment(t TimelineID, n SegmentNumber) (content io.ReadCloser, name string, err error)

	// ReadHistory is the content of a history file, or fs.ErrNotExist.
	ReadHistory(t TimelineID) ([]byte, error)
}

// LostStore is a RecordStore that can set WAL aside which a failover lost.
type LostStore interface {
	RecordStore

	// SetAside takes the WAL of timeline t from the LSN from on out of the
	// segments, so that no recovery along that timeline comes upon it, and
	// keeps it in files of its own, which it names. to is the end of the last
	// record in it. Nothing is changed, and the error says why, where it is in
	// a complete segment. One of the segments may be open: then it is left
	// next, or written to up to from. It may be called again after a failure.
	SetAside(t TimelineID, from, to LSN) (files []string, err error)
}

// ImportStore is a Store that takes whole segments from elsewhere.
type ImportStore interface {
	// Import has fetch write a segment to a path, checks that it is one of
	// this cluster, and keeps it, durable under its last name. found is false
	// where fetch found none.
	Import(t TimelineID, n SegmentNumber, system uint64, fetch func(name, path string) (found bool, err error)) (found bool, err error)
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

	// Full says that the last byte was written; Seal follows, perhaps much
	// later. A Store that compresses begins to do so now. It returns at once.
	Full()

	// Seal returns when the whole segment is durable under its last name.
	Seal() error

	// Finish ends the last segment of a stream that reached the position it
	// was to stop at.
	Finish() error

	// Leave ends a segment that stays incomplete: the last one of a timeline
	// that was left, or of a stream that was broken off. It is durable when
	// Leave returns, and can be told from a complete one, unless the store is
	// one that a server starts on, whose recovery has to read it.
	Leave() error
}
