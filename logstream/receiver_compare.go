package logstream

import "errors"

// rewind has the stream begin before what is kept, for it to be compared. Until
// that is over the server is not told a flush position: what this server has is
// known only as far as it was compared, so that a commit of another server could
// count as kept; and a lower position would take a slot back.
func (r *Receiver) rewind() {
	r.cursor.check.system = r.options.SystemIdentifier
	r.cursor.rewind(r.without)
	r.without, r.comparing = false, r.cursor.behind > 0
	r.publish(0)
}

// compared reports what could not be reported before, once all of it was
// compared.
func (r *Receiver) compared() {
	if r.comparing && r.cursor.behind == 0 {
		r.comparing = false
		r.feedback.request()
	}
}

// goOnWithout begins the stream with the segment at hand, on the same
// connection: the server no longer has the one before.
func (r *Receiver) goOnWithout() State {
	r.log.Debug("the server no longer has the segment before, which could be compared", "position", r.cursor.pos.String())
	if err := r.conn.Drain(); err != nil {
		return r.retry(err)
	}
	r.without = true
	return Streaming
}

// checkLeft makes sure that a server which had less than what is kept, and then
// left the timeline before it had sent that, loses no complete record.
func (r *Receiver) checkLeft(next Position) error {
	if r.cursor.behind == 0 || next.LSN >= r.cursor.pos.LSN {
		return nil
	}
	r.server.timeline = next.Timeline
	return r.checkFork(next.LSN)
}

// nameServer adds to an error about the server's WAL where that ends.
func (r *Receiver) nameServer(err error) {
	r.mu.Lock()
	server := Position{r.server.timeline, max(r.server.position, r.status.ServerEnd)}
	r.mu.Unlock()
	var diverged *DivergedError
	var broken *BrokenChainError
	switch {
	case errors.As(err, &diverged):
		diverged.Server = Position{server.Timeline, max(server.LSN, diverged.Differs)}
		if diverged.Stored.Timeline == r.cursor.pos.Timeline {
			diverged.Stored.LSN = max(diverged.Stored.LSN, r.cursor.pos.LSN)
		}
	case errors.As(err, &broken):
		broken.Server = server
	}
}
