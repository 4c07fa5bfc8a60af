package verify

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/pgbraid/pgbraid/internal/controlfile"
)

// checkPlain verifies a data directory. Names and sizes come first: that takes
// moments, and reading may take hours.
func (r *run) checkPlain(ctx context.Context) error {
	w := &walk{run: r, ctx: ctx}
	info, err := os.Stat(r.o.Directory)
	if err != nil {
		return err
	}
	if err := w.directory("", []fs.FileInfo{info}); err != nil {
		return err
	}
	if err := r.missing(ctx, w.isUnseen); err != nil {
		return err
	}
	r.checkPlainLayout()
	w.checkControlFile()
	r.readIdentity()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var (
		wal    sync.WaitGroup
		walErr error
	)
	if !r.o.NoWAL {
		wal.Go(func() { walErr = r.checkWAL(ctx) })
	}
	err = r.checkContents(ctx)
	wal.Wait()
	return errors.Join(err, walErr)
}

// walk goes over a data directory and what its symbolic links lead to.
type walk struct {
	*run
	ctx    context.Context
	unseen []string // what could not be looked at: nothing is missing there
}

// directory looks at all in the directory of that path; above are the
// directories on the way to it, itself last.
func (w *walk) directory(rel string, above []fs.FileInfo) error {
	list, err := os.ReadDir(filepath.Join(w.o.Directory, rel))
	if err != nil {
		if rel == "" {
			return err
		}
		// The operation tells a directory from a file that cannot be opened.
		if fault, ok := errors.AsType[*fs.PathError](err); ok && fault.Op == "open" {
			err = &fs.PathError{Op: OpenDirectory, Path: fault.Path, Err: fault.Err}
		}
		w.refused(rel, err)
		return nil
	}
	for _, d := range list {
		if w.ctx.Err() != nil {
			return context.Cause(w.ctx)
		}
		name := path.Join(rel, d.Name())
		if w.ignores(name) {
			if e := w.table.find(name); e != nil {
				e.set(seen | passedOver)
			}
			continue
		}
		if err := w.file(name, d, above); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) file(name string, d fs.DirEntry, above []fs.FileInfo) error {
	info, err := os.Stat(filepath.Join(w.o.Directory, name))
	switch {
	case err != nil:
		w.refused(name, err)
		return nil
	case info.IsDir():
		if d.Type()&fs.ModeSymlink != 0 && slices.ContainsFunc(above, func(a fs.FileInfo) bool { return os.SameFile(a, info) }) {
			w.refused(name, errors.New("the symbolic link leads back to a directory above it"))
			return nil
		}
		return w.directory(name, append(slices.Clip(above), info))
	case !info.Mode().IsRegular():
		w.problem(Problem{Kind: NotRegular, Path: name})
		return nil
	}
	e := w.table.find(name)
	if e == nil {
		w.problem(Problem{Kind: ExtraFile, Path: name, Size: info.Size()})
		return nil
	}
	e.set(seen)
	if info.Size() != e.size {
		e.set(bad)
		w.problem(Problem{Kind: SizeMismatch, Path: name, Size: info.Size(), Want: e.size})
	}
	return nil
}

func (w *walk) refused(name string, err error) {
	w.unseen = append(w.unseen, name)
	w.problem(Problem{Kind: Unreadable, Path: name, Err: err})
}

func (w *walk) isUnseen(name string) bool {
	return slices.ContainsFunc(w.unseen, func(u string) bool { return name == u || strings.HasPrefix(name, u+"/") })
}

// checkControlFile looks at pg_control, where it is not to be ignored.
func (w *walk) checkControlFile() {
	if w.isUnseen(controlName) {
		return
	}
	control, err := controlfile.Read(filepath.Join(w.o.Directory, controlName))
	refused, ok := errors.AsType[*fs.PathError](err)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return // if it is in the manifest, that it is missing was said
	case ok && refused.Op == "open" && !w.ignores(controlName):
		w.refused(controlName, err)
		if e := w.table.find(controlName); e != nil {
			e.set(bad)
		}
		return
	}
	w.judgeControl("", control, err)
}

// judgeControl says what is wrong with a pg_control, which is in that archive,
// and keeps it if nothing is.
func (r *run) judgeControl(archive string, control controlfile.Control, err error) {
	if r.ignores(controlName) {
		if err == nil {
			r.keepControl(&control)
		}
		return
	}
	e := r.table.find(controlName)
	switch want := r.summary.SystemIdentifier; {
	case err != nil:
		r.problem(Problem{Kind: DamagedControlFile, Path: controlName, Archive: archive, Err: err})
	case r.summary.Version > 1 && control.SystemIdentifier != want:
		r.problem(Problem{Kind: ForeignSystem, Path: controlName, Archive: archive, Size: int64(control.SystemIdentifier), Want: int64(want)})
	default:
		r.keepControl(&control)
		return
	}
	if e != nil {
		e.set(suspect)
	}
}

// keepControl may be called from several goroutines, one for each archive that
// has a pg_control.
func (r *run) keepControl(control *controlfile.Control) {
	r.mutex.Lock()
	r.control = control
	r.mutex.Unlock()
	r.learnPages(control)
}

// small is the size in bytes from which on larger files are read first: the
// last ones must not keep one job busy after the others are through. Smaller
// ones stay in the manifest's order, which is that of the directories.
const small = 1 << 20

// checkContents reads all files whose sizes are right.
func (r *run) checkContents(ctx context.Context) error {
	var list []int32
	for i := range r.table.entries {
		e := &r.table.entries[i]
		switch {
		case !e.has(seen) || e.has(passedOver):
		case e.has(bad):
		case !r.mustRead(e):
			e.set(good)
		default:
			list = append(list, int32(i))
			r.total.Add(e.size)
		}
	}
	slices.SortStableFunc(list, func(a, b int32) int {
		return cmp.Compare(max(small, r.table.entries[b].size), max(small, r.table.entries[a].size))
	})
	return r.hashAll(ctx, list)
}

// mustRead tells whether there is anything in a file to look at.
func (r *run) mustRead(e *entry) bool {
	return !r.o.SkipChecksums && e.checksum() != "" || r.hasPages(e.path())
}
