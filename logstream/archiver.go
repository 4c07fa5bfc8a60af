package logstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pgbraid/pgbraid/internal/compress"
	"github.com/pgbraid/pgbraid/internal/replconn"
)

// Compression says how complete segments are compressed.
type Compression = compress.Spec

// ParseCompression reads METHOD[:DETAIL], such as gzip:5 or zstd:level=3.
func ParseCompression(text string) (Compression, error) { return compress.Parse(text) }

// ArchiveOptions of an Archiver. Only Directory must be given.
type ArchiveOptions struct {
	// Directory to keep the log in. It must exist.
	Directory string
	// Slot is a permanent physical slot to stream from, "" for none.
	Slot string
	// SlotAsItIs never makes Slot. Otherwise one that is missing where there
	// is WAL already, as on a standby that was promoted, is made anew.
	SlotAsItIs bool
	// StatusInterval, Synchronous: see Options.
	StatusInterval time.Duration
	Synchronous    bool
	// SilenceLimit: see Options.
	SilenceLimit time.Duration
	// NoLoop fails when the connection is lost, instead of trying again for
	// ever.
	NoLoop bool
	// NoSync leaves out every fsync.
	NoSync bool
	// EndPosition, if not 0, is where to stop: once WAL behind it was
	// received.
	EndPosition LSN
	// Compression of complete segments; the zero value is none.
	Compression Compression
	// RestoreCommand, ArchiveTries, AllowGap: see Options.
	RestoreCommand RestoreCommand
	ArchiveTries   int
	AllowGap       bool
	// Logger gets what happens; nil discards it.
	Logger *slog.Logger
	// OnFlush: see Options.
	OnFlush func(took time.Duration)
}

// Archiver keeps a server's log in a directory, and goes on there from where
// it, or another tool that names its files alike, stopped.
//
// Run is called once; Stop and Status may be called from any goroutine.
type Archiver struct {
	config  *pgconn.Config
	options ArchiveOptions
	log     *slog.Logger

	mu       sync.Mutex
	receiver *Receiver
	stopped  bool
}

// NewArchiver makes an Archiver. config must be one of a physical replication
// connection.
func NewArchiver(config *pgconn.Config, o ArchiveOptions) *Archiver {
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Archiver{config: config, options: o, log: log}
}

// Run keeps the log until Stop, the end position, the end of ctx, or a failure
// that trying again cannot mend. That the first connection cannot be made is
// one. After Stop and at the end position it returns nil.
func (a *Archiver) Run(ctx context.Context) (err error) {
	lock, err := lockDirectory(a.options.Directory)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.release()) }()
	server, start, known, err := a.begin(ctx)
	if err != nil {
		return err
	}
	store := NewDirStore(a.options.Directory, server.SegmentSize, DirOptions{
		Mode: server.FileMode, NoSync: a.options.NoSync, Compression: a.options.Compression,
		ZeroFill: a.options.Synchronous, SealFirst: a.options.Synchronous,
	})
	defer func() { _ = store.Close() }() // nothing of the log is in it
	o := Options{
		SystemIdentifier: server.SystemIdentifier,
		SegmentSize:      server.SegmentSize,
		Store:            store,
		// A slot may be missing where WAL was streamed from it: on a standby that
		// was promoted. On an empty directory it is a mistake.
		Slot: Slot{
			Name: a.options.Slot, Recreate: a.options.Slot != "" && !a.options.SlotAsItIs,
			Expect: !known, Unasked: a.options.SlotAsItIs,
		},
		StatusInterval: a.options.StatusInterval,
		Synchronous:    a.options.Synchronous,
		SilenceLimit:   a.options.SilenceLimit,
		Archive:        a.options.RestoreCommand,
		ArchiveTries:   a.options.ArchiveTries,
		AllowGap:       a.options.AllowGap,
		Logger:         a.log,
		OnFlush:        a.options.OnFlush,
	}
	if a.options.NoLoop {
		o.GiveUpAfter = -1
	}
	r := NewReceiver(a.config, o)
	r.connected = true // begin was
	if end := a.options.EndPosition; end != 0 {
		r.StopAt(Position{LSN: end + 1})
	}
	a.mu.Lock()
	a.receiver = r
	if a.stopped {
		r.Stop()
	}
	a.mu.Unlock()
	return r.Run(ctx, start)
}

// Stop ends the archiving in good order: what was received is made durable and
// told to the server.
func (a *Archiver) Stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stopped = true
	if a.receiver != nil {
		a.receiver.Stop()
	}
}

// Status returns the present state.
func (a *Archiver) Status() Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.receiver == nil {
		return Status{State: Connecting}
	}
	return a.receiver.Status()
}

