package walread

import (
	"errors"
	"fmt"
)

// FirstRecord finds the first position at or after from where a record begins
// or, at the very end of the WAL, would begin. It reads the page that holds
// from: a record that goes on from an earlier page is skipped by the length
// that the page header gives, unchecked, and the records up to from are
// checked. The result is fit for NewReader; it may be the start of a page, or
// of a record that the server gave up, where Next gives the one after it. If valid WAL ends before from, or
// inside the record that is skipped, the error is an *EndError; its LSN is from
// where nothing better is known.
func FirstRecord(src Source, from uint64, opts Options) (uint64, error) {
	if from >= maxLSN {
		return 0, fmt.Errorf("WAL position %s: no record can begin here", formatLSN(from))
	}
	r, err := NewReader(src, from&^(minPageSize-1), opts)
	if err != nil {
		return 0, err
	}
	f, err := r.begin()
	if f != nil || err != nil {
		return 0, lead(r.stop(f, err, Clean), from)
	}
	if err := r.skipContinuation(from &^ (r.pageSize - 1)); err != nil {
		return 0, lead(err, from)
	}
	for r.pos < from {
		rec, err := r.Next()
		if err != nil {
			return 0, err
		}
		if rec.LSN >= from {
			return rec.LSN, nil
		}
	}
	return r.pos, nil
}

// lead gives an end that was met before any record the LSN from.
func lead(err error, from uint64) error {
	if end, ok := errors.AsType[*EndError](err); ok {
		end.LSN = from
	}
	return err
}

// skipContinuation moves to the first record that begins on the page at LSN
// at, or on a later one when the record before fills that page.
func (r *Reader) skipContinuation(at uint64) error {
	absent := Clean
	for ; at < maxLSN; at += r.pageSize {
		r.pos = at
		if f, err := r.load(at); f != nil || err != nil {
			return r.stop(f, err, absent)
		}
		if r.header.Flags&FlagContinuation == 0 {
			return nil
		}
		left := uint64(r.header.Remaining)
		if left == 0 || left > maxRecordLength {
			return r.cutOr(faultf(BadContinuation, at, "%d bytes left", left), at+shortHeaderSize)
		}
		have := uint64(len(r.page))
		if have < min(r.headerSize+left, r.pageSize) {
			return r.end(&fault{reason: SourceEnd, at: at + have}, Torn)
		}
		if left = align(left); left <= r.pageSize-r.headerSize {
			r.pos = at + r.headerSize + left
			return nil
		}
		absent = Torn
	}
	return r.end(faultf(BadPage, at, "position is out of range"), Invalid)
}

// Reach is what EndOfWAL found.
type Reach struct {
	Start   uint64    // where the first record begins, or would begin
	End     uint64    // end of the last valid record, or Start if there is none
	Last    Record    // the last valid record; zero if there is none
	Records uint64    // how many were walked
	Stop    *EndError // why the WAL ends there; never nil
}

// EndOfWAL walks the log from the first record at or after from and tells how
// far it goes. Bytes that lie in the source beyond the last valid record
// (zeros, recycled pages, a torn record) do not count; Stop tells which. After
// a segment switch the end is the next segment's start. An error is ErrByteOrder,
// the source's, or says that an argument cannot be; the end of the WAL is none.
func EndOfWAL(src Source, from uint64, opts Options) (Reach, error) {
	start, err := FirstRecord(src, from, opts)
	if err != nil {
		if end, ok := errors.AsType[*EndError](err); ok {
			return Reach{Start: end.LSN, End: end.LSN, Stop: end}, nil
		}
		return Reach{}, err
	}
	r, err := NewReader(src, start, opts)
	if err != nil {
		return Reach{}, err
	}
	reach := Reach{Start: start, End: start}
	for {
		rec, err := r.Next()
		if err != nil {
			if end, ok := errors.AsType[*EndError](err); ok {
				reach.End, reach.Stop = end.LSN, end
				return reach, nil
			}
			return reach, err
		}
		reach.Last, reach.End = rec, rec.End
		reach.Records++
	}
}
