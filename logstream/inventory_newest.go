package logstream

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"slices"
	"time"

	"github.com/pgbraid/pgbraid/internal/walread"
)

// commitSegments is how many segments are read in search of the last commit.
const commitSegments = 4

// maxRecord is how long a record may be, in bytes: in so much WAL at least one
// ends.
const maxRecord = 1 << 30

// findNewest walks the WAL of the newest segment in which a record ends, and
// of a few before it if no transaction ends there.
func (s *stocktaking) findNewest() error {
	var newest TimelineID
	for t := range s.timelines {
		newest = max(newest, t)
	}
	limit := LSN(0) // where the timeline was left; 0: not at all
	tries := 0
	for t, read := newest, 0; t != 0; {
		for _, n := range s.segmentsBackward(t, limit) {
			if s.ctx.Err() != nil {
				return context.Cause(s.ctx)
			}
			if tries++; tries > commitSegments+maxRecord/int(s.SegmentSize) {
				return nil
			}
			end, commit, err := s.walk(newest, t, n, limit)
			if err != nil {
				s.bad(s.SegmentSize.FileName(t, n), err)
				continue
			}
			if s.Newest.LSN == 0 {
				if end == 0 {
					continue
				}
				s.Newest = Position{t, end}
			}
			s.LastCommit = commit
			if read++; !commit.IsZero() || read == commitSegments {
				return nil
			}
		}
		parent := s.parents[t]
		t, limit = parent.Timeline, parent.Switch
	}
	return nil
}

// segmentsBackward are the segments of a timeline that begin before limit, the
// newest first.
func (s *stocktaking) segmentsBackward(t TimelineID, limit LSN) []SegmentNumber {
	files := s.timelines[t]
	if files == nil {
		return nil
	}
	list := once(slices.Concat(files.complete, files.partial))
	slices.Reverse(list)
	return slices.DeleteFunc(list, func(n SegmentNumber) bool { return limit != 0 && s.SegmentSize.Start(n) >= limit })
}

// walk reads the records from segment n of timeline t on. end is 0 if no valid
// record ends there. What lies behind limit is of another history.
func (s *stocktaking) walk(newest, t TimelineID, n SegmentNumber, limit LSN) (end LSN, commit time.Time, err error) {
	source, err := walread.NewSegments(uint32(s.SegmentSize), func(number uint64) (walread.SegmentFile, error) {
		m := SegmentNumber(number)
		if m > n+1 && s.Newest.LSN != 0 {
			return nil, fs.ErrNotExist // only a commit is looked for
		}
		// What t itself has of a segment counts: what lies behind limit is
		// cut off, and the younger timeline's may still be empty.
		file, err := OpenSegmentFile(s.dir, s.SegmentSize, t, m)
		if errors.Is(err, fs.ErrNotExist) {
			return OpenSegmentFile(s.dir, s.SegmentSize, s.ownerFrom(newest, t, m), m)
		}
		return file, err
	})
	if err != nil {
		return 0, time.Time{}, err
	}
	options := walread.Options{SegmentSize: uint32(s.SegmentSize), SystemID: s.SystemID, Timeline: uint32(newest)}
	end, commit, err = s.walkRecords(source, options, n, limit)
	return end, commit, errors.Join(err, source.Close())
}

// ownerFrom is the timeline, of the history of newest, from t on, that
// segment m is read from.
func (s *stocktaking) ownerFrom(newest, t TimelineID, m SegmentNumber) TimelineID {
	for owner := newest; owner > t; owner = s.parents[owner].Timeline {
		if m >= s.begin(owner) && s.timelines[owner] != nil {
			return owner
		}
	}
	return t
}

