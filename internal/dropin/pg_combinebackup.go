package dropin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/pgbraid/pgbraid/basebackup/combine"
	"github.com/pgbraid/pgbraid/basebackup/manifest"
	"github.com/pgbraid/pgbraid/internal/cli"
	"github.com/pgbraid/pgbraid/internal/getopt"
)

var pgCombinebackup = tool{name: "pg_combinebackup", help: combinebackupHelp, run: runCombinebackup}

// combinebackupHelp is what pg_combinebackup --help shows.
const combinebackupHelp = `%[1]s reconstructs full backups from incrementals.

Usage:
  %[1]s [OPTION]... DIRECTORY...

Options:
  -d, --debug               generate lots of debugging output
  -k, --link                link files instead of copying
  -n, --dry-run             do not actually do anything
  -N, --no-sync             do not wait for changes to be written safely to disk
  -o, --output=DIRECTORY    output directory
  -T, --tablespace-mapping=OLDDIR=NEWDIR
                            relocate tablespace in OLDDIR to NEWDIR
      --clone               clone (reflink) files instead of copying
      --copy                copy files (default)
      --copy-file-range     copy using copy_file_range() system call
      --manifest-checksums=SHA{224,256,384,512}|CRC32C|NONE
                            use algorithm for manifest checksums
      --no-manifest         suppress generation of backup manifest
      --sync-method=METHOD  set method for syncing files to disk
  -V, --version             output version information, then exit
  -?, --help                show this help, then exit

Report bugs to <pgsql-bugs@lists.postgresql.org>.
PostgreSQL home page: <https://www.postgresql.org/>
`

// combination is the command line of pg_combinebackup.
type combination struct {
	debug     bool
	output    string
	hasOutput bool
	library   combine.Options
	// shared reads the options that pg_basebackup has too.
	shared baseBackup

	undone []string // what was taken back after a failure
}

func (c *combination) options() []getopt.Option {
	method := func(m combine.Method) func(string) error {
		return func(string) error {
			c.library.Method = m
			return nil
		}
	}
	return []getopt.Option{
		{Short: 'd', Long: "debug", Set: on(&c.debug)},
		{Short: 'n', Long: "dry-run", Set: on(&c.library.DryRun)},
		{Short: 'N', Long: "no-sync", Set: on(&c.library.NoSync)},
		{Short: 'o', Long: "output", Argument: true, Set: given(&c.output, &c.hasOutput)},
		{Short: 'T', Long: "tablespace-mapping", Argument: true, Set: c.shared.addTablespace},
		{Short: 'k', Long: "link", Set: method(combine.Link)},
		{Long: "manifest-checksums", Argument: true, Set: c.setChecksums},
		{Long: "no-manifest", Set: on(&c.library.NoManifest)},
		{Long: "sync-method", Argument: true, Set: c.shared.setSyncMethod},
		{Long: "clone", Set: method(combine.Clone)},
		{Long: "copy", Set: method(combine.Copy)},
		{Long: "copy-file-range", Set: method(combine.CopyFileRange)},
	}
}

func (c *combination) setChecksums(v string) error {
	if _, err := manifest.ParseAlgorithm(v); err != nil {
		return fail("unrecognized checksum algorithm: %q", quoted(v))
	}
	c.library.ManifestChecksums = v
	return nil
}

// runCombinebackup is pg_combinebackup.
func runCombinebackup(p *program, args []string) error {
	c := &combination{}
	// Unlike the others, this tool knows --help and --version as first
	// arguments only.
	inputs, err := getopt.Parse(args, c.options())
	if err != nil {
		return err
	}
	switch {
	case len(inputs) == 0:
		return usage("no input directories specified")
	case !c.hasOutput:
		return fail("no output directory specified")
	}
	o := &c.library
	o.Inputs, o.Output = inputs, c.output
	o.SyncMethod = combine.SyncMethod(c.shared.syncMethod)
	// The tool checks nothing, and computes checksums anew of what it puts
	// together. Here a damaged input is an error; all else is as there.
	o.AsPgCombinebackup = true
	if o.NoManifest {
		o.ManifestChecksums = ""
	}
	// Of several mappings of one tablespace the last one counts.
	for _, m := range slices.Backward(c.shared.tablespaces) {
		o.Tablespaces = append(o.Tablespaces, combine.TablespaceMapping(m))
	}
	o.Logger = p.logger(c.debug, c.translations())
	cli.MaskModes()
	ctx, stop := cli.WatchSignals(context.Background())
	defer stop()
	if _, err := combine.Run(ctx, *o); err != nil {
		return c.failed(p, err)
	}
	if o.Method == combine.Link {
		p.Warning("--link mode was used; any modifications to the output directory might destructively modify input directories")
	}
	return nil
}

