package dropin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pgbraid/pgbraid/basebackup/manifest"
	"github.com/pgbraid/pgbraid/basebackup/verify"
	"github.com/pgbraid/pgbraid/internal/cli"
	"github.com/pgbraid/pgbraid/internal/getopt"
	"github.com/pgbraid/pgbraid/internal/progress"
	"golang.org/x/term"
)

var pgVerifybackup = tool{name: "pg_verifybackup", help: verifybackupHelp, run: runVerifybackup}

// verifybackupHelp is what pg_verifybackup --help shows.
const verifybackupHelp = `%[1]s verifies a backup against the backup manifest.

Usage:
  %[1]s [OPTION]... BACKUPDIR

Options:
  -e, --exit-on-error         exit immediately on error
  -F, --format=p|t            backup format (plain, tar)
  -i, --ignore=RELATIVE_PATH  ignore indicated path
  -m, --manifest-path=PATH    use specified path for manifest
  -n, --no-parse-wal          do not try to parse WAL files
  -P, --progress              show progress information
  -q, --quiet                 do not print any output, except for errors
  -s, --skip-checksums        skip checksum verification
  -w, --wal-directory=PATH    use specified path for WAL files
  -V, --version               output version information, then exit
  -?, --help                  show this help, then exit

Report bugs to <pgsql-bugs@lists.postgresql.org>.
PostgreSQL home page: <https://www.postgresql.org/>
`

// verification is the command line of pg_verifybackup.
type verification struct {
	library         verify.Options
	progress, quiet bool
}

func (v *verification) options() []getopt.Option {
	o := &v.library
	cleaned := func(field *string) func(string) error {
		return func(value string) error {
			*field = cleanPath(value)
			return nil
		}
	}
	return []getopt.Option{
		{Short: 'e', Long: "exit-on-error", Set: on(&o.StopAtFirst)},
		{Short: 'i', Long: "ignore", Argument: true, Set: func(value string) error {
			o.Ignore = append(o.Ignore, cleanPath(value))
			return nil
		}},
		{Short: 'm', Long: "manifest-path", Argument: true, Set: cleaned(&o.Manifest)},
		{Short: 'F', Long: "format", Argument: true, Set: v.setFormat},
		{Short: 'n', Long: "no-parse-wal", Set: on(&o.NoWAL)},
		{Short: 'P', Long: "progress", Set: on(&v.progress)},
		{Short: 'q', Long: "quiet", Set: on(&v.quiet)},
		{Short: 's', Long: "skip-checksums", Set: on(&o.SkipChecksums)},
		{Short: 'w', Long: "wal-directory", Argument: true, Set: cleaned(&o.WAL)},
		// Release 19's name of the same. The help is release 18's.
		{Long: "wal-path", Whole: true, Argument: true, Set: cleaned(&o.WAL)},
	}
}

// cleanPath is a path as the tool has it after its canonicalize_path.
func cleanPath(name string) string {
	if name == "" {
		return ""
	}
	return path.Clean(name)
}

func (v *verification) setFormat(value string) error {
	switch value {
	case "p", "plain":
		v.library.Format = verify.FormatPlain
	case "t", "tar":
		v.library.Format = verify.FormatTar
	default:
		return fail("invalid backup format %q, must be \"plain\" or \"tar\"", quoted(value))
	}
	return nil
}

// runVerifybackup is pg_verifybackup.
func runVerifybackup(p *program, args []string) error {
	v := &verification{}
	operands, err := getopt.Parse(args, v.options())
	if err != nil {
		return err
	}
	switch {
	case len(operands) == 0:
		return usage("no backup directory specified")
	case len(operands) > 1:
		return usage("too many command-line arguments (first is %q)", quoted(operands[1]))
	case v.progress && v.quiet:
		return fail("cannot specify both %s and %s", "-P/--progress", "-q/--quiet")
	}
	o := &v.library
	o.Directory = cleanPath(operands[0])
	o.AsPgVerifybackup = true
	if o.NoWAL {
		o.WAL = ""
	}
	var shown *kilobytes
	if v.progress && !(o.SkipChecksums && v.looksPlain()) { // there the tool has none
		shown = &kilobytes{w: p.err}
		o.OnProgress = shown.update
	}
	ctx, stop := cli.WatchSignals(context.Background())
	defer stop()
	report, err := verify.Run(ctx, *o)
	if shown != nil {
		shown.finish(report, err)
	}
	if signal, ok := cli.EndedBy(err); ok {
		endBy(signal)
		return errShown
	}
	if err != nil {
		return v.explain(err)
	}
	if v.show(p, report) {
		return errShown
	}
	if !v.quiet {
		fmt.Fprintln(p.out, "backup successfully verified")
	}
	return nil
}

// looksPlain tells whether the backup is one of plain files, as the tool does.
func (v *verification) looksPlain() bool {
	if v.library.Format != "" {
		return v.library.Format == verify.FormatPlain
	}
	_, err := os.Stat(filepath.Join(v.library.Directory, "PG_VERSION"))
	return err == nil
}

// explain puts what ended a run into the tool's words.
func (v *verification) explain(err error) error {
	if errors.Is(err, verify.ErrTarLog) {
		return &failure{text: err.Error(), hint: "You must use -n/--no-parse-wal when verifying a tar-format backup."}
	}
	fault, ok := errors.AsType[*fs.PathError](err)
	if !ok {
		return err
	}
	name := quoted(fault.Path)
	switch {
	case fault.Op == "read":
		return fail("could not read file %q: %s", name, reason(err))
	case fault.Op == "stat" && fault.Path != v.library.Directory:
		return fail("could not stat file %q: %s", name, reason(err))
	case fault.Path == v.library.Directory:
		return fail("could not open directory %q: %s", name, reason(err))
	}
	return fail("could not open file %q: %s", name, reason(err))
}

