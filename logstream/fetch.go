package logstream

import (
	"context"
	"errors"
	"fmt"
)

// fetch is what FetchingFromArchive does: it takes segments from the archive
// as long as that has them, as a standby's recovery does, and then the stream
// is tried again. If neither has even the first, several times, that is a gap.
func (r *Receiver) fetch(ctx context.Context) State {
	if err := r.leaveForArchive(); err != nil {
		return r.retry(err)
	}
	fetched := 0
	for !r.atStop(r.cursor.pos) {
		found, err := r.fetchNext(ctx)
		if err != nil {
			return r.retry(err)
		}
		if !found {
			break
		}
		fetched++
		r.pauses, r.notThere = 0, 0
	}
	switch {
	case r.atStop(r.cursor.pos):
		return r.stopHere()
	case fetched > 0:
		r.log.Info("took WAL from the archive", "segments", fetched, "up to", r.cursor.pos.String())
		return Connecting
	case !permanent(r.failure) && r.options.GiveUpAfter >= 0:
		return Waiting // a server that could not be asked may have it
	}
	if r.options.Archive != "" {
		if r.notThere++; r.notThere < r.options.archiveTries() {
			r.failure = fmt.Errorf("%w; and the archive does not have it", r.failure)
			return Waiting
		}
	}
	if r.options.AllowGap {
		return r.leaveGap(ctx)
	}
	return Stopped // with the failure that led here
}

// defaultArchiveTries is how often an archive has to say that it lacks a
// segment. With the pauses between that takes about 50 seconds.
const defaultArchiveTries = 10

func (o *Options) archiveTries() int {
	if o.ArchiveTries == 0 {
		return defaultArchiveTries
	}
	return o.ArchiveTries
}

// leaveForArchive goes back to the start of the segment that is open, which
// then comes from the archive as a whole.
func (r *Receiver) leaveForArchive() error {
	return r.cursor.moveTo(r.cursor.pos)
}

// fetchNext takes the segment where the stream stands from the archive.
func (r *Receiver) fetchNext(ctx context.Context) (found bool, err error) {
	number := r.options.SegmentSize.Segment(r.cursor.pos.LSN)
	t, found, err := r.fetchSegment(ctx, number)
	if !found || err != nil {
		return false, err
	}
	return true, r.goOnAfter(t, number)
}

// goOnAfter moves the stream to the end of a segment that was fetched.
func (r *Receiver) goOnAfter(t TimelineID, n SegmentNumber) error {
	if err := r.cursor.moveTo(Position{t, r.options.SegmentSize.Start(n + 1)}); err != nil {
		return err
	}
	r.publish(0)
	return nil
}

// fetchSegment takes a segment from the archive, on the newest timeline of the
// server's history that it can be on.
func (r *Receiver) fetchSegment(ctx context.Context, n SegmentNumber) (t TimelineID, found bool, err error) {
	if r.options.Archive == "" {
		return 0, false, nil
	}
	store, ok := r.options.Store.(ImportStore)
	if !ok {
		return 0, false, &StoreError{errors.New("the store takes no segments from an archive")}
	}
	for _, t := range r.candidates(n) {
		found, err := store.Import(t, n, r.options.SystemIdentifier, func(name, path string) (bool, error) {
			return r.options.Archive.Fetch(ctx, name, path)
		})
		var failed *ArchiveError
		switch {
		case ctx.Err() != nil:
			return 0, false, context.Cause(ctx)
		case errors.As(err, &failed):
			return 0, false, err
		case err != nil:
			return 0, false, &StoreError{Err: err}
		case found:
			return t, true, nil
		}
	}
	return 0, false, nil
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
