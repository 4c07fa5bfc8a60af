package combine

import (
	"context"
	"fmt"
	"hash"
	"io"
	"os"
)

// ahead is how many bytes of a source are read at a time, at most.
const ahead = 256 << 10

// source is a file of an input that bytes of the result come from.
//
// Where there is a checksum to hold it against, it is read once, in order and
// completely: what is used and what is checked are the same bytes, also if
// somebody changes the file meanwhile.
type source struct {
	input  int    // its place in the chain
	name   string // relative to the data directory
	path   string
	file   *os.File
	size   int64
	header *header // nil: the file is complete

	sum  hash.Hash // nil: there is nothing to hold it against
	want string
	at   int64  // how many bytes went into sum
	next []byte // what comes after these, in buf
	buf  []byte
}

// ReadAt is part of io.ReaderAt. The bytes of a source that is checked must be
// asked for in their order; those between are read too.
func (s *source) ReadAt(b []byte, at int64) (int, error) {
	return len(b), s.read(context.Background(), b, at)
}

// read is ReadAt for all of b.
func (s *source) read(ctx context.Context, b []byte, at int64) error {
	if s.sum == nil {
		return s.fault(readFull(s.file, b, at))
	}
	if err := s.pass(ctx, at); err != nil {
		return err
	}
	for len(b) > 0 {
		if len(s.next) == 0 && len(b) >= ahead {
			if err := readFull(s.file, b, s.at); err != nil {
				return s.fault(err)
			}
			s.checked(b)
			return nil
		}
		if err := s.load(ahead); err != nil {
			return err
		}
		n := copy(b, s.next)
		s.checked(b[:n])
		b = b[n:]
	}
	return nil
}

// pass goes on to a place without using what comes before it.
func (s *source) pass(ctx context.Context, to int64) error {
	for s.sum != nil && s.at < to {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := s.load(to - s.at); err != nil {
			return err
		}
		s.checked(s.next[:min(int64(len(s.next)), to-s.at)])
	}
	return nil
}

// load makes sure that there is a next byte. It reads so many at most.
func (s *source) load(most int64) error {
	if len(s.next) > 0 {
		return nil
	}
	if s.buf == nil {
		s.buf = make([]byte, ahead)
	}
	n, err := s.file.ReadAt(s.buf[:min(most, ahead)], s.at)
	s.next = s.buf[:n]
	switch {
	case n > 0:
		return nil
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	return s.fault(err)
}

// checked notes that the next bytes are these, from wherever they were read.
func (s *source) checked(b []byte) {
	if s.sum == nil {
		return
	}
	s.sum.Write(b) // never fails
	s.at += int64(len(b))
	s.next = s.next[min(len(b), len(s.next)):]
}

// finish reads the rest, and compares the source with its manifest.
func (s *source) finish(ctx context.Context) error {
	if err := s.pass(ctx, s.size); err != nil || s.sum == nil {
		return err
	}
	if s.at != s.size || string(s.sum.Sum(nil)) != s.want {
		return &DamageError{Path: s.path, Kind: ChecksumDiffers}
	}
	return nil
}

func (s *source) fault(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("could not read file \"%s\": %w", s.path, err)
}
