package logstream

import (
	"fmt"

	"github.com/pgbraid/pgbraid/internal/replconn"
)

// cursor is where the stream stands: it writes WAL into a Store's segments in
// order, and hands them to the flusher as they end.
type cursor struct {
	store   Store
	size    SegmentSize
	flush   *flusher
	pos     Position // of the next byte to write
	segment Segment  // the open one, or nil

	check *continuity // nil: nothing is checked
	// behind is how far before pos the stream is: the server sends once more
	// what is kept already, which is only compared.
	behind LSN
	// rewound is how far before pos it was to begin, once; shrunk how often that
	// was halved.
	rewound LSN
	shrunk  int
	gained  bool // something was written since
}

// write takes WAL that begins at the LSN start, which must be where the stream
// stands. The bytes may go over the end of a segment.
func (c *cursor) write(start LSN, data []byte) error {
	if at := c.streamAt(); start != at.LSN {
		return fmt.Errorf("%w: got WAL data at %s, expected %s", replconn.ErrMalformed, start, at.LSN)
	}
	for len(data) > 0 {
		at := c.streamAt()
		n := min(len(data), int(uint32(c.size)-c.size.Offset(at.LSN)))
		if c.behind > 0 {
			n = int(min(LSN(n), c.behind))
		}
		if c.check != nil {
			took, err := c.check.take(at, data[:n])
			if err != nil {
				return err
			}
			if c.behind > 0 && took < n && c.size.Segment(at.LSN) == c.size.Segment(c.pos.LSN) {
				if err := c.goBack(at.LSN + LSN(took)); err != nil {
					return err
				}
				data = data[took:]
				continue
			}
			n = took
		}
		if c.behind > 0 || n == 0 {
			c.behind -= LSN(n)
			data = data[n:]
			continue
		}
		// Opened last: what is not WAL that goes on here leaves no file.
		if c.segment == nil {
			if err := c.open(); err != nil {
				return err
			}
		}
		offset := c.size.Offset(c.pos.LSN)
		if _, err := c.segment.WriteAt(data[:n], int64(offset)); err != nil {
			return &StoreError{Err: err}
		}
		c.gained = true
		c.pos.LSN += LSN(n)
		data = data[n:]
		if c.size.Offset(c.pos.LSN) == 0 {
			c.segment.Full()
			if err := c.end(flushSeal); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *cursor) open() error {
	if offset := c.size.Offset(c.pos.LSN); offset != 0 {
		return fmt.Errorf("got WAL data at %s with no segment open, expected the start of one", c.pos.LSN)
	}
	segment, err := c.store.OpenSegment(c.pos.Timeline, c.size.Segment(c.pos.LSN))
	if err != nil {
		return &StoreError{Err: err}
	}
	c.segment = segment
	return nil
}

// sync asks for what was written so far to become durable.
func (c *cursor) sync() error {
	if c.segment == nil {
		return nil
	}
	return c.flush.sync(c.segment, c.pos)
}

// syncNow makes what was written so far durable, here where that can be.
func (c *cursor) syncNow() (done bool, err error) {
	if c.segment == nil {
		return false, nil
	}
	return c.flush.syncNow(c.segment, c.pos)
}

// end hands the open segment, if there is one, to the flusher.
func (c *cursor) end(kind flushKind) error {
	if c.segment == nil {
		return nil
	}
	segment := c.segment
	c.segment = nil
	if err := c.flush.add(flushJob{kind, segment, c.pos}); err != nil {
		// The flusher's own error is the cause, unless one can get over that.
		if e := segment.Leave(); e != nil && noRoomToPack(err) && !noRoom(e) {
			return &StoreError{Err: e}
		}
		return err
	}
	return nil
}

// moveTo leaves the open segment as it is and goes on at the start of the
// segment of another position. It waits until what came before is sealed: a
// restart looks at one timeline only for segments that are not.
func (c *cursor) moveTo(p Position) error {
	if err := c.end(flushLeave); err != nil {
		return err
	}
	c.pos, c.behind = Position{p.Timeline, c.size.Floor(p.LSN)}, 0
	if err := c.flush.add(flushJob{kind: flushMove, upTo: c.pos}); err != nil {
		return err
	}
	return c.flush.drain()
}

// streamAt is the position of the next byte that the server is to send.
func (c *cursor) streamAt() Position {
	return Position{c.pos.Timeline, c.pos.LSN - c.behind}
}

// goBack has what was written after an LSN in the open segment written anew: it
// was no complete WAL. The server must not be told that it is durable.
func (c *cursor) goBack(l LSN) error {
	c.pos.LSN, c.behind = l, 0
	if d := c.flush.position(); d.Timeline != c.pos.Timeline || d.LSN <= l {
		return nil
	}
	return c.flush.add(flushJob{kind: flushMove, upTo: c.pos})
}
