package logstream

import (
	"errors"
	"io"
)

// littleKept is how much of a segment is too little to tell one server from
// another, in bytes: two that are idle may write the same records for a while.
const littleKept = 64 << 10

// leastPage is the smallest step that a stream begins on, in bytes.
const leastPage = 8 << 10

// rewind decides where the stream begins on a new connection: at the start of
// the segment that holds the position, so that what the server has there is
// compared with what is kept. Where little or nothing of that segment is kept,
// it begins with the segment before, if that is kept too; without says that the
// server no longer has that one. Then what is compared may be nothing, and only
// the chain of the records, which continues the segment before, tells whether
// this server's WAL goes on here. More cannot be known without it: and to stop
// would help nobody, since that WAL does not come back.
//
// A connection that never lasts for so long would get nowhere: each time that
// nothing was gained, the next stream begins closer to the position, at last on
// its page.
func (c *cursor) rewind(without bool) {
	c.behind = 0
	if c.check == nil || c.check.store == nil {
		return
	}
	c.check.leave()
	switch {
	case c.gained:
		c.shrunk = max(0, c.shrunk-1)
	case c.rewound > 0 && c.check.compared:
		c.shrunk++
	}
	c.gained, c.check.compared = false, false
	back := LSN(c.size.Offset(c.pos.LSN))
	if n := c.size.Segment(c.pos.LSN); back < littleKept && !without && c.keeps(n-1) && !c.keepsMuch(n) {
		back += LSN(c.size)
	}
	if c.shrunk > 0 {
		window := LSN(c.size) >> min(c.shrunk, 31)
		if window < leastPage {
			window = c.pos.LSN % leastPage
		}
		back = min(back, window)
	}
	c.behind, c.rewound = back, back
}

// keeps tells whether a segment is kept on the stream's timeline.
func (c *cursor) keeps(n SegmentNumber) bool {
	content, _, err := c.check.store.ReadSegment(c.pos.Timeline, n)
	if err != nil {
		return false
	}
	_ = content.Close() // only read from
	for _, e := range c.check.ancestors(c.pos.Timeline) {
		if c.size.Segment(e.Switch) > n {
			return false // the server has it on the timeline before
		}
	}
	return true
}

// keepsMuch tells whether a partial segment of an earlier run holds more than
// little.
func (c *cursor) keepsMuch(n SegmentNumber) bool {
	k, err := openKept(c.check.store, c.size, c.pos.Timeline, n, 0)
	if err != nil {
		return false
	}
	defer k.close()
	page := make([]byte, leastPage)
	if err := k.skip(littleKept); err != nil {
		return false
	}
	_, err = io.ReadFull(k.content, page)
	return (err == nil || errors.Is(err, io.ErrUnexpectedEOF)) && !allZero(page)
}

// startedEarlier tells whether the stream began before the segment that holds
// the position, and is still there.
func (c *cursor) startedEarlier() bool {
	return c.behind > LSN(c.size.Offset(c.pos.LSN))
}
