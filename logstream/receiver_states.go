package logstream

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/pgbraid/pgbraid/internal/replconn"
)

// The Receiver's states and what leads from one to another:
//
//	state                does                                 then
//	Connecting           connects to the next server          Identifying | retry
//	Identifying          system identifier, slot, timelines   Streaming | TimelineEnd | retry
//	Streaming            START_REPLICATION to its end         Stopped (stop position)
//	                                                          TimelineEnd | retry
//	TimelineEnd          the next timeline's history          Streaming | retry
//	FetchingFromArchive  takes segments from the archive,     Connecting | Stopped
//	                     or leaves a gap
//	Waiting              pauses                               Connecting | Stopped
//	Stopped
//
// retry is Connecting where the list has another server to ask,
// FetchingFromArchive where the server lacks the WAL and there is somewhere else
// to look, Stopped where trying again cannot help or the time for it is over,
// else Waiting.
func (r *Receiver) step(ctx context.Context, state State) State {
	switch state {
	case Connecting:
		if err := r.connect(ctx); err != nil {
			return r.retry(err)
		}
		return Identifying
	case Identifying:
		if err := r.identify(ctx); err != nil {
			return r.retry(err)
		}
		next, err := r.checkHistory(ctx)
		if err != nil {
			return r.retry(err)
		}
		return next
	case Streaming:
		return r.stream(ctx)
	case TimelineEnd:
		if err := r.ensureHistory(ctx, r.cursor.pos.Timeline); err != nil {
			return r.retry(err)
		}
		return Streaming
	case FetchingFromArchive:
		return r.fetch(ctx)
	case Waiting:
		return r.wait(ctx)
	}
	return Stopped
}

// wait pauses before the next try.
func (r *Receiver) wait(ctx context.Context) State {
	d := pause(r.pauses)
	r.pauses++
	r.log.Warn("log stream lost, trying again", "error", r.failure, "in", d.Round(time.Millisecond), "position", r.cursor.pos.String())
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		if r.atStop(r.cursor.pos) {
			return r.stopHere()
		}
		select {
		case <-ctx.Done():
			return Connecting // which sees it as well
		case <-r.wake:
		case <-timer.C:
			return Connecting
		}
	}
}

// stopHere ends the stream at the stop position while there is no connection.
func (r *Receiver) stopHere() State {
	r.failure = r.cursor.end(flushFinish)
	return Stopped
}

func (r *Receiver) disconnect() {
	if r.conn == nil {
		return
	}
	r.mu.Lock()
	r.feedback = nil
	r.mu.Unlock()
	r.unlimit()
	_ = r.conn.Close() // the stream's own error says more
	r.conn = nil
}

// identity is what the server says of itself at the beginning of a connection.
type identity struct {
	timeline TimelineID
	position LSN           // end of its WAL
	timeout  time.Duration // wal_sender_timeout, 0: none
	name     string        // host and port, for a person
	address  string        // what was dialled; "" once no server is connected to
}

// identify checks that this is the right cluster, before anything is asked of
// it or written, and makes the slot. On a connection that Prepare made long ago
// it is called once more: the server's timeline may be another by now.
func (r *Receiver) identify(ctx context.Context) error {
	system, at, err := IdentifySystem(ctx, r.conn)
	if err != nil {
		return err
	}
	if r.options.SystemIdentifier == 0 {
		r.options.SystemIdentifier = system
	}
	if want := r.options.SystemIdentifier; system != want {
		return &SystemMismatchError{Want: want, Got: system}
	}
	text, err := show(ctx, r.conn, "wal_sender_timeout")
	if err != nil {
		return err
	}
	r.server.timeline, r.server.position, r.server.timeout = at.Timeline, at.LSN, parseInterval(text)
	if !r.slotReady {
		if err := r.makeSlot(ctx); err != nil {
			return err
		}
		r.slotReady = true
	}
	r.connected = true
	return nil
}

