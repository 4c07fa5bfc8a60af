package logstream

import (
	"errors"
	"io/fs"
	"log/slog"

	"github.com/pgbraid/pgbraid/internal/walread"
)

// continuity makes sure that the WAL that a server sends goes on from the WAL
// that is kept. System identifier and timeline do not tell that: two standbys
// may be promoted from one place to one timeline, and a virtual machine may be
// set back to a snapshot. So
//
//   - what comes is compared with what is kept of the same segment, and in the
//     segment in which a timeline began, up to there, with the segment of the
//     timeline that it left;
//   - pages and records must be a chain, which continues the segment before.
//
// A server sends only WAL that it has flushed, and a crash does not take that
// back: from release 14.1 on (and 13.5, 12.9, 11.14, 10.19) not even the
// beginning of a record whose rest was lost (XLOG_OVERWRITE_CONTRECORD in
// src/backend/access/transam/xlog.c). Earlier ones write that part anew. So
// what differs is another history if a complete record that is kept would be
// lost by going on. Where only the beginning of a record is kept, or pages that
// never reached the disk, the server's WAL counts.
type continuity struct {
	store  ReadableStore // nil: nothing can be compared
	size   SegmentSize
	system uint64
	log    *slog.Logger

	chain  walread.Chain // fed up to where the stream is, once it is entered
	begun  walread.Chain // as it was at the start of the segment
	linked bool          // chain and begun are set
	told   bool          // that the format is not known
	// compared says that something came on the present connection.
	compared bool

	inside bool  // the segment was entered
	next   LSN   // of the byte that follows
	own    *kept // what is kept of it; nil for nothing
	parent *kept // what the timeline before has of it

	buffer [2][]byte // for own and parent
}

// leave has the next byte enter its segment anew.
func (c *continuity) leave() {
	c.own.close()
	c.parent.close()
	c.own, c.parent, c.inside = nil, nil, false
}

// take checks WAL that begins at a position and does not go over the end of
// its segment. It takes less than all of it where what is kept of the segment
// ends, or counts for nothing from there on: the rest is to be given again.
func (c *continuity) take(at Position, data []byte) (n int, err error) {
	if !c.inside || c.next != at.LSN {
		c.leave()
		if err := c.enter(at); err != nil {
			return 0, err
		}
	}
	n, c.compared = len(data), true
	same, ended, err := c.own.compare(data)
	if err != nil {
		return 0, err
	}
	if same < len(data) {
		if !ended {
			if err := c.judge(c.own, at, same, data); err != nil {
				return 0, err
			}
		}
		c.own.close()
		c.own, n = nil, same
		data = data[:n]
	}
	if c.parent != nil {
		same, ended, err := c.parent.compare(data)
		if err != nil {
			return 0, err
		}
		if same < len(data) {
			if !ended {
				if err := c.judge(c.parent, at, same, data); err != nil {
					return 0, err
				}
			}
			c.parent.close()
			c.parent = nil
		}
	}
	if c.chained(at) {
		if err := c.chain.Feed(data); err != nil {
			return 0, c.broken(at, err)
		}
	}
	c.next = at.LSN + LSN(n)
	if !c.told && c.size.Offset(at.LSN) == 0 && n >= 64 && !c.chain.Known() {
		c.told = true
		c.log.Info("WAL is of an unknown format, its records are not checked", "position", at.String())
	}
	if c.size.Offset(at.LSN+LSN(n)) == 0 && n > 0 {
		c.leave()
	}
	return n, nil
}

// chained tells whether the chain stands at a position. It does not in a segment
// that the stream entered where nothing leads up to.
func (c *continuity) chained(at Position) bool { return LSN(c.chain.Position()) == at.LSN }

func (c *continuity) broken(at Position, err error) error {
	var end *walread.EndError
	if !errors.As(err, &end) {
		return err
	}
	return &BrokenChainError{Segment: c.size.FileName(at.Timeline, c.size.Segment(at.LSN)), Position: at, System: c.system, Err: end}
}

