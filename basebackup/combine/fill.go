package combine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"

	"github.com/pgbraid/pgbraid/internal/durable"
	"github.com/pgbraid/pgbraid/internal/pgdata"
	"github.com/pgbraid/pgbraid/internal/progress"
	"golang.org/x/sync/errgroup"
)

// controlPartial is the name that pg_control has until everything else is
// complete: no server starts in a directory without it. No backup has a file of
// that name.
const controlPartial = "global/" + pgdata.Temporary + "pg_control"

// fill makes everything that the result has; pg_control and the manifest get
// names that nobody looks for. When it returns without an error, all files
// are durable.
func (r *run) fill(ctx context.Context) error {
	r.syncer = durable.NewSyncer(!r.fsync())
	err := r.write(ctx)
	if err == nil {
		r.setPhase(progress.Syncing)
	}
	return errors.Join(err, r.syncer.Wait())
}

// fsync tells whether files are synced one by one.
func (r *run) fsync() bool { return !r.options.NoSync && r.options.SyncMethod == Fsync }

func (r *run) write(ctx context.Context) error {
	for _, d := range r.tree.dirs {
		if err := r.makeDir(d); err != nil {
			return err
		}
	}
	for _, t := range r.tree.tablespaces {
		if err := durable.Symlink(t.path, r.output(t.link())); err != nil {
			return err
		}
	}
	if err := r.writeLabel(); err != nil {
		return err
	}
	if err := r.work(ctx, (*worker).make); err != nil {
		return err
	}
	if r.options.NoManifest {
		return nil
	}
	return r.writeManifest()
}

// makeDir makes a directory, unless it is one of those that are being filled.
func (r *run) makeDir(d *directory) error {
	for _, c := range r.claims {
		if c.Path == d.output {
			return nil
		}
	}
	if err := durable.Mkdir(d.output, r.modes.dir); err != nil {
		return err
	}
	if r.modes.dir == 0o700 {
		return nil
	}
	return os.Chmod(d.output, r.modes.dir)
}

// create makes a file of the result. One that is there already is an error.
func (r *run) create(path string) (*durable.File, error) {
	f, err := durable.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, r.modes.file)
	if err != nil {
		return nil, err
	}
	if r.modes.file != 0o600 {
		if err := f.Chmod(r.modes.file); err != nil {
			_ = f.Close() // it is going to be removed
			return nil, err
		}
	}
	return f, nil
}

// take hands a finished file to the syncer.
func (r *run) take(f *durable.File) error { return r.syncer.Take(f) }

func (r *run) writeLabel() error {
	text := r.chain.last().label.Full()
	f, err := r.create(r.output(labelFile))
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	var info fs.FileInfo
	if err == nil {
		info, err = f.Stat()
	}
	if err != nil {
		_ = f.Close() // it is going to be removed
		return err
	}
	e := entry{size: int64(len(text)), modTime: info.ModTime()}
	if h := r.options.checksums.New(); h != nil {
		h.Write(text) // never fails
		e.sum = h.Sum(nil)
	}
	r.tree.label = e
	r.done.Add(e.size)
	return r.take(f)
}

// work does something with every file of the result, several at a time. The
// largest come first, so that none of them is left alone at the end.
func (r *run) work(ctx context.Context, do func(*worker, context.Context, *file) error) error {
	files := slices.Clone(r.tree.files)
	slices.SortStableFunc(files, func(a, b *file) int { return cmp.Compare(b.size, a.size) })
	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for range min(r.options.Jobs, len(files)) {
		group.Go(func() error {
			w := newWorker(r)
			for {
				n := next.Add(1) - 1
				if n >= int64(len(files)) {
					return nil
				}
				if err := context.Cause(ctx); err != nil {
					return err
				}
				if err := do(w, ctx, files[n]); err != nil {
					return err
				}
			}
		})
	}
	return group.Wait()
}

// rehearse does what can be done without writing.
func (r *run) rehearse(ctx context.Context) error { return r.work(ctx, (*worker).inspect) }

// noteRebuilt counts the files that are not copies of one.
func (r *run) noteRebuilt(f *file, p *plan) {
	if p.whole == nil {
		r.rebuilt.Add(1)
	}
	r.log.Debug("rebuilding", "file", f.name, "blocks", p.blocks, "stretches", len(p.stretches), "sources", len(p.sources))
}

// finish makes of the files a backup: everything durable, then pg_control
// under its name, and last of all the manifest.
func (r *run) finish(ctx context.Context) error {
	if err := r.syncOutputs(); err != nil {
		return err
	}
	// From here on it is done in an instant: an interruption that comes later
	// than this finds a whole backup.
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if err := r.rename(controlPartial, controlFile); err != nil {
		return err
	}
	if r.options.NoManifest {
		return nil
	}
	return r.rename(manifestPartial, manifestFile)
}

func (r *run) rename(from, to string) error {
	if r.options.NoSync {
		return durable.RenameOnly(r.output(from), r.output(to))
	}
	return durable.Rename(r.output(from), r.output(to))
}

// syncOutputs makes the names of everything durable; with Syncfs also the
// content.
func (r *run) syncOutputs() error {
	if r.options.NoSync {
		return nil
	}
	for _, f := range r.fileSystems {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	dirs := map[string]bool{}
	for _, c := range r.claims {
		for _, made := range c.Made {
			dirs[filepath.Dir(made)] = true
		}
	}
	if r.fsync() {
		for _, d := range r.tree.dirs {
			dirs[d.output] = true
		}
	}
	var group errgroup.Group
	group.SetLimit(8)
	for dir := range dirs {
		group.Go(func() error {
			err := durable.SyncDir(dir)
			if errors.Is(err, fs.ErrPermission) && !r.isFilled(dir) {
				// A parent that this process may write in but not read: the
				// result does not depend on it after the next sync of the
				// file system.
				return nil
			}
			if err != nil {
				return fmt.Errorf("%s: %w", dir, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// isFilled tells of a directory of the result.
func (r *run) isFilled(dir string) bool {
	return slices.ContainsFunc(r.tree.dirs, func(d *directory) bool { return d.output == dir })
}
