package logstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pgbraid/pgbraid/internal/replconn"
)

// Options of a Receiver.
type Options struct {
	// SystemIdentifier of the cluster whose log is wanted; 0 accepts that of
	// the first connection. Every later connection must lead to the same.
	SystemIdentifier uint64
	// SegmentSize is the cluster's WAL segment size.
	SegmentSize SegmentSize
	// Store keeps the WAL.
	Store Store
	// Slot to stream from; the zero value is none.
	Slot Slot
	// StatusInterval is how often the server is told the position, without
	// being asked. 0 is never.
	StatusInterval time.Duration
	// Synchronous flushes whenever nothing more waits on the connection, and
	// reports it at once.
	Synchronous bool
	// GiveUpAfter is how long the Receiver tries to get the stream back
	// before it fails: 0 is for ever, less than 0 not at all.
	GiveUpAfter time.Duration
	// SilenceLimit is after how long without a word from the server, which is
	// asked for one before, the connection counts as lost: 0 is 60 s, less is
	// never. It is the limit for connecting to each server as well, where the
	// configuration has none (ConnectTimeout).
	SilenceLimit time.Duration
	// Archive, if set, is asked for segments that the server no longer has.
	// The Store must be an ImportStore.
	Archive RestoreCommand
	// ArchiveTries is how often Archive must say that it does not have a
	// segment before that counts, with growing pauses between: 0 is 10 times,
	// over about 50 seconds.
	ArchiveTries int
	// AllowGap goes on behind WAL that neither the server nor Archive has,
	// instead of failing. The gap is logged and counted.
	AllowGap bool
	// Logger gets what happens; nil discards it.
	Logger *slog.Logger
	// OnFlush, if set, is called after each time that WAL was made durable,
	// with the time it took. It must return soon.
	OnFlush func(took time.Duration)
}

// defaultSilenceLimit is that of wal_receiver_timeout, its counterpart in a
// standby.
const defaultSilenceLimit = 60 * time.Second

func (o *Options) silenceLimit() time.Duration {
	if o.SilenceLimit == 0 {
		return defaultSilenceLimit
	}
	return max(o.SilenceLimit, 0)
}

// Receiver keeps a server's write-ahead log in a Store. It begins at a
// position, follows every timeline switch, and survives lost connections: it
// goes on from the last byte that it wrote.
//
// Prepare and Run are called from one goroutine; StopAt and Status may be
// called from any.
type Receiver struct {
	config  *pgconn.Config
	options Options
	log     *slog.Logger

	conn      *replconn.Conn
	unlimit   func()         // ends conn's silence limit
	walk      *replconn.Walk // through the servers, nil once one streams
	over      func() error   // not nil where Run is to end
	connected bool           // at least once
	server    identity
	history   History // of the server's timeline, where the stream is on an older one
	slot      string  // what this connection streams from; "" for none
	slotReady bool    // on this connection
	created   bool    // the permanent slot was made by this Receiver
	hadSlot   bool    // a stream from the slot has begun

	cursor   *cursor
	flush    *flusher
	feedback *feedback

	lastProgress time.Time
	pauses       int      // since the last progress
	reached      Position // the end of what was written before going back for lack of room
	turnedBack   Position // where to
	turns        int      // back to there
	notThere     int      // times that the archive said that it lacks the next segment
	gap          gap      // the last one that was left
	failure      error
	noRoom       error         // why the stream went back to turnedBack
	streamed     bool          // WAL was streamed since Run began
	wake         chan struct{} // gets an element when a stop position is set

	comparing bool // the server sends what is kept already
	// without says that the server lacks the segment before the one at hand.
	without bool

	mu     sync.Mutex
	behind LSN            // how far the stream is before what is written
	active *replconn.Conn // the one that StopAt interrupts
	stop   *Position
	status Status
	// stepBegun is when the present state, or the try to connect to one more
	// server, began. durable is the flusher, for Status.
	stepBegun time.Time
	durable   *flusher

	writtenLag, durableLag lag
}

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

// NewReceiver makes a Receiver. config must be one of a physical replication
// connection (runtime parameter replication=true); see pgconn.ParseConfig.
func NewReceiver(config *pgconn.Config, o Options) *Receiver {
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Receiver{config: config, options: o, log: log, status: Status{State: Connecting}, wake: make(chan struct{}, 1)}
}

// Prepare makes the connection and the slot before the start position is
// known, so that what would refuse the stream does so at once, and WAL is
// kept from this moment on. Run uses the connection. Calling Prepare is not
// required.
func (r *Receiver) Prepare(ctx context.Context) error {
	if err := r.connect(ctx); err != nil {
		return err
	}
	if err := r.identify(ctx); err != nil {
		r.disconnect()
		r.walk = nil
		return err
	}
	return nil
}