func (s *stocktaking) walkRecords(source walread.Source, options walread.Options, n SegmentNumber, limit LSN) (end LSN, commit time.Time, err error) {
	var stop *walread.EndError
	start, err := walread.FirstRecord(source, uint64(s.SegmentSize.Start(n)), options)
	if errors.As(err, &stop) {
		return 0, time.Time{}, nil
	}
	if err != nil {
		return 0, time.Time{}, err
	}
	r, err := walread.NewReader(source, start, options)
	if err != nil {
		return 0, time.Time{}, err
	}
	var last walread.Record
	for {
		record, err := r.Next()
		if errors.As(err, &stop) {
			break
		}
		if err != nil {
			return 0, time.Time{}, err
		}
		// A segment switch ends at the next segment's start, and may do so
		// behind a fork that lies after the record itself.
		if limit != 0 && LSN(record.End) > limit && !record.IsSwitch() {
			break
		}
		end = LSN(record.End)
		if limit != 0 {
			end = min(end, limit)
		}
		if endsTransaction(record) {
			last = record
		}
	}
	if last.LSN != 0 {
		commit, err = s.commitTime(source, last)
	}
	return end, commit, err
}

// Records that say when a transaction ended (PostgreSQL's rmgrlist.h and
// xact.h).
const (
	rmgrTransaction      = 1
	transactionMask      = 0x70
	commitRecord         = 0x00
	abortRecord          = 0x20
	commitPreparedRecord = 0x30
	abortPreparedRecord  = 0x40
)

func endsTransaction(r walread.Record) bool {
	if r.RmgrID != rmgrTransaction {
		return false
	}
	switch r.Info & transactionMask {
	case commitRecord, abortRecord, commitPreparedRecord, abortPreparedRecord:
		return true
	}
	return false
}

// Identifiers of the parts of a record that may come before its data
// (PostgreSQL's xlogrecord.h), with the bytes that follow each.
const (
	partTopTransaction = 252 // 4: a transaction
	partOrigin         = 253 // 2: a replication origin
	partLongData       = 254 // 4: the length of the data
	partShortData      = 255 // 1: the length of the data
)

// commitTime reads when a transaction ended: the first 8 bytes of the record's
// data are microseconds since 2000. It is zero where they are not found.
func (s *stocktaking) commitTime(source walread.Source, r walread.Record) (time.Time, error) {
	const header, most = 24, 64
	b, err := s.recordStart(source, r.LSN, int(min(r.Length, most)))
	if err != nil {
		return time.Time{}, err
	}
	for b = b[min(header, len(b)):]; len(b) > 0; {
		skip, data := 0, false
		switch b[0] {
		case partTopTransaction:
			skip = 5
		case partOrigin:
			skip = 3
		case partLongData:
			skip, data = 5, true
		case partShortData:
			skip, data = 2, true
		default:
			return time.Time{}, nil
		}
		b = b[min(skip, len(b)):]
		if data && len(b) >= 8 {
			return postgresTime(binary.LittleEndian.Uint64(b)), nil
		}
	}
	return time.Time{}, nil
}

// postgresTime makes a time of microseconds since 2000, of which there are more
// than a time.Duration can hold.
func postgresTime(microseconds uint64) time.Time {
	return time.UnixMicro(int64(microseconds) + postgresEpoch.UnixMicro()).UTC()
}

// recordStart reads the first n bytes of a record at l, around the page
// headers between.
func (s *stocktaking) recordStart(source walread.Source, l uint64, n int) ([]byte, error) {
	var first [40]byte
	if _, err := source.ReadWAL(first[:], uint64(s.SegmentSize.Floor(LSN(l)))); err != nil {
		return nil, err
	}
	h, err := walread.ParsePageHeader(first[:])
	if err != nil {
		return nil, err
	}
	page := uint64(h.PageSize)
	if page <= 40 {
		return nil, errNoWAL // it was replaced since it was walked
	}
	b := make([]byte, 0, n)
	for len(b) < n {
		if l%page == 0 {
			l += 24
			if s.SegmentSize.Offset(LSN(l)) == 24 {
				l += 16
			}
		}
		part := min(uint64(n-len(b)), page-l%page)
		if _, err := source.ReadWAL(b[len(b):len(b)+int(part)], l); err != nil {
			return nil, err
		}
		b, l = b[:len(b)+int(part)], l+part
	}
	return b, nil
}
