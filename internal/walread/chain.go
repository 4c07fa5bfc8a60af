package walread

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Chain checks WAL as it passes by, in pieces of any length, without keeping
// it: what a Reader checks of pages and records, and that after a segment
// switch nothing but zeros follows. It is for a stream, where a Reader is for
// what lies somewhere.
//
// A Chain begins at the start of a segment. A record that goes on there from
// the segment before, which the Chain has not seen, is passed over by the
// length that the page header gives, and the first record after it may follow
// any other. A copy of a Chain is another Chain in the same state.
//
// A segment whose first page does not have the header of a known release is
// passed over unchecked: only a format that is known can be broken.
type Chain struct {
	segmentSize uint64
	systemID    uint64
	maxTimeline uint32

	magic    uint16
	pageSize uint64 // 0 until a segment's first page was seen, and in a segment of an unknown format
	timeline uint32 // of the page before

	pos    uint64 // of the next byte
	state  chainState
	header [longHeaderSize]byte // of a page, as far as it came
	have   int                  // bytes of header

	rec    uint64 // LSN of the record under way
	length uint32 // of that record; 0 until it is known
	got    uint32 // bytes of it
	crc    uint32 // over its data so far
	head   [recordHeaderSize]byte
	rest   uint64 // bytes left of a record whose beginning was not seen

	prev   uint64 // LSN of the record before, if linked
	linked bool
	end    uint64 // of the last complete record
}

// chainState is what the next byte of a page's data is part of.
type chainState int

const (
	chainBetween  chainState = iota // a new record
	chainRecord                     // the record under way
	chainSkip                       // a record whose beginning was not seen
	chainPadding                    // what aligns the next record
	chainSwitched                   // the rest of a segment after its switch
	chainUnknown                    // a segment of an unknown format
)

var zeros [maxPageSize]byte

// NewChain makes a Chain that begins at start, the first LSN of a segment.
func NewChain(start uint64, opts Options) (Chain, error) {
	if !validSegmentSize(opts.SegmentSize) {
		return Chain{}, fmt.Errorf("WAL segment size %d: want a power of two from 1 MiB to 1 GiB", opts.SegmentSize)
	}
	if start%uint64(opts.SegmentSize) != 0 || start >= maxLSN {
		return Chain{}, fmt.Errorf("WAL position %s: no segment begins here", formatLSN(start))
	}
	return Chain{
		segmentSize: uint64(opts.SegmentSize), systemID: opts.SystemID, maxTimeline: opts.Timeline,
		pos: start, end: start,
	}, nil
}

// Position is the LSN of the next byte that Feed takes.
func (c *Chain) Position() uint64 { return c.pos }

// End is where the last complete record ends, or where the Chain began.
func (c *Chain) End() uint64 { return c.end }

// Linked tells whether the next record, or the one under way, is held against
// the one before it.
func (c *Chain) Linked() bool { return c.linked }

// Known tells whether the format of what passes is known, so that it is
// checked.
func (c *Chain) Known() bool { return c.pageSize != 0 }

// LimitTimeline sets the highest timeline that a page may be of, 0 for any.
func (c *Chain) LimitTimeline(t uint32) { c.maxTimeline = t }

// Feed takes the bytes that follow those before. The error is an *EndError,
// after which the Chain must not be used; Position is then not after the place
// where it shows. p is not kept.
func (c *Chain) Feed(p []byte) error {
	for len(p) > 0 {
		n, f := c.step(p)
		if f != nil {
			return c.broken(f)
		}
		c.pos += uint64(n)
		p = p[n:]
	}
	return nil
}

func (c *Chain) broken(f *fault) error {
	at := c.end
	if c.state == chainRecord {
		at = c.rec
	}
	ending := Invalid
	if f.absent() {
		ending = Clean
	}
	return &EndError{LSN: at, Ending: ending, Reason: f.reason, At: f.at, Detail: f.detail}
}

