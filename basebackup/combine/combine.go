// Package combine makes a full backup of a full one and the incremental
// backups that were taken on top of it (release 17 and later).
//
//	result, err := combine.Run(ctx, combine.Options{
//		Inputs: []string{"full", "monday", "tuesday"},
//		Output: "restored",
//	})
//
// The inputs are plain backups: the full one first, then each incremental one
// in the order that they were taken. They are read only. The result is a base
// backup like any other, as of the end of the last input, with a manifest of
// its own. It is whole or it is not there: until everything else is durable it
// has neither global/pg_control, without which no server starts, nor
// backup_manifest; and after a failure all that was made is removed.
package combine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pgbraid/pgbraid/basebackup/manifest"
	"github.com/pgbraid/pgbraid/internal/durable"
	"github.com/pgbraid/pgbraid/internal/pgdata"
	"github.com/pgbraid/pgbraid/internal/progress"
	"github.com/pgbraid/pgbraid/logstream"
)

// Method is how a file is brought over that is the same in the result as in
// an input.
type Method string

// The methods. All but Copy leave the result dependent on what the file
// system does, or on the input itself.
const (
	// Copy reads and writes.
	Copy Method = "copy"
	// Clone lets both files share their blocks until one of them is changed.
	// The file system must be able to do that.
	Clone Method = "clone"
	// CopyFileRange lets the kernel copy, for blocks of rebuilt files too.
	CopyFileRange Method = "copy_file_range"
	// Link makes a hard link: the result shares the file with the input, and
	// whoever changes one changes the other.
	Link Method = "link"
)

// SyncMethod is how the result is made durable.
type SyncMethod string

// The ways to make the result durable.
const (
	// Fsync syncs each file, beside the copying.
	Fsync SyncMethod = "fsync"
	// Syncfs syncs whole file systems at the end. Linux only.
	Syncfs SyncMethod = "syncfs"
)

// TablespaceMapping says where a tablespace that lies at Old is put. Both are
// absolute paths.
type TablespaceMapping struct{ Old, New string }

// Options say what is combined, into what, and how.
type Options struct {
	// Inputs are the directories of the backups: the full one, then the
	// incremental ones in their order.
	Inputs []string
	// Output is the directory that the result is put into. It must be empty or
	// not exist, and not be in one of the inputs.
	Output string
	// Tablespaces say where the last input's tablespaces are put. Each that is
	// not a directory in pg_tblspc itself needs one.
	Tablespaces []TablespaceMapping

	// ManifestChecksums is the algorithm of the result's manifest, CRC32C if
	// empty.
	ManifestChecksums string
	// NoManifest leaves the manifest out.
	NoManifest bool
	// NoVerify takes the inputs as they are, and takes over checksums from
	// their manifests without looking at the files. Otherwise the last input
	// must have exactly the files that its manifest lists; each file of an
	// input that says anything about the result must have the size and the
	// checksum that are listed for it; and where pages have checksums these
	// must be right. What differs is a *DamageError. WAL is not listed, and
	// not looked at.
	NoVerify bool
	// AsPgCombinebackup verifies only the files that are used, and goes on
	// where that tool does: a file that is not listed is taken with a warning,
	// pages are only looked at where a manifest has no checksum, and DryRun
	// does not read them.
	AsPgCombinebackup bool

	// Method is Copy if empty.
	Method Method
	// Jobs is how many files are worked on at a time; 0 means one for each
	// processor.
	Jobs int
	// DryRun checks everything that can be checked without writing.
	DryRun bool

	// NoSync does not wait for the disk.
	NoSync bool
	// SyncMethod is Fsync if empty.
	SyncMethod SyncMethod

	// Logger may be nil.
	Logger *slog.Logger
	// OnProgress, if set, is called about five times a second and whenever
	// the phase changes, always from one goroutine.
	OnProgress func(Progress)

	checksums manifest.Algorithm
}

// Progress is the state of a run at one moment. Done and Total are bytes of
// the result.
type Progress = progress.Snapshot

// Result tells of a combined backup.
type Result struct {
	// Directory is the output.
	Directory string
	// Tablespaces are where the tablespaces were put.
	Tablespaces []Tablespace
	// SystemIdentifier is the cluster's.
	SystemIdentifier uint64
	// Major is the cluster's release, such as 17.
	Major int
	// Start is where the log begins that the backup needs.
	Start logstream.Position
	// Ranges are the log that the backup needs, as in the last input's
	// manifest; nil if that has none.
	Ranges []manifest.WALRange
	// Files is how many files the result has; Rebuilt how many of them were
	// put together from several.
	Files, Rebuilt int
	// Bytes is the size of all files.
	Bytes int64
	// Duration is how long it took.
	Duration time.Duration
}

// Tablespace is one that the result has.
type Tablespace struct {
	OID uint32
	// Path is the directory that it was put into.
	Path string
}

// Check tells whether the options are ones that Run can carry out, before
// anything is touched.
func (o Options) Check() error { return (&o).complete() }

