package combine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/pgbraid/pgbraid/internal/durable"
	"github.com/pgbraid/pgbraid/internal/pgpage"
)

// piece is how many bytes are read and written at a time.
const piece = 1 << 20

// worker makes one file after another and keeps its memory.
type worker struct {
	*run
	planner planner
	writer  *durable.Writer
	pages   pgpage.Checker
	buf     []byte
}

func newWorker(r *run) *worker {
	return &worker{
		run:     r,
		planner: planner{chain: r.chain, geometry: r.geometry(), admit: r.admit},
		writer:  durable.NewWriter(!r.options.NoSync),
		buf:     make([]byte, piece),
	}
}

// make makes a file of the result and fills in what the manifest says of it.
func (w *worker) make(ctx context.Context, f *file) error {
	if !f.incremental {
		s, err := w.open(f)
		if err != nil {
			return err
		}
		defer func() { _ = s.file.Close() }() // only read from
		return w.copy(ctx, f, s)
	}
	p, err := w.plan(ctx, f)
	if err != nil {
		return err
	}
	defer p.close()
	if p.whole == nil {
		return w.rebuild(ctx, f, p)
	}
	if err := p.finish(ctx, p.whole); err != nil {
		return err
	}
	return w.copy(ctx, f, p.whole)
}

// open opens a file that is complete in the last input.
func (w *worker) open(f *file) (*source, error) {
	in, info, err := openRegular(f.input())
	if err != nil {
		return nil, err
	}
	s := &source{input: len(w.chain.inputs) - 1, name: f.name, path: f.input(), file: in, size: info.Size()}
	if err := w.admit(s); err != nil {
		_ = in.Close() // only read from
		return nil, err
	}
	return s, nil
}

// plan plans a file of which the last input has only changes.
func (w *worker) plan(ctx context.Context, f *file) (*plan, error) {
	p, err := w.planner.plan(ctx, f.dir.name, f.base)
	if err == nil {
		w.noteRebuilt(f, p)
	}
	return p, err
}

// path is where a file is made.
func (w *worker) path(f *file) string {
	if f.name == controlFile {
		return w.output(controlPartial)
	}
	return filepath.Join(f.dir.output, f.base)
}

// copy brings over a file that is complete in an input. What the kernel brought
// over is read where it is now, so that what is checked is what the result has.
func (w *worker) copy(ctx context.Context, f *file, s *source) (err error) {
	sums := w.sums(f, s)
	var out *durable.File
	switch w.options.Method {
	case Copy:
		out, err = w.copyBytes(ctx, f, s, sums)
	case CopyFileRange:
		out, err = w.copyRanges(ctx, f, s)
	case Clone:
		out, err = w.clone(f, s)
	case Link:
		out, err = w.link(f, s)
	}
	if err == nil && w.options.Method != Copy && sums.wanted() {
		err = w.readAll(ctx, out.File, sums)
	}
	if err == nil {
		err = sums.check()
	}
	if err != nil {
		return discard(out, err)
	}
	return w.finishFile(f, out, sums.result())
}

// discard closes a file that is going to be removed.
func discard(f *durable.File, err error) error {
	if f != nil {
		_ = f.Close()
	}
	return err
}

// finishFile notes what the manifest says of a file, and hands it on.
func (w *worker) finishFile(f *file, out *durable.File, sum []byte) error {
	info, err := out.Stat()
	if err != nil {
		return discard(out, err)
	}
	f.entry = entry{size: info.Size(), modTime: info.ModTime(), sum: sum}
	return w.take(out)
}

// copyBytes reads a file to its end and writes what it read.
func (w *worker) copyBytes(ctx context.Context, f *file, s *source, sums *sums) (*durable.File, error) {
	out, err := w.create(w.path(f))
	if err != nil {
		return nil, err
	}
	w.writer.Start(out)
	for {
		n, err := io.ReadFull(s.file, w.buf)
		if e := w.put(ctx, w.buf[:n], sums); e != nil {
			return out, e
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return w.writer.Finish()
		}
		if err != nil {
			return out, err
		}
	}
}

// put sums and writes the next bytes of the file that the writer has.
func (w *worker) put(ctx context.Context, p []byte, sums *sums) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	sums.write(p)
	n, err := w.writer.Write(p)
	w.done.Add(int64(n))
	return err
}

// readAll sums a file from its beginning to its end.
func (w *worker) readAll(ctx context.Context, f *os.File, sums *sums) error {
	for at := int64(0); ; {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		n, err := f.ReadAt(w.buf, at)
		sums.write(w.buf[:n])
		at += int64(n)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (w *worker) copyRanges(ctx context.Context, f *file, s *source) (*durable.File, error) {
	out, err := w.create(w.path(f))
	if err != nil {
		return nil, err
	}
	return out, w.copyRange(ctx, out, s, 0, s.size)
}

// copyRange has the kernel copy to where out is.
func (w *worker) copyRange(ctx context.Context, out *durable.File, s *source, at, length int64) error {
	for length > 0 {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		n, err := durable.CopyRange(out, s.file, at, min(length, 64*piece))
		if err == nil && n == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return fmt.Errorf("error while copying file range from \"%s\" to \"%s\": %w", s.path, out.Name(), err)
		}
		w.done.Add(n)
		at, length = at+n, length-n
	}
	return nil
}

func (w *worker) clone(f *file, s *source) (*durable.File, error) {
	path := w.path(f)
	if err := cloneFile(path, s.file, w.create); err != nil {
		return nil, fmt.Errorf("error while cloning file \"%s\" to \"%s\": %w", s.path, path, err)
	}
	w.done.Add(s.size)
	return durable.OpenFile(path, os.O_RDONLY, 0)
}

func (w *worker) link(f *file, s *source) (*durable.File, error) {
	path := w.path(f)
	if err := durable.LinkFile(s.path, path); err != nil {
		return nil, fmt.Errorf("error while linking file from \"%s\" to \"%s\": %w", s.path, path, errors.Unwrap(err))
	}
	w.done.Add(s.size)
	return durable.OpenFile(path, os.O_RDONLY, 0)
}
