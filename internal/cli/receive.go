package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pgbraid/pgbraid/internal/metrics"
	"github.com/pgbraid/pgbraid/internal/replconn"
	"github.com/pgbraid/pgbraid/internal/sdnotify"
	"github.com/pgbraid/pgbraid/logstream"
)

// receiveCommand is pgbraid receive. Its options have the names and the
// meaning that they have in pg_receivewal (PostgreSQL manual, "pg_receivewal"), and some that it
// lacks.
type receiveCommand struct {
	Directory string `short:"D" group:"output" placeholder:"DIR" help:"Existing directory to keep the log in."`
	EndPos    string `short:"E" name:"endpos" group:"output" placeholder:"LSN" help:"Stop once WAL behind this position was received."`
	Compress  string `short:"Z" group:"output" placeholder:"METHOD[:DETAIL]" help:"Compress complete segments: gzip, lz4, zstd, none, or a level of gzip (0-9)."`

	Slot           string         `short:"S" group:"general" placeholder:"NAME" help:"Replication slot to stream from: the server keeps what was not received."`
	CreateSlot     bool           `group:"general" help:"Create the slot, and exit."`
	DropSlot       bool           `group:"general" help:"Drop the slot, and exit."`
	IfNotExists    bool           `group:"general" help:"With --create-slot: it is no error if the slot exists."`
	NoLoop         bool           `short:"n" group:"general" help:"Fail when the connection is lost, instead of trying again for ever."`
	NoSync         bool           `group:"general" help:"Do not wait for the disk."`
	Synchronous    bool           `group:"general" help:"Make WAL durable as soon as it comes, and tell the server at once: a synchronous standby."`
	SilenceLimit   *time.Duration `group:"general" placeholder:"TIME" help:"Take a connection for lost after so long without a word from the server (such as 30s; default 1m for the log, 5m for a copy; 0: never)."`
	StatusInterval int            `short:"s" group:"general" placeholder:"SECONDS" default:"10" help:"How often to tell the server the position (default 10; 0: only when asked)."`
	RestoreCommand string         `group:"general" placeholder:"COMMAND" help:"Shell command for segments that the server no longer has: %f is the file's name, %p the path to write. Exit code 1: the archive lacks it; others: it failed."`
	AllowGap       bool           `group:"general" help:"Go on after WAL that is nowhere to be had, at the first segment that is, instead of exiting with code 3."`
	Metrics        string         `group:"general" placeholder:"ADDRESS" help:"Serve Prometheus metrics, /healthz and /readyz there; \":9187\" is that port on loopback."`

	Verbose bool `short:"v" group:"show" help:"Show each step."`

	connectionOptions
}

// Help is shown below the summary by pgbraid receive --help.
func (*receiveCommand) Help() string {
	return `Keeps every segment of the server's write-ahead log in DIR, and goes on there
where it stopped. It follows timeline switches and failovers, and comes back after
lost connections, without end. SIGINT and SIGTERM end it in good order.

Exit codes: 0 ended by a signal or at --endpos, 1 failed, 2 wrong usage,
3 WAL missing on the server and in the archive.`
}

// Run is called by kong.
func (c *receiveCommand) Run(ctx context.Context, to *streams) error {
	options, err := c.options()
	if err != nil {
		return &usageError{err: err}
	}
	if err := c.checkDirectory(); err != nil {
		return err
	}
	info, err := c.parse()
	if err != nil {
		return err
	}
	level := slog.LevelInfo
	if c.Verbose {
		level = slog.LevelDebug
	}
	options.Logger = newLogger(to.err, level)
	for _, w := range info.Warnings() {
		options.Logger.Warn(w)
	}
	notifier, err := sdnotify.FromEnvironment()
	if err != nil {
		options.Logger.Warn("service manager is not told", "error", err)
	}
	return WithPassword(ctx, info, func(config *pgconn.Config) error {
		if c.CreateSlot || c.DropSlot {
			return c.changeSlot(ctx, config)
		}
		return c.receive(ctx, config, options, notifier)
	})
}

