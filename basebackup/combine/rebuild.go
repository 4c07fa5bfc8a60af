package combine

import (
	"context"
	"io"

	"github.com/pgbraid/pgbraid/internal/durable"
	"github.com/pgbraid/pgbraid/internal/pgpage"
)

// rebuild puts a file together from its stretches. Blocks are gathered, from
// however many sources, until there are enough for a large write.
func (w *worker) rebuild(ctx context.Context, f *file, p *plan) error {
	sums := &sums{made: w.options.checksums.New()}
	out, err := w.create(w.path(f))
	if err != nil {
		return err
	}
	if w.options.Method == CopyFileRange {
		err = w.rebuildRanges(ctx, out, p, sums)
	} else {
		w.writer.Start(out)
		put := func(b []byte) error { return w.put(ctx, b, sums) }
		if err = w.rebuildBytes(ctx, p, put); err == nil {
			out, err = w.writer.Finish()
		}
	}
	if err == nil {
		err = w.finishPlan(ctx, p)
	}
	if err != nil {
		return discard(out, err)
	}
	return w.finishFile(f, out, sums.result())
}

// finishPlan tells whether the blocks that were used are what they were. What
// the manifests say comes first: a page that is bad there too was so on the
// server.
func (w *worker) finishPlan(ctx context.Context, p *plan) error {
	if err := p.finish(ctx, nil); err != nil {
		return err
	}
	if p.bad != nil {
		return p.bad
	}
	return nil
}

// rebuildBytes hands over the blocks in their order, in large pieces.
func (w *worker) rebuildBytes(ctx context.Context, p *plan, put func(b []byte) error) error {
	filled, block := 0, int64(0)
	for _, s := range p.stretches {
		at := s.at
		for length := s.blocks * w.planner.geometry.blockSize; length > 0; {
			part := w.buf[filled:min(int64(len(w.buf)), int64(filled)+length)]
			if err := p.read(ctx, s.source, part, at); err != nil {
				return err
			}
			w.checkPages(p, s.source, part, block)
			block += int64(len(part)) / w.planner.geometry.blockSize
			at, length, filled = at+int64(len(part)), length-int64(len(part)), filled+len(part)
			if filled == len(w.buf) {
				if err := put(w.buf); err != nil {
					return err
				}
				filled = 0
			}
		}
	}
	return put(w.buf[:filled])
}

// read fills b from a source.
func (p *plan) read(ctx context.Context, number int32, b []byte, at int64) error {
	if number == fromNowhere {
		clear(b)
		return nil
	}
	return p.sources[number].read(ctx, b, at)
}

// rebuildRanges has the kernel copy the blocks, and reads them where they are
// now.
func (w *worker) rebuildRanges(ctx context.Context, out *durable.File, p *plan, sums *sums) error {
	block := int64(0)
	for _, s := range p.stretches {
		to, length := block*w.planner.geometry.blockSize, s.blocks*w.planner.geometry.blockSize
		var err error
		if s.source == fromNowhere {
			err = w.putZeros(ctx, out, length)
		} else {
			src := p.sources[s.source]
			if err = src.pass(ctx, s.at); err == nil {
				err = w.copyRange(ctx, out, src, s.at, length)
			}
		}
		if err == nil && (sums.wanted() || w.verifies()) {
			err = w.readBack(ctx, out, p, s.source, to, length, sums)
		}
		if err != nil {
			return err
		}
		block += s.blocks
	}
	return nil
}

// putZeros writes zeros to where out is.
func (w *worker) putZeros(ctx context.Context, out *durable.File, length int64) error {
	zeros := w.buf[:min(int64(len(w.buf)), length)]
	clear(zeros)
	for length > 0 {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		n, err := out.Write(zeros[:min(int64(len(zeros)), length)])
		w.done.Add(int64(n))
		if err != nil {
			return err
		}
		length -= int64(n)
	}
	return nil
}

// readBack checks and sums what the kernel copied of a source.
func (w *worker) readBack(ctx context.Context, out *durable.File, p *plan, number int32, at, length int64, sums *sums) error {
	for length > 0 {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		part := w.buf[:min(int64(len(w.buf)), length)]
		if err := readFull(out.File, part, at); err != nil {
			return err
		}
		if number != fromNowhere {
			p.sources[number].checked(part)
			w.checkPages(p, number, part, at/w.planner.geometry.blockSize)
		}
		sums.write(part)
		at, length = at+int64(len(part)), length-int64(len(part))
	}
	return nil
}

// checkPages looks at the pages that a source gave, from that block of the
// file on, and keeps the first bad one.
func (w *worker) checkPages(p *plan, number int32, part []byte, block int64) {
	if number == fromNowhere || p.bad != nil {
		return
	}
	s := p.sources[number]
	relation, ok := w.pagesOf(s)
	if !ok {
		return
	}
	g := w.pageGeometry()
	window := w.chain.inputs[s.input].window()
	first := relation.Segment*g.SegmentBlocks + uint32(block)
	for n := uint32(0); len(part) >= g.BlockSize; n, part = n+1, part[g.BlockSize:] {
		if pgpage.Check(part[:g.BlockSize], first+n, window) == pgpage.Bad {
			p.bad = &DamageError{Path: s.path, Kind: BadPage, Block: first + n}
			return
		}
	}
}

func (r *run) pageGeometry() pgpage.Geometry {
	g := r.geometry()
	return pgpage.Geometry{BlockSize: int(g.blockSize), SegmentBlocks: g.segmentBlocks}
}

// inspect reads what make would read, and writes nothing.
func (w *worker) inspect(ctx context.Context, f *file) error {
	if f.incremental {
		p, err := w.plan(ctx, f)
		if err != nil {
			return err
		}
		defer p.close()
		if !w.strict() {
			w.done.Add(p.blocks * w.planner.geometry.blockSize)
			return nil
		}
		count := func(b []byte) error {
			w.done.Add(int64(len(b)))
			return context.Cause(ctx)
		}
		if err := w.rebuildBytes(ctx, p, count); err != nil {
			return err
		}
		return w.finishPlan(ctx, p)
	}
	s, err := w.open(f)
	if err != nil {
		return err
	}
	defer func() { _ = s.file.Close() }() // only read from
	if !w.strict() {
		w.done.Add(s.size)
		return nil
	}
	sums := w.sums(f, s)
	if err := w.readAll(ctx, s.file, sums); err != nil {
		return err
	}
	w.done.Add(s.size)
	return sums.check()
}

var _ io.ReaderAt = (*source)(nil)
