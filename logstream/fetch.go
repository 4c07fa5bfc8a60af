package logstream

import (
	"context"
	"errors"
	"fmt"
)

// fetch is what FetchingFromArchive does: it takes segments from the archive
// as long as that has them, as a standby's recovery does, and then the stream
// is tried again. If the archive does not have even the first, that is a gap.
func (r *Receiver) fetch(ctx context.Context) State {
	if err := r.leaveForArchive(); err != nil {
		return r.retry(err)
	}
	fetched := 0
	for !r.atStop(r.cursor.pos) {
		found, err := r.fetchSegment(ctx)
		if err != nil {
			r.failure = err
			return Stopped
		}
		if !found {
			break
		}
		fetched++
	}
	switch {
	case r.atStop(r.cursor.pos):
		return r.stopHere()
	case fetched > 0:
		r.log.Info("took WAL from the archive", "segments", fetched, "up to", r.cursor.pos.String())
		return Connecting
	case !permanent(r.failure) && r.options.GiveUpAfter >= 0:
		return Waiting // a server that could not be asked may have it
	case r.options.AllowGap:
		return r.leaveGap(ctx)
	}
	return Stopped // with the failure that led here
}

// leaveForArchive goes back to the start of the segment that is open, which
// then comes from the archive as a whole.
func (r *Receiver) leaveForArchive() error {
	return r.cursor.moveTo(r.cursor.pos)
}

// fetchSegment takes the segment where the stream stands from the archive, on
// the newest timeline of the server's history that it can be on.
func (r *Receiver) fetchSegment(ctx context.Context) (found bool, err error) {
	if r.options.Archive == "" {
		return false, nil
	}
	store, ok := r.options.Store.(ImportStore)
	if !ok {
		return false, errors.New("the store takes no segments from an archive")
	}
	size := r.options.SegmentSize
	number := size.Segment(r.cursor.pos.LSN)
	for _, t := range r.candidates(number) {
		found, err := store.Import(t, number, r.options.SystemIdentifier, func(name, path string) (bool, error) {
			return r.options.Archive.Fetch(ctx, name, path)
		})
		if err != nil {
			return false, &StoreError{Err: err}
		}
		if !found {
			continue
		}
		if err := r.cursor.moveTo(Position{t, size.Start(number + 1)}); err != nil {
			return false, err
		}
		r.publish(0)
		return true, nil
	}
	return false, nil
}

// candidates are the timelines that a segment can be on, the newest first: the
// one of the stream, and those of the server's history that began in or before
// the segment.
func (r *Receiver) candidates(n SegmentNumber) []TimelineID {
	list := []TimelineID{r.cursor.pos.Timeline}
	for _, e := range r.history {
		t := r.history.After(e.Timeline, r.server.timeline)
		if t > r.cursor.pos.Timeline && r.options.SegmentSize.Segment(e.Switch) <= n {
			list = append([]TimelineID{t}, list...)
		}
	}
	return list
}

// leaveGap goes on at the oldest WAL that the server is known to have: where
// the slot keeps it from, else its present position.
func (r *Receiver) leaveGap(ctx context.Context) State {
	if err := r.connect(ctx); err != nil {
		return r.retry(err)
	}
	if err := r.identify(ctx); err != nil {
		return r.retry(err)
	}
	next := Position{r.server.timeline, r.server.position}
	if r.slot != "" && r.conn.ServerVersion() >= 150000 {
		slot, err := ReadSlot(ctx, r.conn, r.slot)
		if err != nil {
			return r.retry(err)
		}
		if slot.Position.LSN > r.cursor.pos.LSN {
			next = slot.Position
		}
	}
	size := r.options.SegmentSize
	from, to := r.cursor.pos, size.Floor(next.LSN)
	if to <= from.LSN {
		r.failure = fmt.Errorf("no position to go on from behind the gap at %s: %w", from, r.failure)
		return Stopped
	}
	if err := r.cursor.moveTo(next); err != nil {
		return r.retry(err)
	}
	r.log.Error("left a gap in the log", "from", from.String(), "to", r.cursor.pos.String(),
		"segments", uint64(to-size.Floor(from.LSN))/uint64(size))
	r.mu.Lock()
	r.status.Gaps++
	r.mu.Unlock()
	r.publish(0)
	return Identifying
}