// reason is the C library's text for an error.
func reason(err error) string {
	if number, ok := errors.AsType[syscall.Errno](err); ok {
		text := number.Error()
		return strings.ToUpper(text[:1]) + text[1:]
	}
	return err.Error()
}

// show tells of each problem as the tool does, and whether there was one.
func (v *verification) show(p *program, r *verify.Report) (failed bool) {
	for _, problem := range r.Problems {
		fatal, known := v.line(p, r, problem)
		failed = failed || known
		if fatal || known && v.library.StopAtFirst {
			return true
		}
	}
	return failed
}

// line shows one problem. fatal are those behind which the tool looks no
// further; known is false for what it does not look at.
func (v *verification) line(p *program, r *verify.Report, b verify.Problem) (fatal, known bool) {
	name, archive := quoted(b.Path), quoted(b.Archive)
	switch b.Kind {
	case verify.DamagedManifest:
		p.Error("%s", manifestText(b.Err))
		return true, true
	case verify.DuplicateFile:
		if b.Archive != "" {
			p.Error("file %q is present in more than one archive", name)
			return false, true
		}
		p.Error("duplicate path name in backup manifest: %q", name)
		return true, true
	case verify.DamagedControlFile, verify.ForeignSystem:
		return v.control(p, r, b)
	case verify.DamagedArchive:
		text, fatal := archiveText(b)
		p.Error("%s", text)
		return fatal, true
	case verify.Unreadable:
		if b.Path == controlPath {
			return v.control(p, r, b)
		}
		p.Error("%s", unreadable(b))
	case verify.NotRegular:
		if r.Format == verify.FormatTar {
			p.Error("file %q is not a regular file", name)
		} else {
			p.Error("%q is not a regular file or directory", name)
		}
	case verify.MissingFile:
		p.Error("%q is present in the manifest but not on disk", name)
	case verify.SizeMismatch:
		if b.Archive != "" {
			p.Error("file %q has size %d in archive %q but size %d in the manifest", quoted(b.Member), b.Size, archive, b.Want)
		} else {
			p.Error("%q has size %d on disk but size %d in the manifest", name, b.Size, b.Want)
		}
	case verify.ChecksumMismatch:
		if b.Archive != "" {
			p.Error("checksum mismatch for file %q in archive %q", name, archive)
		} else {
			p.Error("checksum mismatch for file %q", name)
		}
	case verify.ExtraFile:
		if b.Archive != "" {
			p.Error("file %q is present in archive %q but not in the manifest", quoted(b.Member), archive)
		} else {
			p.Error("%q is present on disk but not in the manifest", name)
		}
	case verify.UnexpectedFile:
		p.Error("file %q is not expected in a tar format backup", name)
	default:
		p.Error("WAL parsing failed for timeline %d", b.Timeline)
		p.Detail("%s: %s", b.Path, b.Detail())
	}
	return false, true
}

// manifestText is the tool's line on a damaged manifest.
func manifestText(err error) string {
	if errors.Is(err, manifest.ErrChecksum) {
		return "manifest checksum mismatch"
	}
	syntax, ok := errors.AsType[*manifest.SyntaxError](err)
	switch {
	case !ok:
		return err.Error()
	case syntax.Value:
		return syntax.Cause
	}
	return "could not parse backup manifest: " + syntax.Cause
}

// unreadable is the tool's line on what the system refused. It names files
// relative to the backup, and a directory as it was opened.
func unreadable(b verify.Problem) string {
	operation := "stat"
	fault, ok := errors.AsType[*fs.PathError](b.Err)
	if ok {
		operation = fault.Op
	}
	switch operation {
	case "open":
		return fmt.Sprintf("could not open file \"%s\": %s", b.Path, reason(b.Err))
	case verify.OpenDirectory:
		return fmt.Sprintf("could not open directory \"%s\": %s", fault.Path, reason(b.Err))
	case "read":
		return fmt.Sprintf("could not read file \"%s\": %s", b.Path, reason(b.Err))
	}
	return fmt.Sprintf("could not stat file or directory \"%s\": %s", b.Path, reason(b.Err))
}

// kilobytes shows the progress as the tool does, once a second.
type kilobytes struct {
	w     io.Writer
	mutex sync.Mutex
	last  time.Time
	state progress.Snapshot
}

func (k *kilobytes) update(s progress.Snapshot) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.state = s
	if s.Total == 0 {
		return // the manifest is not read yet
	}
	if now := time.Now().Truncate(time.Second); now.After(k.last) {
		k.last = now
		k.show(k.lineEnd())
	}
}

// finish shows the last line, where files were looked at.
func (k *kilobytes) finish(r *verify.Report, err error) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if err != nil || len(r.Problems) > 0 && r.Problems[0].Kind == verify.DamagedManifest {
		return
	}
	if k.last.IsZero() {
		k.show(k.lineEnd()) // the first one of the tool comes at once
	}
	k.show("\n")
}

// lineEnd keeps a terminal on its line.
func (k *kilobytes) lineEnd() string {
	if f, ok := k.w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return "\r"
	}
	return "\n"
}

func (k *kilobytes) show(end string) {
	percent := int64(0)
	if k.state.Total > 0 {
		percent = k.state.Done * 100 / k.state.Total
	}
	total := strconv.FormatInt(k.state.Total/1024, 10)
	fmt.Fprintf(k.w, "%*d/%s kB (%d%%) verified%s", len(total), k.state.Done/1024, total, percent, end)
}
