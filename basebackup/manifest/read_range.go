package manifest

import (
	"math"

	"github.com/pgbraid/pgbraid/logstream"
)

const (
	sawTimeline keySet = 1 << iota
	sawStartLSN
	sawEndLSN
)

// readRange reads one range's object.
func (r *reader) readRange() error {
	if len(r.summary.Ranges) == MaxWALRanges {
		return r.fail("too many WAL ranges")
	}
	r.rangeSeen, r.rangeBad = 0, 0
	r.wal = WALRange{}
	return r.object(r.readRangeField, r.endRange)
}

// endRange judges a range, the faults that PostgreSQL's reader knows first.
func (r *reader) endRange() error {
	seen, bad := r.rangeSeen, r.rangeBad
	switch {
	case !seen.has(sawTimeline):
		return r.fail("missing timeline")
	case !seen.has(sawStartLSN):
		return r.fail("missing start LSN")
	case !seen.has(sawEndLSN):
		return r.fail("missing end LSN")
	case bad.has(sawTimeline):
		return r.fail("timeline is not an integer")
	case bad.has(sawStartLSN):
		return r.fail("could not parse start LSN")
	case bad.has(sawEndLSN):
		return r.fail("could not parse end LSN")
	}
	if r.wal.Timeline == 0 {
		r.refuse("invalid timeline 0")
	}
	r.summary.Ranges = append(r.summary.Ranges, r.wal)
	return nil
}

func (r *reader) readRangeField(key []byte) error {
	var bit keySet
	var value func(text []byte) (good bool)
	lsn := func(to *logstream.LSN) func([]byte) bool {
		return func(text []byte) (good bool) {
			var err error
			*to, err = logstream.ParseLSN(string(text))
			return err == nil
		}
	}
	switch string(key) {
	case keyTimeline:
		bit, value = sawTimeline, r.readTimeline
	case keyStartLSN:
		bit, value = sawStartLSN, lsn(&r.wal.Start)
	case keyEndLSN:
		bit, value = sawEndLSN, lsn(&r.wal.End)
	default:
		return r.fail("unexpected WAL range field")
	}
	if r.rangeSeen.add(bit) {
		r.refuse("repeated WAL range field")
	}
	return r.scalar(func(text []byte) {
		if r.rangeBad &^= bit; !value(text) {
			r.rangeBad |= bit
		}
	})
}

func (r *reader) readTimeline(text []byte) (good bool) {
	n := parseInteger(text, math.MaxUint32)
	if n.odd {
		r.refuse("timeline is no whole number in range")
	}
	r.wal.Timeline = logstream.TimelineID(n.value)
	return n.whole
}
