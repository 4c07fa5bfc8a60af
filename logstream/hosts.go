package logstream

import (
	"context"
	"errors"
	"time"

	"github.com/pgbraid/pgbraid/internal/replconn"
)

// A Receiver whose connection is lost, or which begins, walks through the
// servers of its list: it connects to one, and judges it by what it says of
// itself. That a server is of another cluster, or on a timeline that this log
// has left, lacks the slot or the WAL, or falls silent before the stream
// begins, is a judgement about that server, and the next one is asked at once.
// Only when the list is through the Receiver pauses, or ends, where every host
// has proved that asking again cannot help.

// connect connects to the next server of the walk, or begins one.
func (r *Receiver) connect(ctx context.Context) error {
	if r.walk == nil {
		r.walk = r.newWalk()
	}
	c, err := r.walk.Next(ctx)
	if err != nil {
		r.walk, r.server.address = nil, "" // a verdict on all of them
		return err
	}
	r.conn, r.slotReady = c, false
	r.server.name, r.server.address = r.walk.Server(), c.Address()
	r.unlimit = c.LimitSilence(r.options.silenceLimit())
	return nil
}

func (r *Receiver) newWalk() *replconn.Walk {
	w := replconn.NewWalk(r.config, r.options.silenceLimit())
	w.GoOn = r.connected
	w.Trying = func() {
		r.mu.Lock()
		r.stepBegun = time.Now()
		r.mu.Unlock()
	}
	return w
}

// streaming ends the walk: the server is the right one.
func (r *Receiver) streaming() { r.walk, r.hadSlot = nil, true }

// passOver judges the server by the error that the Receiver met there. next
// tells that another one is to be asked; else verdict is what is known of all
// that were. With next it is the error.
func (r *Receiver) passOver(err error) (next bool, verdict error) {
	walk := r.walk
	r.walk = nil
	var store *StoreError
	switch {
	case r.over() != nil:
		return false, err
	case errors.As(err, &store), sqlstate(err) == sqlstateInUse:
		// No fault of the server's: it still has the connection before this
		// one in mind, perhaps, and lets go of the slot soon.
		return false, err
	case walk != nil && r.server.address != "":
		walk.Reject(err)
	case r.server.address != "" && permanent(err):
		// It was the right one up to here. What the others are is not known.
		walk = r.newWalk()
		walk.Exclude(r.server.address, err)
	default:
		return false, err
	}
	if !walk.More() {
		return false, walk.Err()
	}
	r.walk = walk
	r.log.Warn("passed over a server", "server", r.server.name, "error", err)
	return true, err
}