// SlotCreated tells whether the Receiver made a permanent slot.
func (r *Receiver) SlotCreated() bool { return r.created }

// Close ends the connection that Prepare made, where Run was not called.
func (r *Receiver) Close() { r.disconnect() }

// StopAt sets the position to stop at: Run returns once the log is kept up to
// it, on its timeline or a later one.
func (r *Receiver) StopAt(p Position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stop = &p
	if r.active != nil {
		r.active.Interrupt()
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Stop ends the stream where it stands, in good order: everything received is
// made durable and told to the server, and Run returns nil.
func (r *Receiver) Stop() { r.StopAt(Position{}) }

// Status returns the present state.
func (r *Receiver) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.status
	s.Stalled = r.stalled(time.Now())
	s.WrittenBehind, s.DurableBehind = r.writtenLag.since(), r.durableLag.since()
	return s
}

// Run keeps the log from the start of the segment in which start lies, until
// the position of StopAt, or until ctx ends, which is an error like any other.
// When it returns, everything that it wrote is as durable as it will be.
func (r *Receiver) Run(ctx context.Context, start Position) (err error) {
	r.mu.Lock()
	r.feedback = nil
	r.mu.Unlock()
	r.over = ctx.Err
	r.begin(Position{start.Timeline, r.options.SegmentSize.Floor(start.LSN)}, 0)
	r.lastProgress = time.Now()
	defer func() {
		r.disconnect()
		r.setState(Stopped)
		err = errors.Join(err, r.cursor.end(flushLeave))
		if e := r.flush.close(); err == nil {
			err = e
		}
		err = errors.Join(err, r.flush.leavePacks())
		r.publish(0)
	}()
	r.publish(0)

	state := Connecting
	if r.conn != nil {
		state = Identifying
	}
	for state != Stopped {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		r.setState(state)
		before := state
		state = r.step(ctx, state)
		if before == Identifying && (state == Streaming || state == TimelineEnd) {
			r.serverIsAt(r.server.position)
		}
	}
	if r.failure == nil && r.reached.after(r.cursor.pos) {
		return r.noRoom // what was received since is not kept
	}
	return r.failure
}

// begin sets the cursor to the start of the segment that the durable position
// lies in, with so many segments sealed before.
func (r *Receiver) begin(durable Position, sealed int) {
	r.flush = newFlusher(durable, sealed, r.flushed, r.options.OnFlush)
	r.mu.Lock()
	r.durable = r.flush
	r.mu.Unlock()
	durable.LSN = r.options.SegmentSize.Floor(durable.LSN)
	r.cursor = &cursor{store: r.options.Store, size: r.options.SegmentSize, flush: r.flush, pos: durable}
	r.cursor.check = &continuity{size: r.options.SegmentSize, log: r.log}
	r.cursor.check.store, _ = r.options.Store.(ReadableStore)
}

// beginAnew goes back to where the log is durable, as the next run of a process
// would: there was no room to compress a segment, and the flusher does nothing
// more. The error is one of more than that.
func (r *Receiver) beginAnew() error {
	reached := r.cursor.pos
	for _, err := range []error{r.cursor.end(flushLeave), r.flush.close()} {
		if err != nil && !noRoomToPack(err) {
			return err
		}
	}
	if reached.after(r.reached) {
		r.reached = reached
	}
	before := r.flush
	r.begin(before.progress())
	r.flush.mu.Lock()
	r.flush.addPacks(before.takePacks())
	r.flush.mu.Unlock()
	if r.turnedBack != r.cursor.pos {
		r.turnedBack, r.turns = r.cursor.pos, 0
	}
	// That the stream went on does not shorten the pause: it went on before.
	r.pauses = r.turns
	r.turns++
	r.publish(0)
	return nil
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

// interrupt has the stream look for what there is to do but to read.
func (r *Receiver) interrupt() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.active != nil {
		r.active.Interrupt()
	}
}

// flushed is called by the flusher's goroutine.
func (r *Receiver) flushed() {
	if r.flush.failed() != nil {
		// The stream may be waiting for a server that has nothing to send.
		r.interrupt()
	}
	if f := r.noteDurable(); f != nil {
		f.flushed()
	}
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

// atStop tells whether the log is kept up to the position of StopAt.
func (r *Receiver) atStop(p Position) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stop != nil && p.LSN >= r.stop.LSN && p.Timeline >= r.stop.Timeline
}

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
