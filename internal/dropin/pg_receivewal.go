package dropin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
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
	if w.hasSlot && w.slot == "" {
		return fail("replication slot name %q is too short", quoted(w.slot))
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
	return nil
}

// runReceivewal is pg_receivewal.
func runReceivewal(p *program, args []string) error {
	w := &walReceiver{}
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
	return explain(err, w.slot)
}

// changeSlot creates or drops the slot.
func (w *walReceiver) changeSlot(ctx context.Context, p *program, config *pgconn.Config) error {
	conn, err := replconn.Connect(ctx, config)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // nothing is expected of it any more
	say := func(what string) {
		if w.verbose {
			p.Info("%s replication slot \"%s\"", what, w.slot)
		}
	}
	command := "DROP_REPLICATION_SLOT \"" + w.slot + "\""
	if w.dropSlot {
		say("dropping")
		err = logstream.DropSlot(ctx, conn, w.slot)
	} else {
		say("creating")
		command = createSlot(w.slot, false)
		var exists bool
		if exists, err = logstream.CreateSlot(ctx, conn, w.slot, false); exists && w.ifNotExists {
			return nil
		}
	}
	var server *pgconn.PgError
	if errors.As(err, &server) {
		return fail("could not send replication command %q: %s", quoted(command), serverError(server))
	}
	return err
}

// receive runs the archiver until a signal or the end position.
func (w *walReceiver) receive(ctx context.Context, p *program, config *pgconn.Config) error {
	says := &receiverSays{program: p, verbose: w.verbose}
	w.archive.Directory, w.archive.Slot, w.archive.NoLoop = w.directory, w.slot, w.noLoop
	w.archive.Logger = p.logger(w.verbose, says.translations())
	archiver := logstream.NewArchiver(config, w.archive)
	err := cli.RunArchiver(ctx, archiver, says.stopping)
	if err == nil || says.isStopping() {
		w.tellPartial(p, archiver.Status().Written)
	}
	var connect *pgconn.ConnectError
	if err != nil && w.noLoop && says.hasStarted() && !errors.As(err, &connect) {
		p.report(explain(err, w.slot))
		return fail("disconnected")
	}
	return err
}

// tellPartial names the segment that stays incomplete.
func (w *walReceiver) tellPartial(p *program, end logstream.Position) {
	pattern := fmt.Sprintf("%08X????????????????%s", uint32(end.Timeline), logstream.PartialSuffix)
	if names, err := filepath.Glob(filepath.Join(globQuote(w.directory), pattern)); err == nil && len(names) > 0 {
		p.Info("not renaming \"%s\", segment is not complete", filepath.Base(names[len(names)-1]))
	}
}

// globQuote is a path for a pattern that matches nothing else.
func globQuote(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// receiverSays turns the records of an archiver into what pg_receivewal says.
type receiverSays struct {
	program *program
	verbose bool

	mu      sync.Mutex
	stopped bool // a signal came
	started bool // a stream was asked for
}

func (s *receiverSays) stopping() {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
}

func (s *receiverSays) isStopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopped
}

func (s *receiverSays) hasStarted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.started
}

// translations are for the records of logstream.
func (s *receiverSays) translations() map[string]translation {
	silent := func(*program, slog.Record, map[string]string) {}
	at := func(format string) translation {
		return func(p *program, _ slog.Record, a map[string]string) {
			if lsn, timeline, ok := strings.Cut(a["position"], " on timeline "); ok && s.verbose {
				p.Info(format, lsn, timeline)
			}
		}
	}
	starting, stopped := at("starting log streaming at %s (timeline %s)"), at("stopped log streaming at %s (timeline %s)")
	return map[string]translation{
		"starting log streaming": func(p *program, r slog.Record, a map[string]string) {
			s.mu.Lock()
			s.started = true
			s.mu.Unlock()
			starting(p, r, a)
		},
		"stopped log streaming": func(p *program, r slog.Record, a map[string]string) {
			switch {
			case !s.isStopping():
				stopped(p, r, a)
			case s.verbose:
				p.Info("received interrupt signal, exiting")
			}
		},
		"finished segment": at("finished segment at %s (timeline %s)"),
		"switched timeline": func(p *program, _ slog.Record, a map[string]string) {
			if s.verbose {
				p.Info("switched to timeline %s at %s", a["to"], a["at"])
			}
		},
		"log stream lost, trying again": func(p *program, r slog.Record, _ map[string]string) {
			r.Attrs(func(attr slog.Attr) bool {
				if err, ok := attr.Value.Any().(error); ok && attr.Key == "error" {
					p.report(explain(err, ""))
				}
				return true
			})
			p.Info("disconnected; waiting %d seconds to try again", 5)
		},
		"going on from the newest segment in the directory": silent,
		"starting at the server's position":                 silent,
		"starting where the slot keeps WAL from":            silent,
	}
}
