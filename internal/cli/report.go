package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pgbraid/pgbraid/internal/conninfo"
	"github.com/pgbraid/pgbraid/internal/progress"
	"github.com/pgbraid/pgbraid/internal/replconn"
)

// report shows an error in one line, and advice on it in another.
func report(w io.Writer, err error) {
	fmt.Fprintf(w, "pgbraid: error: %s\n", progress.Sanitize(oneLine(Describe(err))))
	if h := Hint(err); h != "" {
		fmt.Fprintf(w, "pgbraid: hint: %s\n", progress.Sanitize(h))
	}
}

// oneLine is a text without its line breaks.
func oneLine(text string) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(text, "\n", "; ")), " ")
}

// Describe is the error's text. pgconn tells of each address and each way of
// using TLS that it tried; what is left of that is each cause once.
func Describe(err error) string {
	var servers *replconn.ServersError
	if errors.As(err, &servers) {
		before, _, _ := strings.Cut(err.Error(), servers.Error())
		var causes, others []string
		for i := range servers.List {
			if text, ok := strings.CutPrefix(Describe(&servers.List[i]), couldNotConnect); ok {
				causes = append(causes, text)
			} else {
				others = append(others, text)
			}
		}
		if len(causes) > 0 {
			others = append([]string{couldNotConnect + strings.Join(causes, "; ")}, others...)
		}
		return before + strings.Join(others, "; ")
	}
	var connect *pgconn.ConnectError
	if !errors.As(err, &connect) {
		return err.Error()
	}
	before, _, _ := strings.Cut(err.Error(), connect.Error())
	var causes []string
	for _, line := range strings.Split(errors.Unwrap(connect).Error(), "\n") {
		line = strings.TrimSpace(line)
		// sslmode=prefer goes on without TLS: that it had to is no cause.
		if line != "" && !slices.Contains(causes, line) && !strings.HasSuffix(line, "server refused TLS connection") {
			causes = append(causes, line)
		}
	}
	if len(causes) == 0 {
		return err.Error()
	}
	return before + couldNotConnect + strings.Join(causes, "; ")
}

const couldNotConnect = "could not connect: "

// Hint finds advice on an error: its own, the server's, or that on a
// connection that could not be made.
func Hint(err error) string {
	var own interface{ Hint() string }
	if errors.As(err, &own) {
		return own.Hint()
	}
	var usage *usageError
	if errors.As(err, &usage) {
		return fmt.Sprintf(`Try "pgbraid%s --help".`, usage.command)
	}
	// A file of this machine may be missing or forbidden as well as a socket.
	var pg *pgconn.PgError
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) || errors.As(err, &pg) || conninfo.IsPasswordRequired(err) {
		if h := conninfo.Hint(err); h != "" {
			return strings.ToUpper(h[:1]) + strings.TrimRight(h[1:], ".?") + "."
		}
	}
	if errors.As(err, &pg) {
		if h, ok := stateHints[pg.Code]; ok {
			return h
		}
		return pg.Hint
	}
	return ""
}

// stateHints is advice on errors of the server that come after the connection
// was made, by SQLSTATE.
var stateHints = map[string]string{
	"42704": "Create the slot with -C, or leave out -S for a temporary one.",
	"42710": "Leave out -C to use the slot that exists, or give another name.",
	"53400": "Raise max_replication_slots on the server, drop a slot that nobody uses, or give --no-slot.",
	"55006": "Somebody streams from this slot already: give each standby a slot of its own.",
	"XX001": "The server found damaged pages (its log names them). Repair the source, or copy it as it is with --no-verify-checksums.",
}

// newLogger makes a logger that writes lines such as
//
//	pgbraid: warning: log stream lost, trying again (in 100ms)
//
// Text from the server is shown harmless.
func newLogger(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(&lineHandler{w: w, level: level, mu: &sync.Mutex{}})
}

type lineHandler struct {
	w     io.Writer
	level slog.Level
	mu    *sync.Mutex
	attrs []slog.Attr
}

func (h *lineHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level }

func (h *lineHandler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString("pgbraid: ")
	switch {
	case r.Level >= slog.LevelError:
		b.WriteString("error: ")
	case r.Level >= slog.LevelWarn:
		b.WriteString("warning: ")
	}
	b.WriteString(progress.Sanitize(r.Message))
	divider := " ("
	attr := func(a slog.Attr) bool {
		b.WriteString(divider + a.Key + " " + progress.Sanitize(oneLine(a.Value.String())))
		divider = ", "
		return true
	}
	for _, a := range h.attrs {
		attr(a)
	}
	r.Attrs(attr)
	if divider == ", " {
		b.WriteByte(')')
	}
	b.WriteByte('\n')
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := io.WriteString(h.w, b.String())
	return err
}

func (h *lineHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	with.attrs = append(append([]slog.Attr{}, h.attrs...), attrs...)
	return &with
}

// WithGroup is part of slog.Handler; nothing here makes groups.
func (h *lineHandler) WithGroup(string) slog.Handler { return h }