// IdentifySystem asks the server for the system identifier of its cluster, and
// for its present timeline and the end of its WAL.
func IdentifySystem(ctx context.Context, c *replconn.Conn) (system uint64, at Position, err error) {
	const command = "IDENTIFY_SYSTEM"
	fail := func(err error) (uint64, Position, error) {
		return 0, Position{}, &CommandError{command, "identifying the system", err}
	}
	result, err := c.Query(ctx, command)
	if err != nil {
		return fail(err)
	}
	row, err := result.Row(3)
	if err != nil {
		return fail(err)
	}
	if system, err = strconv.ParseUint(string(row[0]), 10, 64); err != nil {
		return fail(fmt.Errorf("%w: system identifier %q", replconn.ErrMalformed, row[0]))
	}
	if at.Timeline, err = ParseTimelineID(string(row[1])); err != nil {
		return fail(fmt.Errorf("%w: %w", replconn.ErrMalformed, err))
	}
	if at.LSN, err = ParseLSN(string(row[2])); err != nil {
		return fail(fmt.Errorf("%w: %w", replconn.ErrMalformed, err))
	}
	return system, at, nil
}

func (r *Receiver) makeSlot(ctx context.Context) error {
	s := r.options.Slot
	r.slot = s.Name
	switch {
	case s.Temporary:
		if r.slot == "" {
			r.slot = temporarySlotName(r.conn)
		}
		command := createSlotCommand(r.conn.ServerVersion(), r.slot, true, true)
		if _, err := r.conn.Query(ctx, command); err != nil {
			return &CommandError{command, "creating temporary replication slot", err}
		}
		r.log.Debug("created temporary replication slot", "slot", r.slot)
	case s.Create && !r.created:
		if _, err := CreateSlot(ctx, r.conn, s.Name, true); err != nil {
			return err
		}
		r.created = true
		r.log.Debug("created replication slot", "slot", s.Name)
	case s.Name != "" && !r.recreate() && !s.Unasked && r.conn.ServerVersion() >= 150000:
		// Without this question a wrong name would show only when the stream
		// begins: for a clone, after the server's checkpoint.
		slot, err := ReadSlot(ctx, r.conn, s.Name)
		if err != nil {
			return err
		}
		if !slot.Exists {
			return &MissingSlotError{s.Name}
		}
	}
	return nil
}

// checkHistory compares where the stream stands with the server's history.
func (r *Receiver) checkHistory(ctx context.Context) (State, error) {
	pos := r.cursor.pos
	r.history = nil
	if r.server.timeline < pos.Timeline {
		return Stopped, &TimelineError{Position: pos, Server: r.server.timeline}
	}
	if r.server.timeline > pos.Timeline {
		_, h, err := fetchHistory(ctx, r.conn, r.server.timeline)
		if err != nil {
			return Stopped, err
		}
		r.history = h
		fork, ok := h.SwitchPoint(pos.Timeline)
		if !ok {
			return Stopped, &TimelineError{Position: pos, Server: r.server.timeline}
		}
		if err := r.checkFork(fork); err != nil {
			return Stopped, err
		}
		if pos.LSN > fork {
			// Only the beginning of a record lies beyond the fork: the server
			// that was promoted had received the same.
			return r.switchTo(Position{h.After(pos.Timeline, r.server.timeline), fork}), nil
		}
	}
	return Streaming, r.ensureHistory(ctx, pos.Timeline)
}

// switchTo goes on with the next timeline.
func (r *Receiver) switchTo(next Position) State {
	r.log.Info("switched timeline", "from", r.cursor.pos.Timeline, "to", next.Timeline, "at", next.LSN.String())
	r.lastProgress = time.Now()
	if err := r.cursor.moveTo(next); err != nil {
		return r.retry(err)
	}
	r.mu.Lock()
	r.status.Switches++
	r.mu.Unlock()
	r.publish(0)
	return TimelineEnd
}

// ensureHistory keeps the history file of a timeline, also of the one that the
// stream starts on: without it the WAL of that timeline cannot be replayed.
// Timeline 1 has none.
func (r *Receiver) ensureHistory(ctx context.Context, t TimelineID) error {
	if t == 1 {
		return nil
	}
	have, err := r.options.Store.HasHistory(t)
	if err != nil {
		return &StoreError{Err: err}
	}
	if have {
		if same, err := r.sameHistory(ctx, t); same || err != nil {
			return err
		}
	}
	content, _, err := fetchHistory(ctx, r.conn, t)
	if err != nil {
		return err
	}
	if err := r.options.Store.WriteHistory(t, content); err != nil {
		return &StoreError{Err: err}
	}
	return nil
}

