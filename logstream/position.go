package logstream

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// LSN is a position in the write-ahead log: a byte offset from its beginning
// (PostgreSQL manual, "WAL Internals").
type LSN uint64

// ParseLSN reads the text form of an LSN: two hexadecimal numbers of up to
// eight digits with a slash between them, zero-padded or not, since servers
// from release 19 on pad the second one.
func ParseLSN(text string) (LSN, error) {
	high, low, found := strings.Cut(text, "/")
	if !found {
		return 0, fmt.Errorf("invalid LSN %q: no slash", text)
	}
	hi, err := parseHex32(high)
	if err != nil {
		return 0, fmt.Errorf("invalid LSN %q: %w", text, err)
	}
	lo, err := parseHex32(low)
	if err != nil {
		return 0, fmt.Errorf("invalid LSN %q: %w", text, err)
	}
	return LSN(hi)<<32 | LSN(lo), nil
}

// parseHex32 takes one to eight hexadecimal digits and nothing else:
// strconv alone would take a sign or an underscore in some bases.
func parseHex32(s string) (uint32, error) {
	if len(s) == 0 || len(s) > 8 {
		return 0, errors.New("want one to eight hexadecimal digits on each side")
	}
	for i := range len(s) {
		if !isHexDigit(s[i]) {
			return 0, errors.New("want hexadecimal digits only")
		}
	}
	n, err := strconv.ParseUint(s, 16, 32)
	return uint32(n), err
}

func isHexDigit(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// String gives the form that servers up to release 18 print, such as
// 0/2000028.
func (l LSN) String() string {
	return fmt.Sprintf("%X/%X", uint32(l>>32), uint32(l))
}

// TimelineID numbers a branch of a cluster's history. A new cluster is on
// timeline 1; each promotion begins a new one. 0 is no timeline.
type TimelineID uint32

// ParseTimelineID reads the decimal form that IDENTIFY_SYSTEM and BASE_BACKUP
// give. 0 is refused.
func ParseTimelineID(text string) (TimelineID, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("invalid timeline %q", text)
	}
	if n == 0 {
		return 0, errors.New("invalid timeline 0")
	}
	return TimelineID(n), nil
}

// HistoryFileName is the name of the timeline's history file, such as
// 00000002.history.
func (t TimelineID) HistoryFileName() string {
	return fmt.Sprintf("%08X.history", uint32(t))
}

// Position is a place in the log that says also on which timeline it lies:
// an LSN alone does not tell which WAL is meant once a standby was promoted.
type Position struct {
	Timeline TimelineID
	LSN      LSN
}

// String gives the LSN and the timeline, such as "0/2000028 on timeline 1".
func (p Position) String() string {
	return fmt.Sprintf("%s on timeline %d", p.LSN, p.Timeline)
}

// after tells whether p is reached later than q in the log of one cluster.
func (p Position) after(q Position) bool {
	return p.Timeline > q.Timeline || p.Timeline == q.Timeline && p.LSN > q.LSN
}

// SegmentSize is the size in bytes of the cluster's WAL segment files, fixed
// by initdb --wal-segsize: a power of two from 1 MiB to 1 GiB.
type SegmentSize uint32

// The smallest and the largest segment size that PostgreSQL allows.
const (
	MinSegmentSize SegmentSize = 1 << 20
	MaxSegmentSize SegmentSize = 1 << 30
)

// ParseSegmentSize reads what SHOW wal_segment_size answers: a number with
// the unit MB or GB, such as 16MB.
func ParseSegmentSize(text string) (SegmentSize, error) {
	number, factor := text, uint64(0)
	if n, ok := strings.CutSuffix(text, "MB"); ok {
		number, factor = n, 1<<20
	} else if n, ok := strings.CutSuffix(text, "GB"); ok {
		number, factor = n, 1<<30
	}
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil || factor == 0 || n > math.MaxUint32/factor || !SegmentSize(n*factor).Valid() {
		return 0, fmt.Errorf("invalid WAL segment size %q: want a power of two from 1MB to 1GB", text)
	}
	return SegmentSize(n * factor), nil
}

// Valid tells whether PostgreSQL allows this segment size.
func (s SegmentSize) Valid() bool {
	return s >= MinSegmentSize && s <= MaxSegmentSize && bits.OnesCount32(uint32(s)) == 1
}

// SegmentNumber counts segments from the beginning of the log. Segment 0 is
// never written: initdb begins with segment 1.
type SegmentNumber uint64

// Segment is the number of the segment that holds the byte at l.
func (s SegmentSize) Segment(l LSN) SegmentNumber {
	return SegmentNumber(uint64(l) / uint64(s))
}

// Start is the LSN of a segment's first byte.
func (s SegmentSize) Start(n SegmentNumber) LSN {
	return LSN(uint64(n) * uint64(s))
}

// Floor is the start of the segment that holds l.
func (s SegmentSize) Floor(l LSN) LSN {
	return l - LSN(s.Offset(l))
}

// Offset is the distance in bytes of l from the start of its segment.
func (s SegmentSize) Offset(l LSN) uint32 {
	return uint32(uint64(l) & uint64(s-1))
}

// perLogID is how many segments 4 GiB of log have: the second and the third
// part of a segment's name count in that number system.
func (s SegmentSize) perLogID() uint64 {
	return (1 << 32) / uint64(s)
}

// FileName is the name of a segment's file on a timeline: three groups of
// eight hexadecimal digits, such as 000000010000000000000002.
func (s SegmentSize) FileName(t TimelineID, n SegmentNumber) string {
	per := s.perLogID()
	return fmt.Sprintf("%08X%08X%08X", uint32(t), uint32(uint64(n)/per), uint32(uint64(n)%per))
}

// segmentNameLength is the length of a WAL segment's file name.
const segmentNameLength = 24

// ParseFileName reads a segment's file name. ok is false for any other name,
// a name with a suffix or with lower-case digits among them, and for a name
// that this segment size cannot give.
func (s SegmentSize) ParseFileName(name string) (t TimelineID, n SegmentNumber, ok bool) {
	if len(name) != segmentNameLength {
		return 0, 0, false
	}
	var part [3]uint32
	for i := range part {
		group := name[i*8 : i*8+8]
		for j := range len(group) {
			if !isHexDigit(group[j]) || group[j] >= 'a' {
				return 0, 0, false
			}
		}
		v, err := strconv.ParseUint(group, 16, 32)
		if err != nil {
			return 0, 0, false
		}
		part[i] = uint32(v)
	}
	per := s.perLogID()
	if uint64(part[2]) >= per || part[0] == 0 {
		return 0, 0, false
	}
	return TimelineID(part[0]), SegmentNumber(uint64(part[1])*per + uint64(part[2])), true
}
