package verify

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pgbraid/pgbraid/internal/walread"
	"github.com/pgbraid/pgbraid/logstream"
)

// checkWAL walks each range of the manifest, record by record.
func (r *run) checkWAL(ctx context.Context) error {
	place, err := r.openWAL(ctx)
	if err != nil {
		// Nothing of the log can be read: each range lacks it.
		for i := range r.report.Ranges {
			w := &r.report.Ranges[i]
			r.problem(Problem{Kind: MissingWAL, Path: r.walPath(), Timeline: w.Timeline, LSN: w.Start, Err: err})
		}
		return context.Cause(ctx)
	}
	defer place.close()
	r.checkHistory(place)
	size, err := r.segmentSize(place)
	if err != nil {
		for i := range r.report.Ranges {
			w := &r.report.Ranges[i]
			r.problem(Problem{Kind: MissingWAL, Path: r.walPath(), Timeline: w.Timeline, LSN: w.Start, Err: err})
		}
		return context.Cause(ctx)
	}
	for i := range r.report.Ranges {
		if err := r.walkRange(ctx, place, size, i); err != nil {
			return err
		}
	}
	return nil
}

// segmentSize is pg_control's, or else that of a segment's first page.
func (r *run) segmentSize(place walPlace) (logstream.SegmentSize, error) {
	if r.control != nil && plausible(r.control.WALSegmentSize) {
		return logstream.SegmentSize(r.control.WALSegmentSize), nil
	}
	head, err := place.anyHead()
	if err != nil {
		return 0, err
	}
	return sizeFromHead(head)
}

// plausible tells whether a number of bytes can be a segment's.
func plausible(size uint32) bool {
	s := logstream.SegmentSize(size)
	return s >= logstream.MinSegmentSize && s <= logstream.MaxSegmentSize && s&(s-1) == 0
}

// sizeFromHead reads the segment size from a segment's first bytes.
func sizeFromHead(head []byte) (logstream.SegmentSize, error) {
	h, err := walread.ParsePageHeader(head)
	switch {
	case err != nil:
		return 0, err
	case !h.Long():
		return 0, errors.New("WAL page header: no segment begins so")
	case !plausible(h.SegmentSize):
		return 0, fmt.Errorf("WAL page header: segment size %d", h.SegmentSize)
	}
	return logstream.SegmentSize(h.SegmentSize), nil
}

// systemIdentifier is the one that the log must be of, 0 if nobody knows.
func (r *run) systemIdentifier() uint64 {
	if r.summary.Version > 1 {
		return r.summary.SystemIdentifier
	}
	if r.control != nil {
		return r.control.SystemIdentifier
	}
	return 0
}

// walkRange walks one range. The error is that of ctx.
func (r *run) walkRange(ctx context.Context, place walPlace, size logstream.SegmentSize, index int) error {
	w := &r.report.Ranges[index]
	say := func(kind Kind, at logstream.LSN, err error) {
		r.problem(Problem{Kind: kind, Path: size.FileName(w.Timeline, logstream.SegmentNumber(uint64(at)/uint64(size))), Timeline: w.Timeline, LSN: w.Reached, Err: err})
	}
	if w.End < w.Start {
		r.problem(Problem{Kind: DamagedWAL, Path: manifestName, Timeline: w.Timeline, LSN: w.Start, Err: fmt.Errorf("its end %s is before its start", w.End)})
		return nil
	}
	var absent error // about the segment that was looked for last and is not there
	src, err := walread.NewSegments(uint32(size), func(n uint64) (walread.SegmentFile, error) {
		f, err := r.openSegment(place, size, w.Timeline, logstream.SegmentNumber(n))
		if errors.Is(err, fs.ErrNotExist) {
			absent = fmt.Errorf("segment %s is not there", size.FileName(w.Timeline, logstream.SegmentNumber(n)))
			if other, ok := errors.AsType[*otherForm](err); ok {
				absent = fmt.Errorf("%w: %w", absent, other)
			}
		}
		return f, err
	})
	if err != nil {
		say(DamagedWAL, w.Start, err)
		return nil
	}
	defer func() { _ = src.Close() }() // only read from
	reader, err := walread.NewReader(src, uint64(w.Start), walread.Options{SegmentSize: uint32(size), SystemID: r.systemIdentifier(), Timeline: uint32(w.Timeline)})
	if err != nil {
		say(DamagedWAL, w.Start, err)
		return nil
	}
	for w.Reached < w.End {
		if w.Records%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		record, err := reader.Next()
		var end *walread.EndError
		switch {
		case errors.As(err, &end):
			if isAfterHeader(w.Reached, w.End, size) {
				w.Good = true
				return nil
			}
			kind, cause := judgeEnd(end, absent, size)
			say(kind, logstream.LSN(end.At), cause)
			return nil
		case err != nil:
			say(DamagedWAL, logstream.LSN(reader.Position()), err)
			return nil
		case logstream.LSN(record.End) > w.End && !record.IsSwitch():
			say(DamagedWAL, logstream.LSN(record.LSN), fmt.Errorf("no record ends at %s, where the backup does: that at %s ends at %s",
				w.End, logstream.LSN(record.LSN), logstream.LSN(record.End)))
			return nil
		}
		w.Reached, w.Last = logstream.LSN(record.End), logstream.LSN(record.LSN)
		w.Records++
	}
	w.Good = true
	return nil
}

// openSegment opens a segment of a timeline. Where that timeline's own is not
// there, a later timeline's holds the same log up to the fork: it began as a
// copy.
func (r *run) openSegment(place walPlace, size logstream.SegmentSize, t logstream.TimelineID, n logstream.SegmentNumber) (walread.SegmentFile, error) {
	f, err := place.open(size, t, n)
	own := err
	for i := len(r.report.Ranges) - 1; i >= 0 && errors.Is(err, fs.ErrNotExist); i-- { // oldest first
		if later := r.report.Ranges[i].Timeline; later > t {
			f, err = place.open(size, later, n)
		}
	}
	if err != nil && errors.Is(err, fs.ErrNotExist) {
		err = own
	}
	return f, err
}

// isAfterHeader tells whether to lies right behind the page header that from
// is before: both are the end of the same record then.
func isAfterHeader(from, to logstream.LSN, size logstream.SegmentSize) bool {
	const page, short, long = 1 << 10, 24, 40 // the smallest page, the two headers
	if uint64(from)%page != 0 {
		return false
	}
	return to-from == short || to-from == long && uint64(from)%uint64(size) == 0
}

// judgeEnd puts a walk's end before the range's into words.
func judgeEnd(end *walread.EndError, absent error, size logstream.SegmentSize) (Kind, error) {
	at := logstream.LSN(end.At)
	switch {
	case end.Reason == walread.SourceEnd && absent != nil && uint64(at)%uint64(size) == 0:
		return MissingWAL, absent
	case end.Reason == walread.SourceEnd:
		return TornWAL, fmt.Errorf("the segment ends at %s", at)
	case end.Ending == walread.Torn:
		return TornWAL, end
	}
	return DamagedWAL, end
}