// translations are the library's records in the tool's words.
func (c *combination) translations() map[string]translation {
	return map[string]translation{
		"only some backups have checksums enabled": func(p *program, r slog.Record, attrs map[string]string) {
			p.Warning("%s", r.Message)
			p.Hint("%s", attrs["hint"])
		},
		"tablespace mapping fits no tablespace of the last backup":                                                func(*program, slog.Record, map[string]string) {},
		"the manifest of a backup has no checksums: it could not be checked whether these files are as they were": func(*program, slog.Record, map[string]string) {},
		"removing what was made": func(_ *program, _ slog.Record, attrs map[string]string) {
			what := ""
			if attrs["existed"] == "true" {
				what = "contents of "
			}
			c.undone = append(c.undone, "removing "+what+"output directory \""+c.named(attrs["directory"])+"\"")
		},
	}
}

// named is the name that the command line gave to a directory.
func (c *combination) named(directory string) string {
	if path, err := filepath.Abs(c.output); err == nil && path == directory {
		return c.output
	}
	return directory
}

// failed shows why a run failed, and what was taken back then. After a signal
// it ends the process by that signal.
func (c *combination) failed(p *program, cause error) error {
	signal, interrupted := cli.EndedBy(cause)
	if !interrupted {
		p.report(c.explain(cause))
	}
	for _, line := range c.undone {
		p.Info("%s", line)
	}
	if interrupted {
		endBy(signal)
	}
	return errShown
}

// fileFaults are the tools' words for what the system refused, by call.
var fileFaults = map[string]string{
	"open": "could not open file %q: %s", "stat": "could not stat file %q: %s", "lstat": "could not stat file %q: %s",
	"read": "could not read file %q: %s", "write": "could not write to file %q: %s", "mkdir": "could not create directory %q: %s",
	"readlink": "could not read symbolic link %q: %s", "fsync": "could not fsync file %q: %s",
}

// explain puts an error into the tool's words, and names the output as the
// command line does.
func (c *combination) explain(err error) error {
	var (
		fault  *fs.PathError
		number syscall.Errno
	)
	if damage, ok := errors.AsType[*combine.DamageError](err); ok {
		return explainDamage(damage)
	}
	text := err.Error()
	if errors.As(err, &number) {
		reason := number.Error()
		format, known := "", false
		if errors.As(err, &fault) {
			format, known = fileFaults[fault.Op]
		}
		if known {
			text = fmt.Sprintf(format, quoted(fault.Path), reason)
		}
		// The C library begins it with a capital letter.
		if before, ok := strings.CutSuffix(text, reason); ok {
			text = before + strings.ToUpper(reason[:1]) + reason[1:]
		}
	}
	if path, err := filepath.Abs(c.output); err == nil {
		text = strings.ReplaceAll(text, "\""+path+"/", "\""+c.output+"/")
		text = strings.ReplaceAll(text, "\""+path+"\"", "\""+c.output+"\"")
	}
	return &failure{text: text}
}

// explainDamage says what pg_verifybackup says of such a file. pg_combinebackup
// has no words for it, since it does not look.
func explainDamage(e *combine.DamageError) error {
	f := &failure{text: e.Error(), hint: "To take the backups as they are, use \"pgbraid combine --no-verify-checksums\"."}
	switch e.Kind {
	case combine.SizeDiffers:
		f.text = fmt.Sprintf("%q has size %d on disk but size %d in the manifest", quoted(e.Path), e.Size, e.Want)
	case combine.ChecksumDiffers:
		f.text = fmt.Sprintf("checksum mismatch for file %q", quoted(e.Path))
	case combine.BadPage:
		f.text = fmt.Sprintf("invalid page in block %d of file %q", e.Block, quoted(e.Path))
	}
	return f
}
