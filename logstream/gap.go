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

// leaveGap goes on after WAL that is nowhere to be had, at the first segment
// that the server has, or the archive where that has an earlier one.
func (r *Receiver) leaveGap(ctx context.Context) State {
	missing := r.options.SegmentSize.Segment(r.cursor.pos.LSN)
	if err := r.connect(ctx); err != nil {
		return r.retry(err)
	}
	if err := r.identify(ctx); err != nil {
		return r.retry(err)
	}
	before := r.cursor.pos
	if next, err := r.checkHistory(ctx); err != nil {
		return r.retry(err)
	} else if r.cursor.pos != before {
		return next // the stream goes on elsewhere: perhaps nothing is missing there
	}
	config := r.conn.Pin(r.config)
	r.disconnect()
	r.walk = nil // the list of servers begins anew
	first, err := r.firstOnServer(ctx, config, missing)
	if err != nil {
		return r.retry(err)
	}
	if first <= missing {
		r.failure = fmt.Errorf("no position to go on from after the gap at %s: %w", before, r.failure)
		return Stopped
	}
	for n := missing + 1; r.options.Archive != "" && n < first && !r.atStop(before); n++ {
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