// enter gets ready for the segment that holds a position.
func (c *continuity) enter(at Position) error {
	n, offset := c.size.Segment(at.LSN), int64(c.size.Offset(at.LSN))
	if err := c.link(at, n); err != nil {
		return err
	}
	c.inside = true
	if c.store == nil {
		return nil
	}
	var err error
	if c.own, err = c.open(at.Timeline, n, 0, offset); err != nil {
		return err
	}
	history := c.ancestors(at.Timeline)
	for i := len(history) - 1; i >= 0 && c.parent == nil; i-- {
		e := history[i]
		if e.Switch <= at.LSN || c.size.Segment(e.Switch) != n {
			break // this segment has nothing of that timeline
		}
		if c.parent, err = c.open(e.Timeline, n, e.Switch, offset); err != nil {
			return err
		}
	}
	return nil
}

// open opens what a timeline has of a segment, at an offset.
func (c *continuity) open(t TimelineID, n SegmentNumber, limit LSN, offset int64) (*kept, error) {
	k, err := openKept(c.store, c.size, t, n, limit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = k.skip(offset)
	}
	if err != nil {
		return nil, &StoreError{Err: err}
	}
	which := 0
	if limit != 0 {
		which = 1
	}
	if c.buffer[which] == nil {
		c.buffer[which] = make([]byte, packBuffer)
	}
	k.buffer = c.buffer[which]
	return k, nil
}

// ancestors is the history of a timeline, as far as the Store has it.
func (c *continuity) ancestors(t TimelineID) History {
	if t == 1 || c.store == nil {
		return nil
	}
	content, err := c.store.ReadHistory(t)
	if err != nil {
		return nil
	}
	h, err := ParseHistory(content)
	if err != nil {
		return nil
	}
	return h
}

// judge decides about WAL kept in k that differs from data, which is to be
// written at a position, after so many bytes that are the same. The error is a
// *DivergedError where complete records would be lost.
func (c *continuity) judge(k *kept, at Position, same int, data []byte) error {
	differs := at.LSN + LSN(same)
	chain, known := c.chain, true
	if c.chained(at) {
		if err := chain.Feed(data[:same]); err != nil {
			return c.broken(at, err)
		}
		servers := chain
		_ = servers.Feed(data[same:]) // only whether its format is known counts here
		known = chain.Known() || servers.Known()
	}
	end, zero, err := c.lost(k, chain, differs)
	if err != nil {
		return &StoreError{Err: err}
	}
	switch {
	case end > differs, !zero && !known:
		return &DivergedError{
			File: k.name, Differs: differs, Stored: Position{k.timeline, max(end, differs)}, System: c.system,
		}
	case !zero:
		c.log.Warn("what is kept of a segment differs from the server's WAL, and is no complete WAL from there on: the server's counts", "file", k.name, "from", differs.String())
	}
	return nil
}

// lost is the end of the last complete record that k has after the LSN
// differs, up to which chain was fed; differs or less if there is none. zero
// tells that there is nothing but zeros.
func (c *continuity) lost(k *kept, chain walread.Chain, differs LSN) (end LSN, zero bool, err error) {
	chain.LimitTimeline(0)
	rest, err := openKept(c.store, c.size, k.timeline, k.number, k.limit)
	if err != nil {
		return 0, false, err
	}
	defer rest.close()
	rest.buffer = k.buffer
	if err := rest.skip(int64(c.size.Offset(differs))); err != nil {
		return 0, false, err
	}
	led := LSN(chain.Position()) == differs
	end, zero, err = rest.follow(&chain)
	if err != nil || led && (zero || end > differs) {
		return end, zero, err
	}
	// What is kept may itself be out of joint before: then from its own start.
	own, err := walread.NewChain(uint64(c.size.Start(k.number)), walread.Options{SegmentSize: uint32(c.size)})
	if err != nil {
		return 0, false, err
	}
	again, err := openKept(c.store, c.size, k.timeline, k.number, k.limit)
	if err != nil {
		return 0, false, err
	}
	defer again.close()
	again.buffer = k.buffer
	end, _, err = again.follow(&own)
	return end, zero, err
}
