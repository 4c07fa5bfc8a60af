package logstream

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// retry decides what follows a failure: a pause and another try, the archive,
// or the end.
func (r *Receiver) retry(err error) State {
	r.disconnect()
	failed := r.flush.failed()
	if failed != nil {
		err = failed // it may not have been met yet
	}
	next, err := r.passOver(err)
	r.mu.Lock()
	r.status.LastError = err
	r.mu.Unlock()
	if next {
		return Connecting
	}
	var missing *WALMissingError
	if errors.As(err, &missing) && (r.options.Archive != "" || r.options.AllowGap) {
		r.failure = err
		return FetchingFromArchive
	}
	patience := r.options.GiveUpAfter
	switch {
	case patience == 0 && diskFull(err, failed):
		// There may be room again; what is durable is not touched.
		if failed == nil {
			break
		}
		r.noRoom = err
		if err := r.beginAnew(); err != nil {
			r.failure = err
			return Stopped
		}
	case patience != 0 && !r.streamed && sqlstate(err) != "":
		// The server refused the stream before its first byte: a person who
		// waits for a clone wants to hear that now.
		r.failure = err
		return Stopped
	case !r.connected, permanent(err), patience < 0:
		r.failure = err
		return Stopped
	case patience > 0 && time.Since(r.lastProgress) > patience:
		r.failure = fmt.Errorf("log stream did not come back for %s: %w", patience, err)
		return Stopped
	}
	r.mu.Lock()
	r.status.Lost++
	r.mu.Unlock()
	r.failure = err
	return Waiting
}

// diskFull tells whether err says that there is no room, and not that bytes
// which were written are lost: after a failed fsync nothing helps. failed is the
// flusher's error.
func diskFull(err, failed error) bool {
	var store *StoreError
	return errors.As(err, &store) && noRoom(err) && (failed == nil || noRoomToPack(failed))
}

const (
	firstPause   = 100 * time.Millisecond
	longestPause = 30 * time.Second
)

// pause is how long to wait before the next try: it doubles from 0.1 s to
// 30 s, less up to a quarter by chance so that clients of one server do not
// come back all at once.
func pause(tries int) time.Duration {
	d := longestPause
	if tries < 9 {
		d = min(firstPause<<tries, longestPause)
	}
	return d - rand.N(d/4) //#nosec G404 -- nobody gains by guessing it
}
