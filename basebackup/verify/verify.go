// Package verify tells whether a base backup is complete: every file that its
// manifest lists is there with its size and checksum and no other, pg_control
// is sound and of the same cluster, the directories are there that a server
// needs, archives end as they should, and the log that the backup needs can be
// read record by record, with the history file of a promotion in it.
//
//	report, err := verify.Run(ctx, verify.Options{Directory: "/srv/backup/monday"})
//	...
//	for _, p := range report.Problems {
//		fmt.Println(p)
//	}
//
// An error says that the backup could not be looked at. What is wrong with it
// is in the report. Backups are only read, and nothing in them is trusted.
package verify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pgbraid/pgbraid/basebackup/manifest"
	"github.com/pgbraid/pgbraid/internal/controlfile"
	"github.com/pgbraid/pgbraid/internal/progress"
)

// Format is the form of a backup.
type Format string

// The formats. FormatAuto takes a directory with a PG_VERSION for plain.
const (
	FormatAuto  Format = ""
	FormatPlain Format = "plain"
	FormatTar   Format = "tar"
)

// Options say what to verify, and how.
type Options struct {
	// Directory is the backup: a data directory, or that of base.tar.
	Directory string
	Format    Format
	// Manifest is its path; "" is backup_manifest in Directory.
	Manifest string
	// Ignore are paths relative to the data directory that are passed over,
	// with all below them, as pg_wal and the files are that a restore changes.
	Ignore []string
	// WAL is where the log is: a directory of segments, also compressed and
	// partial ones, or a tar file of them. "" is where the backup has it, in
	// whose directory only what a server reads counts.
	WAL string
	// NoWAL leaves the log out.
	NoWAL bool
	// SkipChecksums leaves out reading the files.
	SkipChecksums bool
	// AsPgVerifybackup looks at what release 18's tool of that name looks at:
	// not at directories without files, history files and the ends of archives.
	// The log counts only as a server reads it, also elsewhere: as a directory
	// of segments that are complete and not compressed. With the log, Run fails
	// with ErrTarLog for a tar backup.
	AsPgVerifybackup bool
	// Pages has the checksum of each data page compared too. If the cluster
	// has none, Run returns ErrNoPageChecksums.
	Pages bool
	// StopAtFirst ends the run at the first problem.
	StopAtFirst bool
	// Jobs is how many files are read at a time; 0 is one for each processor.
	Jobs int

	// Logger gets each step; nil is none.
	Logger *slog.Logger
	// OnProgress is called about five times a second, from one goroutine at a
	// time, and once at the end. It may be nil.
	OnProgress func(progress.Snapshot)
}

// Check tells whether the options can be carried out.
func (o *Options) Check() error {
	switch {
	case o.Directory == "":
		return errors.New("no backup directory specified")
	case o.Jobs < 0:
		return fmt.Errorf("number of jobs %d: want at least 1", o.Jobs)
	case o.NoWAL && o.WAL != "":
		return errors.New("a place of the log and leaving out the log exclude each other")
	}
	switch o.Format {
	case FormatAuto, FormatPlain, FormatTar:
		return nil
	}
	return fmt.Errorf("unknown backup format %q", o.Format)
}

// Files of the data directory that have a meaning here.
const (
	manifestName = "backup_manifest"
	versionName  = "PG_VERSION"
	controlName  = "global/pg_control"
	walName      = "pg_wal"
	mapName      = "tablespace_map"
	spacesName   = "pg_tblspc"
)

// neverListed are not compared with the manifest: it does not list them, or
// they are made and changed after the backup (PostgreSQL manual,
// pg_verifybackup).
var neverListed = []string{manifestName, walName, "postgresql.auto.conf", "recovery.signal", "standby.signal"}

// ErrTarLog says that release 18's pg_verifybackup does not read the log of a
// tar backup.
var ErrTarLog = errors.New("pg_waldump cannot read tar files")

// errStop ends a run that is to stop at the first problem.
var errStop = errors.New("stopped at the first problem")

// errTwice ends the reading of a manifest that lists a file twice.
var errTwice = errors.New("listed twice")

// run is one verification.
type run struct {
	o       Options
	log     *slog.Logger
	stop    context.CancelCauseFunc
	ignored []string
	table   *table
	summary *manifest.Summary
	control *controlfile.Control // nil where it could not be read
	// wal is the archive that the log is in; nil where it is a directory.
	wal *archive

	done, total atomic.Int64 // bytes to read, for the progress
	read        atomic.Int64 // bytes of the cluster's files that were read

	pages pages

	mutex  sync.Mutex
	report *Report
}

// Run verifies a backup. The error is that of ctx, or says why the backup
// cannot be looked at: it is none of the backup's own faults, which are
// Problems, save that its directory or its manifest is not there.
func Run(ctx context.Context, o Options) (*Report, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	began := time.Now()
	outer := ctx
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	r := &run{o: o, log: o.Logger, stop: stop, report: &Report{Directory: o.Directory, ChecksumsSkipped: o.SkipChecksums, WALSkipped: o.NoWAL}}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	if r.o.Jobs == 0 {
		r.o.Jobs = runtime.GOMAXPROCS(0)
	}
	r.ignored = slices.Clone(neverListed)
	for _, name := range o.Ignore {
		r.ignored = append(r.ignored, path.Clean(filepath.ToSlash(name)))
	}
	finish := r.showProgress(began)
	err := r.verify(ctx)
	finish()
	if cause := context.Cause(outer); cause != nil {
		return nil, cause
	}
	if err != nil && !errors.Is(err, errStop) {
		return nil, err
	}
	r.finishReport(began)
	return r.report, nil
}

