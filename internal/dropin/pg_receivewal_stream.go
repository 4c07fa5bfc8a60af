package dropin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pgbraid/pgbraid/internal/cli"
	"github.com/pgbraid/pgbraid/logstream"
)

// reconnectPause is how long the tool waits before it connects again.
const reconnectPause = 5 * time.Second

// disconnected is the tool's last word with --no-loop.
const disconnected = "disconnected"

// receive runs the archiver until a signal or the end position, again and again
// as the tool does: whatever the server refuses may be mended there.
func (w *walReceiver) receive(ctx context.Context, p *program, config *pgconn.Config) error {
	w.archive.Directory, w.archive.Slot, w.archive.NoLoop = w.directory, w.slot, w.noLoop
	w.archive.SlotAsItIs = true
	says := &receiverSays{program: p, verbose: w.verbose, directory: w.directory}
	w.archive.Logger = p.logger(w.verbose, says.translations())
	for {
		archiver := logstream.NewArchiver(config, w.archive)
		err := cli.RunArchiver(ctx, archiver, says.stopping)
		says.ended(archiver.Status(), err)
		if err == nil || says.isStopping() {
			return err
		}
		if !says.hasConnected(err) || !mended(err) {
			return err
		}
		says.failed(err)
		if w.noLoop {
			return fail(disconnected)
		}
		p.Info("disconnected; waiting %d seconds to try again", int(reconnectPause.Seconds()))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(reconnectPause):
		}
	}
}

// mended tells whether a failure may be over the next time: all but that of this
// machine's files.
func mended(err error) bool {
	var (
		store *logstream.StoreError
		path  *fs.PathError
	)
	return !errors.As(err, &store) && !errors.As(err, &path)
}

// explainStream puts an error of an archiver into the tool's words.
func explainStream(err error) error {
	var (
		absent   *logstream.MissingSlotError
		timeline *logstream.TimelineError
	)
	switch {
	case errors.As(err, &absent):
		return fail("replication slot %q does not exist", quoted(absent.Name))
	case errors.As(err, &timeline) && timeline.Server < timeline.Position.Timeline:
		return fail("starting timeline %d is not present in the server", timeline.Position.Timeline)
	}
	return explain(fmt.Errorf("%s%w", logStream, err))
}