// options checks the command line, in the order in which pg_receivewal does,
// and makes of it what an archiver needs.
func (c *receiveCommand) options() (*logstream.ArchiveOptions, error) {
	switch slotAction := c.CreateSlot || c.DropSlot; {
	case c.DropSlot && c.CreateSlot:
		return nil, errors.New("cannot use --create-slot together with --drop-slot")
	case c.Slot == "" && slotAction:
		return nil, errors.New("--create-slot and --drop-slot need a slot to be specified using --slot")
	case c.IfNotExists && !c.CreateSlot:
		return nil, errors.New("--if-not-exists needs --create-slot")
	case c.Synchronous && c.NoSync:
		return nil, errors.New("cannot use --synchronous together with --no-sync")
	case c.Directory == "" && !slotAction:
		return nil, errors.New("no target directory specified: give -D")
	}
	o := &logstream.ArchiveOptions{
		Directory:      c.Directory,
		Slot:           c.Slot,
		Synchronous:    c.Synchronous,
		NoLoop:         c.NoLoop,
		NoSync:         c.NoSync,
		RestoreCommand: logstream.RestoreCommand(c.RestoreCommand),
		AllowGap:       c.AllowGap,
	}
	var err error
	if o.StatusInterval, err = statusInterval(c.StatusInterval); err != nil {
		return nil, err
	}
	// For a stream, never is 0.
	o.StatusInterval = max(o.StatusInterval, 0)
	if o.SilenceLimit, err = silenceLimit(c.SilenceLimit); err != nil {
		return nil, err
	}
	if c.EndPos != "" {
		if o.EndPosition, err = logstream.ParseLSN(c.EndPos); err != nil {
			return nil, fmt.Errorf("could not parse end position: %w", err)
		}
	}
	if c.Metrics != "" {
		if c.Metrics, err = metrics.ParseAddress(c.Metrics); err != nil {
			return nil, fmt.Errorf("--metrics: %w", err)
		}
	}
	if c.Compress != "" {
		if o.Compression, err = logstream.ParseCompression(c.Compress); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// checkDirectory looks at the directory before a server is asked anything.
func (c *receiveCommand) checkDirectory() error {
	if c.Directory == "" {
		return nil // it is only about a slot
	}
	info, err := os.Stat(c.Directory)
	if err != nil {
		return &noDirectoryError{err}
	}
	if !info.IsDir() {
		return &usageError{err: fmt.Errorf("%q is not a directory", c.Directory)}
	}
	return nil
}

// noDirectoryError says that the directory cannot be found. It may lie on a
// disk that is mounted a little later: a service manager is to try again, so
// that is no wrong command line.
type noDirectoryError struct{ err error }

func (e *noDirectoryError) Error() string { return "could not open directory: " + e.err.Error() }
func (e *noDirectoryError) Unwrap() error { return e.err }

// Hint is advice for the person who sees the error.
func (e *noDirectoryError) Hint() string {
	return "The directory must exist: make it, or mount the disk that it lies on."
}

func (c *receiveCommand) changeSlot(ctx context.Context, config *pgconn.Config) error {
	conn, err := replconn.Connect(ctx, config)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // nothing is expected of it any more
	if c.DropSlot {
		return logstream.DropSlot(ctx, conn, c.Slot)
	}
	exists, err := logstream.CreateSlot(ctx, conn, c.Slot, false)
	if exists && c.IfNotExists {
		return nil
	}
	return err
}

// stopTimeout is how long an orderly end may take before the receiver is cut
// off, as when it waits for a server that does not answer.
const stopTimeout = 10 * time.Second

// receive runs the archiver. A signal stops it in good order first.
func (c *receiveCommand) receive(ctx context.Context, config *pgconn.Config, o *logstream.ArchiveOptions, notifier *sdnotify.Notifier) error {
	var archiver *logstream.Archiver
	watched := metrics.NewReceive(func() logstream.Status { return archiver.Status() })
	o.OnFlush = watched.ObserveFlush
	archiver = logstream.NewArchiver(config, *o)
	if c.Metrics != "" {
		stop, err := serveMetrics(ctx, watched, c.Metrics, o.Logger)
		if err != nil {
			return err
		}
		defer stop()
	}
	service := newService(notifier, archiver.Status, o.Logger)
	service.start()
	err := RunArchiver(ctx, archiver, func() {
		o.Logger.Info("stopping", "reason", context.Cause(ctx))
		service.stopping()
	})
	service.end(err)
	return err
}

// RunArchiver runs the archiver until it ends, or until ctx does: then it is
// stopped in good order, which is no error. stopping is called before that.
func RunArchiver(ctx context.Context, archiver *logstream.Archiver, stopping func()) error {
	running, cut := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cut(nil)
	done := context.AfterFunc(ctx, func() {
		stopping()
		archiver.Stop()
		select {
		case <-time.After(stopTimeout):
			cut(context.Cause(ctx))
		case <-running.Done():
		}
	})
	defer done()
	err := archiver.Run(running)
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		// Cut off where nothing was being received.
		return nil
	}
	return err
}
