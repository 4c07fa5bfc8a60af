package logstream

import "time"

// Status is a Receiver's state at one moment.
type Status struct {
	State     State
	Written   Position // end of what was received
	Durable   Position // end of what is durable
	ServerEnd LSN      // end of the server's WAL, as it last said; 0 unknown
	Received  int64    // bytes of WAL that the server sent
	Segments  int      // segments that the stream filled and that are durable
	Lost      int      // connections lost
	Switches  int      // timelines passed
	Gaps      int      // gaps that were allowed
	LostWAL   int      // times that WAL was set aside which a failover lost
	LastError error    // what the last connection was lost by, nil if none was

	// LastMessage is when the last message of a stream came, zero before the
	// first. A server that has nothing to say may be silent for hours.
	LastMessage time.Time
	// WrittenBehind and DurableBehind are since when the server is known to
	// have WAL that is not written, or not durable, here; zero if there is
	// none. They may be early: by 0.1 s, or by half of what the lag is.
	WrittenBehind, DurableBehind time.Time

	// Stalled is for how long the Receiver has not moved where it should: a
	// write or an fsync has not returned, or a step of connecting takes longer
	// than it may. 0 is how it should be, also while the server is away.
	Stalled time.Duration
}

// State of a Receiver. receiver_states.go says what leads from one to another.
type State string

// The states.
const (
	Connecting  State = "connecting"
	Identifying State = "identifying"
	Streaming   State = "streaming"
	TimelineEnd State = "timeline end"
	// FetchingFromArchive is only there with Options.Archive or AllowGap.
	FetchingFromArchive State = "fetching from archive"
	Waiting             State = "waiting"
	Stopped             State = "stopped"
)

// Status returns the present state.
func (r *Receiver) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.status
	s.Stalled = r.stalled(time.Now())
	s.WrittenBehind, s.DurableBehind = r.writtenLag.since(), r.durableLag.since()
	return s
}

func (r *Receiver) setState(s State) {
	r.mu.Lock()
	r.status.State, r.stepBegun = s, time.Now()
	r.mu.Unlock()
}

// heard takes the server's end of WAL from a message, before anything is done
// with what it brings: while a write hangs, the status must say that there is
// WAL that is not here.
func (r *Receiver) heard(serverEnd LSN) {
	r.lastProgress = time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.LastMessage = r.lastProgress
	r.status.ServerEnd = max(r.status.ServerEnd, serverEnd)
	r.writtenLag.ahead(serverEnd, r.lastProgress)
	r.durableLag.ahead(serverEnd, r.lastProgress)
	r.writtenLag.reached(r.status.Written.LSN)
	r.durableLag.reached(r.status.Durable.LSN)
}

// publish puts the positions into the status. It runs in Run's goroutine.
func (r *Receiver) publish(serverEnd LSN) {
	r.mu.Lock()
	defer r.mu.Unlock()
	// Under the lock: flushed, in between, must not have its newer position
	// taken back.
	durable := r.flush.position()
	s := &r.status
	if serverEnd != 0 { // there was a message
		if n := r.cursor.pos.LSN - s.Written.LSN; s.Written.Timeline == r.cursor.pos.Timeline && r.cursor.pos.LSN > s.Written.LSN {
			s.Received += int64(n)
		}
	}
	s.Written, s.Durable = r.cursor.pos, durable
	r.behind = r.cursor.behind
	r.writtenLag.reached(s.Written.LSN)
	r.durableLag.reached(s.Durable.LSN)
}

// serverIsAt takes the end of WAL of a server that was connected to. It may be
// another than before, and have less.
func (r *Receiver) serverIsAt(end LSN) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.ServerEnd = end
	for _, l := range []*lag{&r.writtenLag, &r.durableLag} {
		l.cut(end)
		l.ahead(end, now)
	}
	r.writtenLag.reached(r.status.Written.LSN)
	r.durableLag.reached(r.status.Durable.LSN)
}

// progress is called after each message of the stream.
func (r *Receiver) progress(serverEnd LSN) {
	r.streaming()
	r.pauses, r.notThere, r.streamed = 0, 0, true
	r.publish(serverEnd)
	r.compared()
}

// noteDurable puts the durable position into the status, and tells who is to
// report it.
func (r *Receiver) noteDurable() *feedback {
	r.mu.Lock()
	defer r.mu.Unlock()
	// Under the lock, as in publish: both goroutines do this, and the older
	// position must not come last.
	durable, sealed := r.flush.progress()
	if sealed > r.status.Segments {
		r.log.Debug("finished segment", "position", durable.String())
	}
	r.status.Durable, r.status.Segments = durable, sealed
	r.durableLag.reached(durable.LSN)
	return r.feedback
}

// positions is what feedback reports.
func (r *Receiver) positions() (written, durable LSN) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w, d := r.status.Written, r.status.Durable
	if r.behind > 0 {
		return w.LSN - r.behind, 0 // see rewind
	}
	// The segment that a message fills may be durable before the message is
	// written to its end.
	if w.Timeline == d.Timeline && d.LSN > w.LSN {
		w = d
	}
	return w.LSN, d.LSN
}
