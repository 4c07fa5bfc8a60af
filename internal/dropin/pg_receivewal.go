package dropin

import (
	"context"
	"errors"
	"os"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pgbraid/pgbraid/internal/cli"
	"github.com/pgbraid/pgbraid/internal/getopt"
	"github.com/pgbraid/pgbraid/internal/replconn"
	"github.com/pgbraid/pgbraid/logstream"
)

var pgReceivewal = tool{name: "pg_receivewal", help: receivewalHelp, run: runReceivewal}

// walReceiver is the command line of pg_receivewal (PostgreSQL manual, "pg_receivewal").
type walReceiver struct {
	connection

	directory    string
	hasDirectory bool
	noLoop       bool
	slot         string
	hasSlot      bool
	createSlot   bool
	dropSlot     bool
	ifNotExists  bool
	verbose      bool
	compression  compression

	archive logstream.ArchiveOptions
}

func (w *walReceiver) options() []getopt.Option {
	return inOrder("directory dbname endpos host port username no-loop no-password password status-interval slot verbose compress",
		append(w.connection.options(), []getopt.Option{
			{Short: 'D', Long: "directory", Argument: true, Set: given(&w.directory, &w.hasDirectory)},
			{Short: 'E', Long: "endpos", Argument: true, Set: func(v string) (err error) {
				w.archive.EndPosition, err = endPosition(v)
				return err
			}},
			{Short: 'n', Long: "no-loop", Set: on(&w.noLoop)},
			{Short: 's', Long: "status-interval", Argument: true, Set: func(v string) (err error) {
				w.archive.StatusInterval, err = statusInterval(v)
				return err
			}},
			{Short: 'S', Long: "slot", Argument: true, Set: given(&w.slot, &w.hasSlot)},
			{Short: 'v', Long: "verbose", Set: on(&w.verbose)},
			{Short: 'Z', Long: "compress", Argument: true, Set: func(v string) error {
				w.compression = parseCompression(v)
				return nil
			}},
			{Long: "create-slot", Set: on(&w.createSlot)},
			{Long: "drop-slot", Set: on(&w.dropSlot)},
			{Long: "if-not-exists", Set: on(&w.ifNotExists)},
			{Long: "synchronous", Set: on(&w.archive.Synchronous)},
			{Long: "no-sync", Set: on(&w.archive.NoSync)},
		}...))
}

// check holds the options against one another, in the order of the tool.
func (w *walReceiver) check() error {
	slotAction := w.createSlot || w.dropSlot
	switch {
	case w.dropSlot && w.createSlot:
		return usage("cannot use --create-slot together with --drop-slot")
	case !w.hasSlot && w.dropSlot:
		return usage("%s needs a slot to be specified using --slot", "--drop-slot")
	case !w.hasSlot && w.createSlot:
		return usage("%s needs a slot to be specified using --slot", "--create-slot")
	case w.archive.Synchronous && w.archive.NoSync:
		return usage("cannot use --synchronous together with --no-sync")
	case !w.hasDirectory && !slotAction:
		return usage("no target directory specified")
	}
	compress, err := w.compression.check()
	if err != nil {
		return err
	}
	if compress != "" {
		if w.archive.Compression, err = logstream.ParseCompression(compress); err != nil {
			return invalid("%s", err)
		}
	}
	if slotAction {
		return nil
	}
	d, err := os.Open(w.directory)
	if err == nil {
		var info os.FileInfo
		if info, err = d.Stat(); err == nil && !info.IsDir() {
			err = syscall.ENOTDIR
		}
		_ = d.Close() // only looked at
	}
	if err != nil {
		return fail("could not open directory %q: %s", quoted(w.directory), systemError(err))
	}
	if w.hasSlot && w.slot == "" { // which the library takes for none
		f := fail("replication slot %q does not exist", quoted(""))
		if w.noLoop {
			f.also = disconnected
		}
		return f
	}
	return nil
}

// runReceivewal is pg_receivewal.
func runReceivewal(p *program, args []string) error {
	w := &walReceiver{compression: uncompressed}
	w.archive.StatusInterval = defaultStatusInterval
	if err := p.parse(args, w.options()); err != nil {
		return err
	}
	if err := w.check(); err != nil {
		return err
	}
	info, err := w.connection.parse(p)
	if err != nil {
		return err
	}
	cli.MaskModes()
	ctx, stop := cli.WatchSignals(context.Background())
	defer stop()
	err = cli.WithPassword(ctx, info, func(config *pgconn.Config) error {
		if w.createSlot || w.dropSlot {
			return w.changeSlot(ctx, p, config)
		}
		return w.receive(ctx, p, config)
	})
	if _, interrupted := cli.EndedBy(err); err == nil || interrupted {
		return nil // a signal is how it is ended
	}
	if err != nil {
		var told *failure
		if errors.As(err, &told) || errors.Is(err, errShown) {
			return err
		}
	}
	return explainStream(err)
}

// changeSlot creates or drops the slot.
func (w *walReceiver) changeSlot(ctx context.Context, p *program, config *pgconn.Config) error {
	conn, err := replconn.Connect(ctx, config)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // nothing is expected of it any more
	// Whether this is a connection for replication shows first.
	if _, _, err := logstream.IdentifySystem(ctx, conn); err != nil {
		return err
	}
	say := func(what string) {
		if w.verbose {
			p.Info("%s replication slot \"%s\"", what, w.slot)
		}
	}
	if w.dropSlot {
		say("dropping")
		return logstream.DropSlot(ctx, conn, w.slot)
	}
	say("creating")
	exists, err := logstream.CreateSlot(ctx, conn, w.slot, false)
	if exists && w.ifNotExists {
		return nil
	}
	return err
}
