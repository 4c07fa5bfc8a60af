package combine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	"github.com/pgbraid/pgbraid/basebackup/manifest"
	"github.com/pgbraid/pgbraid/internal/durable"
)

// piece is how many bytes are read and written at a time.
const piece = 1 << 20

// worker makes one file after another and keeps its memory.
type worker struct {
	*run
	planner planner
	writer  *durable.Writer
	buf     []byte
}

func newWorker(r *run) *worker {
	return &worker{
		run:     r,
		planner: planner{chain: r.chain, geometry: r.geometry()},
		writer:  durable.NewWriter(!r.options.NoSync),
		buf:     make([]byte, piece),
	}
}

// make makes a file of the result and fills in what the manifest says of it.
func (w *worker) make(ctx context.Context, f *file) error {
	if !f.incremental {
		in, info, err := openRegular(f.input())
		if err != nil {
			return err
		}
		defer func() { _ = in.Close() }() // only read from
		s := &source{input: len(w.chain.inputs) - 1, path: f.input(), file: in, size: info.Size()}
		return w.copy(ctx, f, s)
	}
	p, err := w.planner.plan(f.dir.name, f.base)
	if err != nil {
		return err
	}
	defer p.close()
	w.noteRebuilt(f, p)
	if p.whole != nil {
		return w.copy(ctx, f, p.whole)
	}
	return w.rebuild(ctx, f, p)
}

// path is where a file is made.
func (w *worker) path(f *file) string {
	if f.name == controlFile {
		return w.output(controlPartial)
	}
	return filepath.Join(f.dir.output, f.base)
}

// copy brings over a file that is whole in an input.
func (w *worker) copy(ctx context.Context, f *file, s *source) error {
	sums, err := w.sums(f, s)
	if err != nil {
		return err
	}
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
		err = w.readAll(ctx, s, sums)
	}
	if err == nil {
		err = sums.check(s.path)
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

// readAll sums a file that the kernel copied.
func (w *worker) readAll(ctx context.Context, s *source, sums *sums) error {
	for at := int64(0); at < s.size; {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		n, err := s.file.ReadAt(w.buf[:min(int64(len(w.buf)), s.size-at)], at)
		if n == 0 && err != nil {
			return err
		}
		sums.write(w.buf[:n])
		at += int64(n)
	}
	return nil
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

// rebuild puts a file together from its stretches. Blocks are gathered, from
// however many sources, until there are enough for a large write.
func (w *worker) rebuild(ctx context.Context, f *file, p *plan) error {
	sums := &sums{}
	sums.want(w.options.checksums)
	out, err := w.create(w.path(f))
	if err != nil {
		return err
	}
	if w.options.Method == CopyFileRange {
		err = w.rebuildRanges(ctx, out, p, sums)
	} else {
		w.writer.Start(out)
		if err = w.rebuildBytes(ctx, p, sums); err == nil {
			out, err = w.writer.Finish()
		}
	}
	if err != nil {
		return discard(out, err)
	}
	return w.finishFile(f, out, sums.result())
}

func (w *worker) rebuildBytes(ctx context.Context, p *plan, sums *sums) error {
	filled := 0
	for _, s := range p.stretches {
		at := s.at
		for length := s.blocks * w.planner.geometry.blockSize; length > 0; {
			part := w.buf[filled:min(int64(len(w.buf)), int64(filled)+length)]
			if err := p.read(s.source, part, at); err != nil {
				return err
			}
			at, length, filled = at+int64(len(part)), length-int64(len(part)), filled+len(part)
			if filled == len(w.buf) {
				if err := w.put(ctx, w.buf, sums); err != nil {
					return err
				}
				filled = 0
			}
		}
	}
	return w.put(ctx, w.buf[:filled], sums)
}

// read fills b from a source.
func (p *plan) read(number int32, b []byte, at int64) error {
	if number == fromNowhere {
		clear(b)
		return nil
	}
	s := p.sources[number]
	if err := readFull(s.file, b, at); err != nil {
		return fmt.Errorf("could not read file \"%s\": %w", s.path, err)
	}
	return nil
}

func (w *worker) rebuildRanges(ctx context.Context, out *durable.File, p *plan, sums *sums) error {
	for _, s := range p.stretches {
		length := s.blocks * w.planner.geometry.blockSize
		if s.source != fromNowhere {
			if err := w.copyRange(ctx, out, p.sources[s.source], s.at, length); err != nil {
				return err
			}
			if !sums.wanted() {
				continue
			}
		}
		for at := s.at; length > 0; {
			part := w.buf[:min(int64(len(w.buf)), length)]
			if err := p.read(s.source, part, at); err != nil {
				return err
			}
			sums.write(part)
			if s.source == fromNowhere {
				if _, err := out.Write(part); err != nil {
					return err
				}
				w.done.Add(int64(len(part)))
			}
			at, length = at+int64(len(part)), length-int64(len(part))
		}
	}
	return nil
}

// sums are the checksums of one file: that of the result's manifest, and one
// that the file has to have.
type sums struct {
	hashes []hash.Hash
	// known is the checksum for the manifest if it need not be computed,
	// else made computes it. Both are nil if there is to be none.
	known []byte
	made  hash.Hash
	// checked computes what has to be expected; nil if nothing is.
	checked  hash.Hash
	expected []byte
}

// want has the checksum for the manifest computed.
func (s *sums) want(a manifest.Algorithm) {
	if h := a.New(); h != nil {
		s.made = h
		s.hashes = append(s.hashes, h)
	}
}

func (s *sums) wanted() bool { return len(s.hashes) > 0 }

func (s *sums) write(p []byte) {
	for _, h := range s.hashes {
		h.Write(p) // never fails
	}
}

// check compares the file with what its manifest says.
func (s *sums) check(path string) error {
	if s.checked != nil && !bytes.Equal(s.checked.Sum(nil), s.expected) {
		return &DamageError{path, "has another checksum in the manifest"}
	}
	return nil
}

func (s *sums) result() []byte {
	if s.made != nil {
		return s.made.Sum(nil)
	}
	return s.known
}

// sums decides what is to be computed of a file that is whole in an input.
func (w *worker) sums(f *file, src *source) (*sums, error) {
	s := &sums{}
	in := w.chain.inputs[src.input]
	l, ok := in.manifest.find(f.name)
	ok = ok && l.sum != "" && !changesLater(f.name)
	if ok && l.size != src.size && !w.options.NoVerify {
		return nil, &DamageError{src.path, fmt.Sprintf("has %d bytes, but %d in the manifest", src.size, l.size)}
	}
	if f.listed {
		if ok && l.algorithm == w.options.checksums {
			s.known = []byte(l.sum)
		} else {
			s.want(w.options.checksums)
		}
	}
	if !ok && in.manifest != nil && f.incremental {
		w.log.Warn(fmt.Sprintf("manifest file \"%s\" contains no entry for file \"%s\"", in.path(manifestFile), f.name))
	}
	// Where the file is read anyway, it is held against its manifest.
	if ok && !w.options.NoVerify && l.algorithm == manifest.CRC32C && w.options.Method == Copy {
		s.checked, s.expected = manifest.CRC32C.New(), []byte(l.sum)
		s.hashes = append(s.hashes, s.checked)
	}
	return s, nil
}