func (r *run) verify(ctx context.Context) error {
	if believed, err := r.readManifest(); err != nil || !believed {
		return err
	}
	if err := r.findFormat(); err != nil {
		return err
	}
	if r.o.AsPgVerifybackup && r.report.Format == FormatTar && !r.o.NoWAL {
		return ErrTarLog
	}
	r.log.Debug("verifying", "directory", r.o.Directory, "format", string(r.report.Format), "files", r.summary.Files)
	r.preparePages()
	defer r.finishPages()
	check := r.checkPlain
	if r.report.Format == FormatTar {
		check = r.checkTar
	}
	return check(ctx)
}

// readManifest fills the table. believed is false where the manifest is
// damaged: then nothing can be compared with it.
func (r *run) readManifest() (believed bool, err error) {
	name := r.o.Manifest
	if name == "" {
		name = filepath.Join(r.o.Directory, manifestName)
	}
	f, err := os.Open(name)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }() // only read from
	r.table = newTable()
	var twice string
	r.summary, err = manifest.Read(f, func(f manifest.File) error {
		if !r.table.add(f) {
			twice = f.Path
			return errTwice
		}
		return nil
	})
	var syntax *manifest.SyntaxError
	switch {
	case errors.Is(err, errTwice):
		r.problem(Problem{Kind: DuplicateFile, Path: twice})
		return false, nil
	case errors.Is(err, manifest.ErrChecksum) || errors.As(err, &syntax):
		r.problem(Problem{Kind: DamagedManifest, Path: name, Err: err})
		return false, nil
	case err != nil:
		return false, fmt.Errorf("backup manifest %q: %w", name, err)
	}
	r.report.ManifestVersion, r.report.SystemIdentifier = r.summary.Version, r.summary.SystemIdentifier
	for _, w := range r.summary.Ranges {
		r.report.Ranges = append(r.report.Ranges, Range{Timeline: w.Timeline, Start: w.Start, End: w.End, Reached: w.Start})
	}
	return true, nil
}

func (r *run) findFormat() error {
	info, err := os.Stat(r.o.Directory)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return &os.PathError{Op: "open", Path: r.o.Directory, Err: errNotDirectory}
	}
	if d, err := os.Open(r.o.Directory); err != nil {
		return err
	} else if err := d.Close(); err != nil {
		return err
	}
	r.report.Format = r.o.Format
	if r.o.Format != FormatAuto {
		return nil
	}
	_, err = os.Stat(filepath.Join(r.o.Directory, versionName))
	switch {
	case err == nil:
		r.report.Format = FormatPlain
	case errors.Is(err, os.ErrNotExist):
		// A plain backup that lost its PG_VERSION still has a base directory.
		r.report.Format = FormatTar
		if r.o.AsPgVerifybackup {
			return nil
		}
		if info, err := os.Stat(filepath.Join(r.o.Directory, "base")); err == nil && info.IsDir() {
			r.report.Format = FormatPlain
		}
	default:
		return err
	}
	return nil
}

// ignores tells whether a path, or a directory above it, is passed over.
func (r *run) ignores(name string) bool { return under(name, r.ignored) }

// under tells whether a path is one of a list, or below it.
func under(name string, list []string) bool {
	for _, i := range list {
		if rest, ok := strings.CutPrefix(name, i); ok && (rest == "" || rest[0] == '/') {
			return true
		}
	}
	return false
}

// asked tells whether the user wants a path passed over.
func (r *run) asked(name string) bool { return under(name, r.ignored[len(neverListed):]) }

// problem notes one. It may be called from several goroutines.
func (r *run) problem(p Problem) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.o.StopAtFirst && len(r.report.Problems) > 0 {
		return
	}
	r.report.Problems = append(r.report.Problems, p)
	if r.o.StopAtFirst {
		r.stop(errStop)
	}
}

// missing reports what the manifest lists and nobody saw, save what lies below
// a place that skip says could not be looked at.
func (r *run) missing(ctx context.Context, skip func(name string) bool) error {
	for i := range r.table.entries {
		e := &r.table.entries[i]
		if e.has(seen) {
			continue
		}
		if r.ignores(e.path()) {
			e.set(passedOver)
		} else if !skip(e.path()) {
			r.problem(Problem{Kind: MissingFile, Path: e.path(), Want: e.size})
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// showProgress calls OnProgress until the function that it returns is called.
func (r *run) showProgress(began time.Time) (finish func()) {
	if r.o.OnProgress == nil {
		return func() {}
	}
	show := func() {
		r.o.OnProgress(progress.Snapshot{Phase: progress.Verifying, Started: began, PhaseStarted: began, Done: r.done.Load(), Total: r.total.Load()})
	}
	end := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		ticker := time.NewTicker(200 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-end:
				return
			case <-ticker.C:
				show()
			}
		}
	})
	return func() {
		close(end)
		running.Wait()
		show()
	}
}

func (r *run) finishReport(began time.Time) {
	report := r.report
	if r.table != nil {
		for i := range r.table.entries {
			e := &r.table.entries[i]
			switch {
			case e.has(passedOver):
				report.Ignored++
			case e.has(good) && !e.has(bad|suspect):
				report.Good++
			}
		}
		report.Files = len(r.table.entries)
	}
	report.files, report.control = r.table, r.control
	report.Bytes = r.read.Load()
	report.Duration = time.Since(began)
	slices.SortStableFunc(report.Problems, func(a, b Problem) int {
		if a.Kind != b.Kind {
			return int(a.Kind) - int(b.Kind)
		}
		return strings.Compare(a.Path, b.Path)
	})
}