// step takes what is of one kind from the start of p: at least a byte.
func (c *Chain) step(p []byte) (int, *fault) {
	offset := c.pos % c.segmentSize
	if offset-uint64(c.have) == 0 {
		return c.pageHeader(p, longHeaderSize)
	}
	if c.state == chainUnknown {
		return int(min(uint64(len(p)), c.segmentSize-offset)), nil
	}
	inPage := c.pos % c.pageSize
	if inPage-uint64(c.have) == 0 {
		return c.pageHeader(p, shortHeaderSize)
	}
	p = p[:min(uint64(len(p)), c.pageSize-inPage)]
	switch c.state {
	case chainBetween:
		return c.begin(p)
	case chainRecord:
		return c.goOn(p)
	case chainSkip:
		n := min(uint64(len(p)), c.rest)
		if c.rest -= n; c.rest == 0 {
			c.align(c.pos + n)
		}
		return int(n), nil
	case chainPadding:
		n := min(uint64(len(p)), -c.pos%recordAlignment)
		c.align(c.pos + n)
		return int(n), nil
	default: // chainSwitched
		if !bytes.Equal(p, zeros[:len(p)]) {
			return 0, faultf(BadLength, c.pos, "not zeros after a segment switch")
		}
		return len(p), nil
	}
}

// align sets the state for a place where a record has ended.
func (c *Chain) align(at uint64) {
	c.state = chainBetween
	if at%recordAlignment != 0 {
		c.state = chainPadding
	}
}

// pageHeader gathers a page's header of size bytes, and judges it.
func (c *Chain) pageHeader(p []byte, size int) (int, *fault) {
	n := min(size-c.have, len(p))
	b := p[:n]
	if n < size {
		copy(c.header[c.have:], b)
		if c.have += n; c.have < size {
			return n, nil
		}
		b = c.header[:size]
	}
	c.have = 0
	return n, c.page(b, c.pos+uint64(n-size))
}

// page judges the header b of the page at LSN at.
func (c *Chain) page(b []byte, at uint64) *fault {
	segment := at%c.segmentSize == 0
	if segment && c.state == chainSwitched {
		c.state = chainBetween
	}
	if c.state == chainSwitched && bytes.Equal(b, zeros[:len(b)]) {
		return nil // servers from release 11 on leave these pages blank
	}
	h := decodeHeader(b)
	if segment && c.pageSize == 0 {
		if h.Major() == 0 {
			c.state = chainUnknown
			return nil
		}
		c.magic, c.state = h.Magic, chainBetween
	}
	if f := c.checkPage(h, at, segment); f != nil {
		return f
	}
	c.timeline = h.Timeline
	if segment && c.pageSize == 0 {
		c.pageSize = uint64(h.PageSize)
		if h.Flags&FlagContinuation != 0 {
			c.state, c.rest = chainSkip, uint64(h.Remaining)
			if c.rest == 0 || c.rest > maxRecordLength {
				return faultf(BadContinuation, at, "%d bytes left", c.rest)
			}
			return nil
		}
	}
	return c.continuation(h, at)
}

// continuation judges whether the page begins with what must come next.
func (c *Chain) continuation(h PageHeader, at uint64) *fault {
	left := uint64(0)
	switch c.state {
	case chainRecord:
		left = uint64(c.length - c.got)
	case chainSkip:
		left = c.rest
	}
	switch {
	case left > 0 && h.Flags&FlagOverwroteContinuation != 0:
		c.state = chainBetween // the record was given up
	case left > 0 && h.Flags&FlagContinuation == 0:
		return faultf(BadContinuation, at, "the page does not go on with the record")
	case left > 0 && uint64(h.Remaining) != left:
		return faultf(BadContinuation, at, "%d bytes left, want %d", h.Remaining, left)
	case left == 0 && h.Flags&FlagContinuation != 0:
		return faultf(BadContinuation, at, "%d bytes of another record come first", h.Remaining)
	}
	return nil
}

