package dropin

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/pgbraid/pgbraid/basebackup"
	"github.com/pgbraid/pgbraid/internal/cli"
	"github.com/pgbraid/pgbraid/internal/progress"
	"github.com/pgbraid/pgbraid/logstream"
	"golang.org/x/term"
)

// narrator turns the records and the progress of a run into what pg_basebackup
// says of it, in the tool's order: the slot of the log is made before the
// backup begins here, and told of later; the last line of the progress comes
// before the end point.
type narrator struct {
	program *program
	options *baseBackup
	tty     bool
	now     func() time.Time

	mu        sync.Mutex
	slot      string          // the line on the slot, until its time comes
	shown     map[string]bool // the steps at the end that were told
	last      int64           // second of the last line of progress
	first     bool            // a line of progress was shown
	archive   int             // which the last one was of
	shownDone int64           // how much the last one told
	ended     bool            // the last one was shown, or there is none
	held      []string        // lines that wait for that
	undone    []string        // what is told behind an error
}

func newNarrator(p *program, b *baseBackup) *narrator {
	n := &narrator{program: p, options: b, now: time.Now, shown: map[string]bool{}, ended: !b.progress}
	if f, ok := p.err.(*os.File); ok {
		n.tty = term.IsTerminal(int(f.Fd()))
	}
	return n
}

// The steps at the end.
const (
	stepSync   = "syncing data to disk ..."
	stepRename = "renaming backup_manifest.tmp to backup_manifest"
	stepDone   = "base backup completed"
)

// translations are for the records of basebackup and logstream.
func (n *narrator) translations() map[string]translation {
	silent := func(*program, slog.Record, map[string]string) {}
	step := func(text string) translation {
		return func(*program, slog.Record, map[string]string) { n.step(text) }
	}
	slot := func(_ *program, r slog.Record, a map[string]string) { n.slotMade(r.Message, a["slot"]) }
	return map[string]translation{
		"initiating base backup, waiting for checkpoint to complete": func(_ *program, r slog.Record, _ map[string]string) { n.initiating(r.Message) },
		"checkpoint completed":                       func(_ *program, _ slog.Record, a map[string]string) { n.begun(a["start"], a["timeline"]) },
		"write-ahead log end point":                  func(_ *program, _ slog.Record, a map[string]string) { n.received(a["end"]) },
		"created temporary replication slot":         slot,
		"created replication slot":                   slot,
		stepSync:                                     step(stepSync),
		stepRename:                                   step(stepRename),
		"removing what was made":                     func(_ *program, _ slog.Record, a map[string]string) { n.removed(a["directory"], a["existed"]) },
		"not removed at user's request":              func(_ *program, _ slog.Record, a map[string]string) { n.left(a["directory"]) },
		"no tablespace lies where this mapping says": silent,
		"free space":                                 silent,
		"free space is not looked at: no estimate of the size was asked for":   silent,
		"WAL is of an unknown format, its records are not checked":             silent,
		"the server no longer has the segment before, which could be compared": silent,
		"starting log streaming":                     silent,
		"stopped log streaming":                      silent,
		"finished segment":                           silent,
		"could not cancel the command on the server": silent,
	}
}

// say shows a line of -v.
func (n *narrator) say(format string, args ...any) {
	if !n.options.verbose {
		return
	}
	n.program.Info(format, args...)
}

// sayAfterProgress shows a line of -v behind the last one of the progress.
func (n *narrator) sayAfterProgress(line string) {
	switch {
	case !n.options.verbose:
	case n.ended:
		n.say("%s", line)
	default:
		n.held = append(n.held, line)
	}
}

func (n *narrator) initiating(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.options.progress && !n.options.verbose {
		fmt.Fprint(n.program.err, "waiting for checkpoint"+n.lineEnd())
	}
	n.say("%s", text)
}

func (n *narrator) begun(start, timeline string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.say("checkpoint completed")
	if n.options.wal == basebackup.NoWAL {
		return
	}
	n.say("write-ahead log start point: %s on timeline %s", start, timeline)
	if n.options.wal != basebackup.StreamWAL {
		return
	}
	n.say("starting background WAL receiver")
	if n.slot != "" {
		n.say("%s", n.slot)
		n.slot = ""
	}
}

func (n *narrator) slotMade(what, name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.slot = fmt.Sprintf("%s \"%s\"", what, name)
}

// received tells that everything but the log is here.
func (n *narrator) received(end string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.options.wal == basebackup.NoWAL || !n.options.verbose {
		return
	}
	lines := []string{"write-ahead log end point: " + end}
	if n.options.wal == basebackup.StreamWAL {
		lines = append(lines, "waiting for background process to finish streaming ...")
	}
	for _, line := range lines {
		n.sayAfterProgress(line)
	}
}

// step tells of one of the steps at the end, once. Files are synced beside the
// stream: what is left of that is over before the manifest gets its name.
func (n *narrator) step(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	steps := []string{text}
	if text == stepRename && !n.options.noSync {
		steps = []string{stepSync, stepRename}
	}
	for _, text := range steps {
		if !n.shown[text] {
			n.shown[text] = true
			n.sayAfterProgress(text)
		}
	}
}

// completed ends a run that succeeded.
func (n *narrator) completed() {
	b := n.options
	here := !b.hasTarget
	if here && !b.noSync {
		n.step(stepSync)
	}
	if here && !b.noManifest && !b.toOutput() {
		n.step(stepRename)
	}
	n.step(stepDone)
}

// removed notes what was taken back after a failure.
func (n *narrator) removed(directory, existed string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if name, which := n.named(directory); name != "" {
		contents := ""
		if existed == "true" {
			contents = "contents of "
		}
		n.undone = append(n.undone, fmt.Sprintf("removing %s%s directory \"%s\"", contents, which, name))
	}
}

