package walread

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Source gives the bytes of the write-ahead log.
//
// ReadWAL fills p with the bytes from lsn on and returns how many it gave.
// Fewer than len(p) come with an error, which is io.EOF where the source has
// no more WAL; p must not be kept. A Reader asks for at most 1 MiB and never
// across the start of a segment.
type Source interface {
	ReadWAL(p []byte, lsn uint64) (n int, err error)
}

// SegmentFile is one segment as Segments reads it.
type SegmentFile interface {
	io.ReaderAt
	io.Closer
}

// Segments is a Source over segments that are opened by number. It holds one
// of them open at a time. It must not be used by several goroutines at once.
type Segments struct {
	size uint64
	open func(segno uint64) (SegmentFile, error)
	file SegmentFile
	held uint64 // number of the segment that file is
}

// NewSegments makes a Source over segments of segmentSize bytes, a power of
// two from 1 MiB to 1 GiB. open is called with the segment's number, its
// first LSN divided by the segment size, and returns an error that is
// fs.ErrNotExist where there is no such segment; a segment may be shorter
// than segmentSize when its end was not received yet. What open gives may
// decompress, or be of different timelines. The caller must Close the
// Segments.
func NewSegments(segmentSize uint32, open func(segno uint64) (SegmentFile, error)) (*Segments, error) {
	if !validSegmentSize(segmentSize) {
		return nil, fmt.Errorf("WAL segment size %d: want a power of two from 1 MiB to 1 GiB", segmentSize)
	}
	return &Segments{size: uint64(segmentSize), open: open}, nil
}

// NewDirSource makes a Source over the plain segment files of one timeline in
// a directory. Where a segment is not there under its own name, the name with
// ".partial" is tried, which is what pg_receivewal calls the one that it is
// receiving.
func NewDirSource(dir string, timeline, segmentSize uint32) (*Segments, error) {
	return NewSegments(segmentSize, func(segno uint64) (SegmentFile, error) {
		name := filepath.Join(dir, segmentFileName(timeline, segmentSize, segno))
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			f, err = os.Open(name + ".partial")
		}
		if err != nil {
			return nil, err // not f: a nil *os.File in an interface is not nil
		}
		return f, nil
	})
}

// segmentFileName is XLogFileName of PostgreSQL's xlog_internal.h.
func segmentFileName(timeline, segmentSize uint32, segno uint64) string {
	per := (uint64(1) << 32) / uint64(segmentSize)
	return fmt.Sprintf("%08X%08X%08X", timeline, uint32(segno/per), uint32(segno%per))
}

// ReadWAL implements Source. It gives io.EOF at the end of the last segment
// that is there, and at a gap.
func (s *Segments) ReadWAL(p []byte, lsn uint64) (int, error) {
	done := 0
	for done < len(p) {
		at := lsn + uint64(done)
		if err := s.hold(at / s.size); err != nil {
			return done, err
		}
		offset := at % s.size
		part := p[done:]
		if left := s.size - offset; uint64(len(part)) > left {
			part = part[:left]
		}
		n, err := s.file.ReadAt(part, int64(offset))
		done += n
		if n < len(part) {
			if err == nil {
				err = io.ErrNoProgress
			}
			return done, err
		}
	}
	return done, nil
}

// hold makes segno the open segment.
func (s *Segments) hold(segno uint64) error {
	if s.file != nil && s.held == segno {
		return nil
	}
	if err := s.Close(); err != nil {
		return err
	}
	f, err := s.open(segno)
	if errors.Is(err, fs.ErrNotExist) {
		return io.EOF
	}
	if err != nil {
		return err
	}
	s.file, s.held = f, segno
	return nil
}

// Close closes the segment that is open. The Segments can be used again after
// it.
func (s *Segments) Close() error {
	if s.file == nil {
		return nil
	}
	f := s.file
	s.file = nil
	return f.Close()
}