// globQuote is a path for a pattern that matches nothing else.
func globQuote(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// receiverSays turns the records of an archiver into what pg_receivewal says.
type receiverSays struct {
	program   *program
	verbose   bool
	directory string

	mu        sync.Mutex
	stopped   bool   // a signal came
	connected bool   // a server was asked for its position
	start     string // the position to start from
	switched  bool   // to another timeline, since the last start
	last      func() // says again that the stream has ended
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

// hasConnected tells whether the first connection, which must succeed, was made
// before err.
func (s *receiverSays) hasConnected(err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	var absent *logstream.MissingSlotError
	var command *logstream.CommandError
	if errors.As(err, &absent) || errors.As(err, &command) && command.Command != "IDENTIFY_SYSTEM" && !strings.HasPrefix(command.Command, "SHOW ") {
		s.connected = true
	}
	return s.connected
}

// failed shows why a stream ended.
func (s *receiverSays) failed(err error) {
	var timeline *logstream.TimelineError
	if errors.As(err, &timeline) && timeline.Server < timeline.Position.Timeline {
		s.mu.Lock()
		start := s.start
		s.mu.Unlock()
		s.at("starting log streaming at %s (timeline %s)", start) // the tool asks later
	}
	s.program.report(explainStream(err))
}

// ended names the segment that stays incomplete, if one was begun and the server
// has ended the stream, and says once more that it has ended: the tool asks
// itself that question again when the server has ended its side.
func (s *receiverSays) ended(status logstream.Status, err error) {
	if status.Received == 0 || err != nil && connectionLost(err) != "" {
		return
	}
	s.incomplete(status.Written.Timeline)
	s.mu.Lock()
	again := s.last
	s.last = nil
	s.mu.Unlock()
	if err == nil && again != nil {
		again()
	}
}

// followed tells, once, whether the stream has just followed the server to another
// timeline.
func (s *receiverSays) followed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.switched
	s.switched = false
	return was
}

// lost tells of a stream that is gone on with.
func (s *receiverSays) lost(err error, position string) {
	var connect *pgconn.ConnectError
	_, text, _ := strings.Cut(position, " on timeline ")
	if t, e := logstream.ParseTimelineID(text); e == nil && connectionLost(err) == "" && !errors.As(err, &connect) {
		s.incomplete(t)
	}
	s.failed(err)
}

// incomplete names the newest segment of a timeline that is not complete.
func (s *receiverSays) incomplete(t logstream.TimelineID) {
	pattern := fmt.Sprintf("%08X????????????????%s", uint32(t), logstream.PartialSuffix)
	if names, err := filepath.Glob(filepath.Join(globQuote(s.directory), pattern)); err == nil && len(names) > 0 {
		s.program.Info("not renaming \"%s\", segment is not complete", filepath.Base(names[len(names)-1]))
	}
}

// at is a line of -v that names a position, which text has as a record does.
func (s *receiverSays) at(format, text string) {
	if lsn, timeline, ok := strings.Cut(text, " on timeline "); ok && s.verbose {
		s.program.Info(format, lsn, timeline)
	}
}

// translations are for the records of logstream.
func (s *receiverSays) translations() map[string]translation {
	known := func(_ *program, _ slog.Record, a map[string]string) {
		s.mu.Lock()
		s.connected, s.start = true, a["position"]
		s.mu.Unlock()
	}
	at := func(format string) translation {
		return func(_ *program, _ slog.Record, a map[string]string) { s.at(format, a["position"]) }
	}
	starting, stopped := at("starting log streaming at %s (timeline %s)"), at("stopped log streaming at %s (timeline %s)")
	return map[string]translation{
		"the server no longer has the segment before, which could be compared": func(*program, slog.Record, map[string]string) {},
		"starting log streaming": func(p *program, r slog.Record, a map[string]string) {
			if !s.followed() { // the tool goes on, and does not start
				starting(p, r, a)
			}
		},
		"stopped log streaming": func(p *program, r slog.Record, a map[string]string) {
			again := func() { stopped(p, r, a) }
			if s.isStopping() {
				again = func() {
					if s.verbose {
						p.Info("received interrupt signal, exiting")
					}
				}
			}
			again()
			s.mu.Lock()
			s.last = again
			s.mu.Unlock()
		},
		"finished segment": at("finished segment at %s (timeline %s)"),
		"switched timeline": func(p *program, _ slog.Record, a map[string]string) {
			if t, err := logstream.ParseTimelineID(a["from"]); err == nil {
				s.incomplete(t)
			}
			s.mu.Lock()
			s.switched = true
			s.mu.Unlock()
			if s.verbose {
				p.Info("switched to timeline %s at %s", a["to"], a["at"])
			}
		},
		"log stream lost, trying again": func(p *program, r slog.Record, a map[string]string) {
			r.Attrs(func(attr slog.Attr) bool {
				if err, ok := attr.Value.Any().(error); ok && attr.Key == "error" {
					s.lost(err, a["position"])
				}
				return true
			})
			p.Info("disconnected; waiting %d seconds to try again", int(reconnectPause.Seconds()))
		},
		"segment is not built upon": func(p *program, _ slog.Record, a map[string]string) {
			p.Warning("%s", s.wrongSize(a["file"], a["error"]))
		},
		"going on from the newest segment in the directory": known,
		"starting at the server's position":                 known,
		"starting where the slot keeps WAL from":            known,
	}
}

// wrongSize is the tool's line on a segment that is passed over.
func (s *receiverSays) wrongSize(name, reason string) string {
	what := "compressed segment file"
	size := "uncompressed size"
	if filepath.Ext(name) == "" {
		what, size = "segment file", "size"
	}
	var held int64
	if _, err := fmt.Sscanf(reason, "it holds %d bytes", &held); err != nil {
		info, err := os.Stat(filepath.Join(s.directory, name))
		if err != nil || size != "size" {
			return what + " \"" + name + "\" cannot be used, skipping: " + reason
		}
		held = info.Size()
	}
	return fmt.Sprintf("%s \"%s\" has incorrect %s %d, skipping", what, name, size, held)
}
