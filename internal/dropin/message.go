package dropin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pgbraid/pgbraid/internal/progress"
)

// The tools write all they have to say to standard error, in lines such as
//
//	pg_basebackup: error: no target directory specified
//	pg_basebackup: hint: Try "pg_basebackup --help" for more information.
//
// and without a word between where it is mere information. Text of the server
// is shown harmless.

// Error shows an error. The same holds for the others below.
func (p *program) Error(format string, args ...any) { p.message("error: ", format, args...) }

// Warning shows a warning.
func (p *program) Warning(format string, args ...any) { p.message("warning: ", format, args...) }

// Detail shows a second line on an error or a warning.
func (p *program) Detail(format string, args ...any) { p.message("detail: ", format, args...) }

// Hint shows advice on an error or a warning.
func (p *program) Hint(format string, args ...any) { p.message("hint: ", format, args...) }

// Info shows what is neither wrong nor doubtful.
func (p *program) Info(format string, args ...any) { p.message("", format, args...) }

func (p *program) message(kind, format string, args ...any) {
	fmt.Fprintf(p.err, "%s: %s%s\n", p.name, kind, clean(fmt.Sprintf(format, args...)))
}

// clean makes text harmless line by line: an error of the server may have
// several. libpq begins some of its own with a tab.
func clean(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i, line := range lines {
		rest := strings.TrimLeft(line, "\t")
		lines[i] = line[:len(line)-len(rest)] + progress.Sanitize(rest)
	}
	return strings.Join(lines, "\n")
}

// quoted is a text for %q of a format in this package, which means the tools'
// own way of quoting: two quotation marks around the text as it is.
type quoted string

// Format is called by the fmt package.
func (q quoted) Format(s fmt.State, _ rune) { _, _ = fmt.Fprintf(s, "\"%s\"", string(q)) }

// failure is an error in a tool's own words.
type failure struct {
	text, detail, hint string
	also               string // a second error, which follows from the first
	usage              bool   // of the command line: the hint is where to find help
}

func (f *failure) Error() string { return f.text }

// fail is an error in the tool's words. A %q takes a quoted.
func fail(format string, args ...any) *failure {
	return &failure{text: fmt.Sprintf(format, args...)}
}

// usage is an error of the command line, which ends with where to find help.
func usage(format string, args ...any) *failure {
	return &failure{text: fmt.Sprintf(format, args...), usage: true}
}

// errShown ends a run that failed with nothing left to say.
var errShown = errors.New("shown")

// translation says what becomes of a record of the libraries.
type translation func(p *program, r slog.Record, attrs map[string]string)

// handler shows the records of the libraries in the tool's form: those that it
// has a translation for in the tool's words, the others as warnings, or as
// information where verbose.
type handler struct {
	program *program
	verbose bool
	table   map[string]translation
	attrs   []slog.Attr
}

// fromServer begins the records of the server's notices and warnings.
const fromServer = "server: "

// logger makes a logger that shows records as the tool would. The table's key
// is the record's message.
func (p *program) logger(verbose bool, table map[string]translation) *slog.Logger {
	return slog.New(&handler{program: p, verbose: verbose, table: table})
}

// Enabled is part of slog.Handler: a translation may show what others hide.
func (h *handler) Enabled(context.Context, slog.Level) bool { return true }

// Handle is part of slog.Handler.
func (h *handler) Handle(_ context.Context, r slog.Record) error {
	attrs := map[string]string{}
	var list []string
	add := func(a slog.Attr) bool {
		attrs[a.Key] = a.Value.String()
		list = append(list, a.Key+" "+strings.Join(strings.Fields(a.Value.String()), " "))
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(add)
	if text, ok := strings.CutPrefix(r.Message, fromServer); ok && attrs["severity"] != "" {
		// libpq shows these, and does not know the tool's name.
		notice := pgconn.PgError{Severity: attrs["severity"], Message: text, Detail: attrs["detail"], Hint: attrs["hint"]}
		fmt.Fprintf(h.program.err, "%s\n", clean(serverError(&notice)))
		return nil
	}
	if show, ok := h.table[r.Message]; ok {
		show(h.program, r, attrs)
		return nil
	}
	text := r.Message
	if len(list) > 0 {
		text += " (" + strings.Join(list, ", ") + ")"
	}
	switch {
	case r.Level >= slog.LevelError:
		h.program.Error("%s", text)
	case r.Level >= slog.LevelWarn:
		h.program.Warning("%s", text)
	case h.verbose:
		h.program.Info("%s", text)
	}
	return nil
}

// WithAttrs is part of slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	with.attrs = append(append([]slog.Attr{}, h.attrs...), attrs...)
	return &with
}

// WithGroup is part of slog.Handler; nothing here makes groups.
func (h *handler) WithGroup(string) slog.Handler { return h }