// stream runs one session.
func (r *Receiver) stream(ctx context.Context) State {
	pos := r.cursor.pos
	if !r.without { // it was said before
		r.log.Debug("starting log streaming", "position", pos.String())
	}
	if r.atStop(pos) {
		r.log.Debug("stopped log streaming", "position", pos.String())
		return r.stopHere()
	}
	r.rewind()
	f := &feedback{
		conn:        r.conn,
		position:    r.positions,
		interval:    r.options.StatusInterval,
		timeout:     r.server.timeout,
		silence:     r.options.silenceLimit(),
		reportFlush: r.slot != "" || r.options.Synchronous,
		synchronous: r.options.Synchronous,
		now:         make(chan struct{}, 1),
		wake:        r.interrupt,
	}
	r.mu.Lock()
	r.feedback = f
	r.mu.Unlock()
	s := &session{
		conn: r.conn, cursor: r.cursor, feedback: f, slot: r.slot,
		synchronous: r.options.Synchronous, atStop: r.atStop, wakeable: r.wakeable,
		heard: r.heard, progress: r.progress,
		durable: func() { r.noteDurable() },
	}
	end, next, err := s.run(ctx)
	switch {
	case err != nil && r.recreate() && sqlstate(err) == sqlstateUndefinedObject:
		return r.recreateSlot(ctx)
	case err != nil && sqlstate(err) == sqlstateUndefinedFile && r.cursor.startedEarlier():
		return r.goOnWithout()
	case err != nil:
		return r.retry(r.explain(err))
	case end == serverStopped:
		return r.retry(ErrTerminatedEarly)
	case end == reachedTimelineEnd:
		if err := r.checkLeft(next); err != nil {
			return r.retry(err)
		}
		return r.switchTo(next)
	}
	r.log.Debug("stopped log streaming", "position", r.cursor.pos.String())
	r.failure = nil
	return Stopped
}

// wakeable lets StopAt interrupt the connection, or not.
func (r *Receiver) wakeable(yes bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.active = nil
	if yes {
		r.active = r.conn
	}
}

// recreateSlot makes the slot anew on a server that has none. It keeps WAL only
// from now on; what is asked of the server is the same as before, and it has it
// or not.
func (r *Receiver) recreateSlot(ctx context.Context) State {
	r.log.Warn("the server has no such replication slot, creating it", "slot", r.options.Slot.Name)
	if err := r.conn.Drain(); err != nil {
		return r.retry(err)
	}
	if _, err := CreateSlot(ctx, r.conn, r.options.Slot.Name, true); err != nil {
		return r.retry(err)
	}
	return Streaming
}

// explain turns the server's word that a file does not exist, which in a
// stream can only be the WAL, into an error that names the segment, and adds to
// one about the server's WAL where that ends.
func (r *Receiver) explain(err error) error {
	r.nameServer(err)
	if sqlstate(err) != sqlstateUndefinedFile {
		return err
	}
	pos := r.cursor.pos
	size := r.options.SegmentSize
	return &WALMissingError{Segment: size.FileName(pos.Timeline, size.Segment(pos.LSN)), Position: pos, Err: err}
}

// parseInterval reads a setting such as 60s, 1min or 500ms. What it does not
// understand is 0, as is "0".
func parseInterval(text string) time.Duration {
	for suffix, unit := range map[string]time.Duration{"ms": time.Millisecond, "min": time.Minute, "h": time.Hour, "d": 24 * time.Hour} {
		if n, err := strconv.Atoi(cutSuffix(text, suffix)); err == nil {
			return time.Duration(n) * unit
		}
	}
	n, err := strconv.Atoi(cutSuffix(text, "s"))
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Second
}

// cutSuffix is text without the suffix, or "" if it does not have it.
func cutSuffix(text, suffix string) string {
	if len(text) > len(suffix) && text[len(text)-len(suffix):] == suffix {
		return text[:len(text)-len(suffix)]
	}
	return ""
}
