package logstream

import (
	"errors"
	"io/fs"

	"github.com/pgbraid/pgbraid/internal/walread"
)

// link sets the chain to a position in segment n: as it was there before, or
// as what is kept before it says, or beginning anew where nothing is.
func (c *continuity) link(at Position, n SegmentNumber) error {
	start := c.size.Start(n)
	switch {
	case c.linked && LSN(c.begun.Position()) == start: // what came after it may have broken the chain
		c.chain = c.begun
	case c.linked && LSN(c.chain.Position()) == start:
	default:
		chain, err := c.before(at.Timeline, n)
		if err != nil {
			return err
		}
		c.chain, c.linked = chain, true
	}
	c.begun = c.chain
	c.chain.LimitTimeline(uint32(at.Timeline))
	if at.LSN == start {
		return nil
	}
	// The stream begins within the segment: what is kept leads up to there.
	k, err := c.open(at.Timeline, n, at.LSN, 0)
	if err != nil {
		return err
	}
	if k == nil {
		return c.unlinked(n + 1)
	}
	k.buffer = make([]byte, packBuffer) // the usual ones are for what is compared
	defer k.close()
	if _, _, err := k.follow(&c.chain); err != nil {
		return &StoreError{Err: err}
	}
	if LSN(c.chain.Position()) != at.LSN {
		return c.unlinked(n + 1) // it does not: the next segment is checked again
	}
	return nil
}

// unlinked begins the chain anew at segment n.
func (c *continuity) unlinked(n SegmentNumber) error {
	chain, err := c.anew(n)
	c.chain = chain
	return err
}

func (c *continuity) anew(n SegmentNumber) (walread.Chain, error) {
	return walread.NewChain(uint64(c.size.Start(n)), walread.Options{SegmentSize: uint32(c.size), SystemID: c.system})
}

// before is the chain at the start of segment n of a timeline, after what is
// kept of the segments before it: so many that a record begins in them, for
// one may be longer than a segment. Where they are not there, or are damaged,
// it begins at n.
func (c *continuity) before(t TimelineID, n SegmentNumber) (walread.Chain, error) {
	most := SegmentNumber(maxRecord/uint64(c.size)) + 1
	for back := SegmentNumber(1); c.store != nil && back <= most && back < n; back *= 2 {
		chain, err := c.anew(n - back)
		if err != nil {
			return chain, err
		}
		for m := n - back; m < n; m++ {
			ok, err := c.feedKept(&chain, t, m)
			if err != nil {
				return chain, err
			}
			if !ok {
				return c.anew(n)
			}
		}
		if chain.Linked() || !chain.Known() {
			return chain, nil
		}
	}
	return c.anew(n)
}

// feedKept gives a chain all of a segment, on the newest timeline of t's
// history that has it. ok is false where it is not there as a whole.
func (c *continuity) feedKept(chain *walread.Chain, t TimelineID, n SegmentNumber) (ok bool, err error) {
	k, err := openOwner(c.store, c.size, c.ancestors(t), t, n)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, &StoreError{Err: err}
	}
	defer k.close()
	k.buffer = make([]byte, packBuffer)
	if _, _, err := k.follow(chain); err != nil {
		return false, &StoreError{Err: err}
	}
	whole := LSN(chain.Position()) == c.size.Start(n+1)
	if !whole {
		c.log.Debug("the segment before is not complete, or damaged: what follows is not held against it", "file", k.name)
	}
	return whole, nil
}

// openOwner opens segment n on the newest of the timelines, t and those that
// it descends from, that can have it and does.
//
// An older timeline has those that end before it was left.
func openOwner(store ReadableStore, size SegmentSize, h History, t TimelineID, n SegmentNumber) (*kept, error) {
	for i := len(h); i >= 0; i-- {
		owner, from := t, SegmentNumber(0)
		if i < len(h) {
			owner = h[i].Timeline
			if size.Start(n+1) > h[i].Switch {
				continue // what it has of this segment is another history
			}
		}
		if i > 0 {
			from = size.Segment(h[i-1].Switch)
		}
		if n < from {
			continue
		}
		k, err := openKept(store, size, owner, n, 0)
		if !errors.Is(err, fs.ErrNotExist) {
			return k, err
		}
	}
	return nil, fs.ErrNotExist
}
