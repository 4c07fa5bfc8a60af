package logstream

import (
	"context"
	"errors"
	"log/slog"
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

// atStop tells whether the log is kept up to the position of StopAt.
func (r *Receiver) atStop(p Position) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stop != nil && p.LSN >= r.stop.LSN && p.Timeline >= r.stop.Timeline
}