// complete checks the options and sets what was left out.
func (o *Options) complete() (err error) {
	if len(o.Inputs) == 0 {
		return errors.New("no input directories specified")
	}
	if o.Output == "" {
		return errors.New("no output directory specified")
	}
	// The directory stays the same should this process change its own.
	if o.Output, err = filepath.Abs(o.Output); err != nil {
		return err
	}
	if o.Method == "" {
		o.Method = Copy
	}
	if o.SyncMethod == "" {
		o.SyncMethod = Fsync
	}
	if o.Jobs == 0 {
		o.Jobs = runtime.GOMAXPROCS(0)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.checksums = manifest.CRC32C
	if o.ManifestChecksums != "" {
		if o.checksums, err = manifest.ParseAlgorithm(o.ManifestChecksums); err != nil {
			return err
		}
	}
	if o.NoManifest {
		o.checksums = manifest.None
	}
	switch {
	case !slices.Contains([]Method{Copy, Clone, CopyFileRange, Link}, o.Method):
		return fmt.Errorf("unrecognized copy method: %q", o.Method)
	case o.Method == Clone && !hasClone:
		return errors.New("file cloning not supported on this platform")
	case o.Method == CopyFileRange && !durable.HasCopyRange:
		return errors.New("copy_file_range not supported on this platform")
	case !slices.Contains([]SyncMethod{Fsync, Syncfs}, o.SyncMethod):
		return fmt.Errorf("unrecognized sync method: %q", o.SyncMethod)
	case o.SyncMethod == Syncfs && !durable.HasSyncFS:
		return errors.New("this platform does not support sync method \"syncfs\"")
	case o.Jobs < 0:
		return fmt.Errorf("invalid number of jobs: %d", o.Jobs)
	}
	return o.checkMappings()
}

func (o *Options) checkMappings() error {
	mappings := slices.Clone(o.Tablespaces)
	for i, m := range mappings {
		for _, path := range []string{m.Old, m.New} {
			if !filepath.IsAbs(path) {
				return fmt.Errorf("tablespace mapping %q: %q is not an absolute path", m.Old+"="+m.New, path)
			}
		}
		mappings[i] = TablespaceMapping{filepath.Clean(m.Old), filepath.Clean(m.New)}
	}
	o.Tablespaces = mappings
	return nil
}

// run is one combining.
type run struct {
	options Options
	log     *slog.Logger
	started time.Time

	chain *chain
	tree  *tree
	// modes of what is made, as in the last input
	modes modes

	claims      []*pgdata.Claim       // of the directories that are filled
	fileSystems []*durable.FileSystem // that are synced completely
	syncer      *durable.Syncer       // nil: nothing is written

	reporter reporter
	done     atomic.Int64 // bytes of the result that are written
	rebuilt  atomic.Int64
}

// Run combines the inputs. When it fails, also because ctx ended, whatever it
// made is removed and the cause of the failure is returned.
func Run(ctx context.Context, options Options) (*Result, error) {
	if err := options.complete(); err != nil {
		return nil, err
	}
	r := &run{options: options, log: options.Logger, started: time.Now()}
	stop := r.report()
	defer stop()
	result, err := r.run(ctx)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && errors.Is(err, ctx.Err()) {
			err = cause
		}
		return nil, err
	}
	r.setPhase(progress.Done)
	return result, nil
}

func (r *run) run(ctx context.Context) (result *Result, err error) {
	if r.chain, err = openChain(ctx, &r.options); err != nil {
		return nil, err
	}
	if err := r.checkOwn(); err != nil {
		return nil, err
	}
	if r.tree, err = r.walk(ctx); err != nil {
		return nil, err
	}
	if err := r.size(ctx); err != nil {
		return nil, err
	}
	if err := r.checkOutputs(); err != nil {
		return nil, err
	}
	r.setPhase(progress.Copying)
	if r.options.DryRun {
		if err := r.rehearse(ctx); err != nil {
			return nil, err
		}
		r.tellUnchecked()
		return r.result(), nil
	}
	defer func() {
		for _, f := range r.fileSystems {
			f.Close()
		}
		if err != nil {
			err = errors.Join(err, r.removeOutputs())
		}
		r.releaseOutputs()
	}()
	if err := r.makeOutputs(); err != nil {
		return nil, err
	}
	if err := r.fill(ctx); err != nil {
		return nil, err
	}
	r.tellUnchecked()
	if err := r.finish(ctx); err != nil {
		return nil, err
	}
	return r.result(), nil
}

func (r *run) result() *Result {
	last := r.chain.last()
	result := &Result{
		Directory:        r.options.Output,
		SystemIdentifier: last.control.SystemIdentifier,
		Major:            last.major,
		Start:            last.label.Start,
		Files:            len(r.tree.files) + 1, // the label
		Rebuilt:          int(r.rebuilt.Load()),
		Bytes:            r.done.Load(),
		Duration:         time.Since(r.started),
	}
	if last.manifest != nil {
		result.Ranges = last.manifest.summary.Ranges
	}
	for _, t := range r.tree.tablespaces {
		result.Tablespaces = append(result.Tablespaces, Tablespace{t.oid, t.path})
	}
	return result
}