// begin finds a server to start from, and where: a server that cannot answer
// is passed over as long as there is another one.
func (a *Archiver) begin(ctx context.Context) (s Server, start Position, known bool, err error) {
	walk := replconn.NewWalk(a.config, a.silenceLimit())
	for {
		c, err := walk.Next(ctx)
		if err != nil {
			return s, start, false, err
		}
		s, start, known, err = a.look(ctx, c)
		_ = c.Close() // nothing is expected of it any more
		var local *os.PathError
		if err == nil || ctx.Err() != nil || errors.As(err, &local) {
			return s, start, known, err
		}
		walk.Reject(err)
		if !walk.More() {
			return s, start, false, walk.Err()
		}
		a.log.Warn("passed over a server", "server", walk.Server(), "error", err)
	}
}

func (a *Archiver) silenceLimit() time.Duration {
	o := Options{SilenceLimit: a.options.SilenceLimit}
	return o.silenceLimit()
}

// look decides where to start: behind what the directory has; else where the
// slot keeps WAL from; else at the server's position (src/bin/pg_basebackup/pg_receivewal.c, FindStreamingStart). known
// tells that the directory has something.
func (a *Archiver) look(ctx context.Context, c *replconn.Conn) (s Server, start Position, known bool, err error) {
	defer c.LimitSilence(a.silenceLimit())()
	if s, err = Describe(ctx, c); err != nil {
		return s, start, false, err
	}
	if err := checkDirectory(a.options.Directory, s); err != nil {
		return s, start, false, err
	}
	start, known, bad, err := FindStart(a.options.Directory, s.SegmentSize)
	if err != nil {
		return s, start, false, err
	}
	for _, b := range bad {
		a.log.Warn("segment is not built upon", "file", b.Name, "error", b.Err)
	}
	if known {
		a.log.Info("going on from the newest segment in the directory", "position", start.String())
		return s, start, true, nil
	}
	start = s.Position
	if a.options.Slot == "" {
		a.log.Info("starting at the server's position", "position", start.String())
		return s, start, false, nil
	}
	slot, err := a.readSlot(ctx, c, s)
	if err != nil {
		return s, start, false, err
	}
	if slot.Position.LSN != 0 {
		start = slot.Position
	}
	a.log.Info("starting where the slot keeps WAL from", "position", start.String())
	return s, start, false, nil
}

// readSlot asks where the slot keeps WAL from. Releases before 15 tell that
// only over SQL, and not the timeline.
func (a *Archiver) readSlot(ctx context.Context, c *replconn.Conn, s Server) (SlotPosition, error) {
	var slot SlotPosition
	var err error
	if s.Version >= 150000 {
		slot, err = ReadSlot(ctx, c, a.options.Slot)
	} else {
		limit := a.silenceLimit()
		sql := ctx
		if limit > 0 {
			var cancel context.CancelFunc
			sql, cancel = context.WithTimeout(ctx, limit)
			defer cancel()
		}
		slot, err = slotOverSQL(sql, replconn.LimitConnect(c.Pin(a.config), limit), a.options.Slot, s.Position.Timeline)
		if err != nil && !errors.Is(err, context.Canceled) {
			a.log.Warn("cannot ask where the slot keeps WAL from, starting at the server's position: WAL that the slot keeps from before it is not fetched",
				"slot", a.options.Slot, "error", err)
			return SlotPosition{Exists: true}, nil
		}
	}
	if err == nil && !slot.Exists && (s.Version >= 150000 || !a.options.SlotAsItIs) {
		err = &MissingSlotError{a.options.Slot}
	}
	return slot, err
}

// slotOverSQL reads pg_replication_slots. The timeline is assumed to be the
// server's.
func slotOverSQL(ctx context.Context, config *pgconn.Config, name string, t TimelineID) (SlotPosition, error) {
	config = config.Copy()
	delete(config.RuntimeParams, "replication")
	if config.Database == "" || config.Database == "replication" {
		config.Database = "postgres"
	}
	c, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return SlotPosition{}, err
	}
	defer func() { _ = c.Close(ctx) }() // nothing is expected of it any more
	result := c.ExecParams(ctx, "SELECT restart_lsn::text FROM pg_replication_slots WHERE slot_name = $1",
		[][]byte{[]byte(name)}, nil, nil, nil).Read()
	switch {
	case result.Err != nil:
		return SlotPosition{}, result.Err
	case len(result.Rows) == 0:
		return SlotPosition{}, nil
	case result.Rows[0][0] == nil:
		return SlotPosition{Exists: true}, nil
	}
	l, err := ParseLSN(string(result.Rows[0][0]))
	return SlotPosition{true, Position{t, l}}, err
}

// MissingSlotError says that a slot that is to be used does not exist.
type MissingSlotError struct{ Name string }

func (e *MissingSlotError) Error() string {
	return fmt.Sprintf("replication slot %q does not exist", e.Name)
}

// Hint is advice for the person who sees the error.
func (e *MissingSlotError) Hint() string {
	return "Create it (clone -C, receive --create-slot), or check its name: SELECT * FROM pg_replication_slots."
}