// checkPage is Reader.check for a page that must be there.
func (c *Chain) checkPage(h PageHeader, at uint64, segment bool) *fault {
	switch {
	case h.Magic != c.magic:
		return faultf(BadPage, at, "magic %04X, want %04X", h.Magic, c.magic)
	case h.Address != at:
		return faultf(BadPage, at, "address %s", formatLSN(h.Address))
	case h.Flags&^knownFlags != 0:
		return faultf(BadPage, at, "flags %04X", h.Flags)
	case h.Long() != segment:
		return faultf(BadPage, at, "flags %04X: the header's length does not fit", h.Flags)
	case h.Timeline < c.timeline:
		return faultf(BadPage, at, "timeline %d after %d", h.Timeline, c.timeline)
	case c.maxTimeline != 0 && h.Timeline > c.maxTimeline:
		return faultf(BadPage, at, "timeline %d, want at most %d", h.Timeline, c.maxTimeline)
	case !segment:
		return nil
	}
	if f := h.checkLong(at, c.systemID, c.segmentSize, c.pageSize); f != nil {
		return f
	}
	c.systemID = h.SystemID
	return nil
}

// begin takes a record from its first byte on: most of them as a whole.
func (c *Chain) begin(p []byte) (int, *fault) {
	c.rec, c.length, c.got, c.crc, c.state = c.pos, 0, 0, 0, chainRecord
	if len(p) < recordHeaderSize {
		return c.goOn(p)
	}
	length := binary.LittleEndian.Uint32(p)
	if length < recordHeaderSize || uint64(length) > uint64(len(p)) {
		return c.goOn(p)
	}
	if f := c.takeHeader(p); f != nil {
		return 0, f
	}
	c.crc = crc32.Update(0, castagnoli, p[recordHeaderSize:length])
	if f := c.finish(p, c.pos+uint64(length)); f != nil {
		return 0, f
	}
	n := min(uint64(len(p)), align(uint64(length)))
	if c.state == chainPadding {
		c.align(c.pos + n)
	}
	return int(n), nil
}

// goOn takes more of the record under way.
func (c *Chain) goOn(p []byte) (int, *fault) {
	var n int
	if c.got < recordHeaderSize {
		n = copy(c.head[c.got:], p)
		c.got += uint32(n)
		if c.length == 0 && c.got >= 4 {
			c.length = binary.LittleEndian.Uint32(c.head[:])
			if c.length == 0 {
				return 0, &fault{reason: Zeros, at: c.rec}
			}
			if c.length < recordHeaderSize || c.length > maxRecordLength {
				return 0, faultf(BadLength, c.rec, "%d bytes", c.length)
			}
		}
		if c.got < recordHeaderSize {
			return n, nil
		}
		if f := c.takeHeader(c.head[:]); f != nil {
			return 0, f
		}
	} else {
		n = int(min(uint32(len(p)), c.length-c.got))
		c.crc = crc32.Update(c.crc, castagnoli, p[:n])
		c.got += uint32(n)
	}
	if c.got == c.length {
		return n, c.finish(c.head[:], c.pos+uint64(n))
	}
	return n, nil
}

// takeHeader checks the link of the record under way to the one before it.
func (c *Chain) takeHeader(head []byte) *fault {
	prev := binary.LittleEndian.Uint64(head[8:])
	if c.linked && prev != c.prev {
		return faultf(BadPrev, c.rec, "%s, want %s", formatLSN(prev), formatLSN(c.prev))
	}
	if !c.linked && prev >= c.rec {
		return faultf(BadPrev, c.rec, "%s, want an earlier one", formatLSN(prev))
	}
	return nil
}

// finish ends the record under way, whose last byte lies before end.
func (c *Chain) finish(head []byte, end uint64) *fault {
	crc := crc32.Update(c.crc, castagnoli, head[:recordCRCOffset])
	if want := binary.LittleEndian.Uint32(head[recordCRCOffset:]); crc != want {
		return faultf(BadChecksum, c.rec, "%08X, want %08X", crc, want)
	}
	c.prev, c.linked, c.end = c.rec, true, align(end)
	c.align(end)
	if head[17] == rmgrXLOG && head[16]&infoRecordMask == infoSwitch {
		c.end = (c.end + c.segmentSize - 1) &^ (c.segmentSize - 1)
		if end != c.end {
			c.state = chainSwitched
		}
	}
	return nil
}
