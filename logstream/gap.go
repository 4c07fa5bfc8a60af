package logstream

import (
	"context"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pgbraid/pgbraid/internal/replconn"
)

// gap is one that was left: nothing came from its first position up to its
// second.
type gap struct{ from, to Position }

// gapEnd is where a server has WAL again after a gap.
type gapEnd struct {
	first   SegmentNumber // 0: nowhere
	server  identity
	history History
}

// leaveGap goes on after WAL that is nowhere to be had, at the first segment
// that a server of the list has, or the archive where that has an earlier one.
func (r *Receiver) leaveGap(ctx context.Context) State {
	before := r.cursor.pos
	missing := r.options.SegmentSize.Segment(before.LSN)
	var end gapEnd
	for more := true; more; {
		if err := r.connect(ctx); err != nil && end.first == 0 {
			return r.retry(err)
		} else if err != nil {
			break
		}
		walk := r.walk
		next, first, err := r.askForGap(ctx, missing)
		if r.cursor.pos != before {
			if err != nil {
				return r.retry(err)
			}
			return next // the stream goes on elsewhere: perhaps nothing is missing there
		}
		r.disconnect()
		if err != nil {
			walk.Reject(err)
		} else if end.first == 0 || first < end.first {
			end = gapEnd{first, r.server, r.history}
		}
		if more = walk.More(); !more {
			r.walk, r.server.address = nil, ""
			if end.first == 0 {
				return r.retry(walk.Err())
			}
		}
	}
	r.server, r.history = end.server, end.history
	return r.goOnAfterGap(ctx, missing, end.first)
}

// askForGap asks the server that is connected to for the first segment that it
// has after one that is missing. Where its history moves the stream, next is
// what follows.
func (r *Receiver) askForGap(ctx context.Context, missing SegmentNumber) (next State, first SegmentNumber, err error) {
	if err := r.identify(ctx); err != nil {
		return Stopped, 0, err
	}
	before := r.cursor.pos
	next, err = r.checkHistory(ctx)
	if err != nil || r.cursor.pos != before {
		return next, 0, err
	}
	config := r.conn.Pin(r.config)
	r.disconnect()
	first, err = r.firstOnServer(ctx, config, missing)
	if err == nil && first <= missing {
		err = fmt.Errorf("no position to go on from after the gap at %s: the server is at %s: %w", before, r.server.position, r.failure)
	}
	return next, first, err
}

// goOnAfterGap goes on at a segment, or at the first one before it that the
// archive has.
func (r *Receiver) goOnAfterGap(ctx context.Context, missing, first SegmentNumber) State {
	for n := missing + 1; r.options.Archive != "" && n < first && !r.atStop(r.cursor.pos); n++ {
		t, found, err := r.fetchSegment(ctx, n)
		if err != nil {
			return r.retry(err)
		}
		if found {
			if err := r.passGap(t, n); err != nil {
				return r.retry(err)
			}
			if err := r.goOnAfter(t, n); err != nil {
				return r.retry(err)
			}
			return Connecting
		}
	}
	if err := r.passGap(r.candidates(first)[0], first); err != nil {
		return r.retry(err)
	}
	return Connecting
}

// passGap moves the stream to the start of a segment, and notes that what is
// between is missing. A server goes on removing WAL: a gap that is longer than
// it was found to be, before anything came after it, is still the same one.
func (r *Receiver) passGap(t TimelineID, n SegmentNumber) error {
	size := r.options.SegmentSize
	from := r.cursor.pos
	if err := r.cursor.moveTo(Position{t, size.Start(n)}); err != nil {
		return err
	}
	grown := r.gap.to == from
	if grown {
		from = r.gap.from
	}
	r.gap = gap{from, r.cursor.pos}
	r.notThere = 0
	r.log.Error("left a gap in the log", "from", from.String(), "to", r.cursor.pos.String(),
		"segments", uint64(n-size.Segment(from.LSN)), "grown", grown)
	r.mu.Lock()
	if !grown {
		r.status.Gaps++
	}
	r.mu.Unlock()
	r.publish(0)
	return nil
}

// firstOnServer finds the first segment after one that is missing which the
// server has, by bisection: a server removes its WAL from the oldest on. By the
// time that the answer is used it may be too old, which the stream shows.
func (r *Receiver) firstOnServer(ctx context.Context, config *pgconn.Config, missing SegmentNumber) (SegmentNumber, error) {
	size := r.options.SegmentSize
	// The one that the server is writing is there.
	first := size.Segment(r.server.position)
	for lacks := missing; lacks+1 < first; {
		n := lacks + (first-lacks)/2
		has, err := r.serverHas(ctx, config, Position{r.candidates(n)[0], size.Start(n)})
		if err != nil {
			return 0, err
		}
		if has {
			first = n
		} else {
			lacks = n
		}
	}
	return first, nil
}

// serverHas begins to stream at a position, on a connection of its own, to see
// whether the server has the WAL: it answers with an error only when it comes to
// read it (src/backend/replication/walsender.c, WalSndSegmentOpen).
func (r *Receiver) serverHas(ctx context.Context, config *pgconn.Config, p Position) (bool, error) {
	c, err := replconn.Connect(ctx, config)
	if err != nil {
		return false, err
	}
	defer func() { _ = c.Close() }() // nothing is expected of it any more
	defer c.LimitSilence(r.options.silenceLimit())()
	defer c.Watch(ctx)()
	if err := c.Send("START_REPLICATION " + p.LSN.String() + " TIMELINE " + strconv.FormatUint(uint64(p.Timeline), 10)); err != nil {
		return false, err
	}
	for {
		kind, body, err := c.Receive()
		switch {
		case sqlstate(err) == sqlstateUndefinedFile:
			return false, nil
		case err != nil:
			return false, fmt.Errorf("looking for WAL at %s: %w", p, err)
		case kind == replconn.CopyData && len(body) > 0 && body[0] == kindWALData:
			return true, nil
		case kind == replconn.RowDescription:
			return true, nil // the timeline ends here: the next one begins with this segment
		case kind != replconn.CopyBothResponse && kind != replconn.CopyData:
			return false, replconn.Unexpected(kind, "looking for WAL")
		}
	}
}