// left notes what -n leaves.
func (n *narrator) left(directory string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	name, which := n.named(directory)
	line := fmt.Sprintf("%s directory \"%s\" not removed at user's request", which, name)
	if name == "" {
		line = "changes to tablespace directories will not be undone"
	}
	n.undone = append(n.undone, line)
}

// named finds the name that the command line gave to a directory, and what it
// is for; "" is that of a tablespace.
func (n *narrator) named(directory string) (name, which string) {
	if path, err := filepath.Abs(n.options.directory); err == nil && path == directory {
		return n.options.directory, "data"
	}
	if n.options.hasWALDir && filepath.Clean(n.options.walDirectory) == directory {
		return directory, "WAL"
	}
	return "", ""
}

// failed shows why a run failed, and what was taken back then. After a signal
// it ends the process by that signal.
func (n *narrator) failed(shown, cause error) error {
	signal, interrupted := cli.EndedBy(cause)
	if !interrupted {
		n.program.report(shown)
	}
	told := map[string]bool{}
	for i := len(n.undone) - 1; i >= 0; i-- {
		if line := n.undone[i]; !told[line] {
			told[line] = true
			n.program.Info("%s", line)
		}
	}
	if interrupted {
		endBy(signal)
	}
	return errShown
}

// update takes in the progress.
func (n *narrator) update(s basebackup.Progress) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.ended || s.Phase < progress.Copying:
	case s.Phase > progress.Copying:
		if n.shownDone != s.Done {
			n.line(s, false) // as at the end of each archive
		}
		n.line(s, true)
		n.ended = true
		held := n.held
		n.held = nil
		for _, line := range held {
			n.say("%s", line)
		}
	case !n.first || n.now().Unix() != n.last || s.Tablespace != n.archive:
		n.line(s, false)
	}
}

// fileColumns is how much of a file's name a line of progress shows.
const fileColumns = 35

// line shows a line of progress.
func (n *narrator) line(s basebackup.Progress, last bool) {
	n.first, n.last, n.archive, n.shownDone = true, n.now().Unix(), s.Tablespace, s.Done
	done, total := s.Done/1024, s.Total/1024
	percent := int64(0)
	if total > 0 {
		percent = min(done*100/total, 100)
	}
	total = max(total, done)
	// The number is that of the ones that are complete.
	tablespace, noun := max(s.Tablespace-1, 0), "tablespace"
	if s.Tablespaces != 1 {
		noun = "tablespaces"
	}
	if last {
		tablespace = s.Tablespaces
	}
	var file string
	switch {
	case n.options.verbose && last:
		percent = 100
		file = " " + strings.Repeat(" ", fileColumns+5)
	case n.options.verbose:
		name := filepath.Join(n.options.directory, progress.Sanitize(s.File))
		file = " (" + fitFile(name) + ")"
	}
	totalText := fmt.Sprint(total)
	end := n.lineEnd()
	if last {
		end = "\n"
	}
	fmt.Fprintf(n.program.err, "%*d/%s kB (%d%%), %d/%d %s%s%s",
		len(totalText), done, totalText, percent, tablespace, s.Tablespaces, noun, file, end)
}

// fitFile is the end of a long name, or a short one with blanks behind it.
func fitFile(name string) string {
	if len(name) > fileColumns {
		return "..." + name[len(name)-fileColumns+3:]
	}
	return name + strings.Repeat(" ", fileColumns-len(name))
}

// lineEnd keeps a terminal on its line.
func (n *narrator) lineEnd() string {
	if n.tty {
		return "\r"
	}
	return "\n"
}

// explain puts an error of the library into the tool's words.
func (b *baseBackup) explain(err error) error {
	var (
		occupied *basebackup.NotEmptyError
		path     *fs.PathError
		link     *os.LinkError
	)
	switch {
	case errors.As(err, &occupied):
		return fail("directory %q exists but is not empty", quoted(b.asGiven(occupied.Path)))
	case errors.Is(err, basebackup.ErrCompressedOutput):
		f := fail("cannot inject manifest into a compressed tar file")
		f.hint = "Use client-side compression, send the output to a directory rather than standard output, or use --no-manifest."
		return f
	case errors.As(err, &link) && link.Op == "symlink":
		return fail("could not create symbolic link %q: %s", quoted(b.asGiven(link.New)), systemError(link.Err))
	case errors.As(err, &path):
		before, _, _ := strings.Cut(err.Error(), ": ")
		switch path.Op {
		case "open", "stat", "lstat", "readdirent", "fdopendir":
			if strings.Contains(before, "directory") {
				return fail("could not access directory %q: %s", quoted(b.asGiven(path.Path)), systemError(path.Err))
			}
		}
		named := *path
		named.Path = b.asGiven(path.Path)
		return explain(&named)
	}
	var command *logstream.CommandError
	if errors.As(err, &command) && strings.HasPrefix(command.Command, "READ_REPLICATION_SLOT") {
		command.Command = startReplication // the tool does not ask before
	}
	explained := explain(err)
	if f, ok := explained.(*failure); ok && endsReceiver(err) {
		f.also = receiverEnded
	}
	return explained
}

// asGiven is a path below the data directory as the command line names it.
func (b *baseBackup) asGiven(path string) string {
	abs, err := filepath.Abs(b.directory)
	if err != nil {
		return path
	}
	if rest, ok := strings.CutPrefix(path, abs); ok && (rest == "" || rest[0] == '/') {
		return b.directory + rest
	}
	return path
}
