package combine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
)

// fromNowhere stands for a block of zeros: one that the server added without
// writing to it, so that no backup holds it.
const fromNowhere = -1

// stretch is a number of blocks of a rebuilt file that lie behind one another
// in one source.
type stretch struct {
	source int32 // in plan.sources, or fromNowhere
	at     int64 // in the source, in bytes
	blocks int64
}

// plan says where the blocks of a rebuilt file come from.
type plan struct {
	sources   []*source
	blocks    int64
	stretches []stretch
	// whole is the source, if there is one, that the file is a copy of.
	whole *source
	// bad is the first page that no server would take; nil if there is none.
	bad *DamageError
}

// finish reads what is left of the sources but one, and compares each with its
// manifest.
func (p *plan) finish(ctx context.Context, but *source) error {
	for _, s := range p.sources {
		if s == but {
			continue
		}
		if err := s.finish(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (p *plan) close() {
	for _, s := range p.sources {
		_ = s.file.Close() // only read from
	}
}

// planner makes plans, one after another, and keeps its memory.
type planner struct {
	chain    *chain
	geometry geometry
	admit    func(*source) error

	from  []int32  // by block: its source, or fromNowhere
	index []uint32 // and which of the source's blocks it is

	buffers [][]byte // of the sources
}

// plan finds the blocks of the file base, in the directory dir below the data
// directory, that the last input has only changes of. A block is the newest
// that any input holds; but an input whose file ends before a block hides all
// that older ones have there, since what was added again after that, and is
// in no newer backup, was never written to.
func (p *planner) plan(ctx context.Context, dir, base string) (_ *plan, err error) {
	result := &plan{}
	defer func() {
		if err != nil {
			result.close()
		}
	}()
	last := len(p.chain.inputs) - 1
	newest, err := p.openIncremental(ctx, result, last, dir, base)
	if err != nil {
		return nil, err
	}
	blocks := newest.header.length()
	p.reset(blocks)
	p.take(newest, 0, blocks)
	limit := newest.header.truncation
	for n := last - 1; p.missing(limit); n-- {
		if n < 0 {
			return nil, fmt.Errorf("full backup contains unexpected incremental file \"%s\"", newest.path)
		}
		s, err := p.open(ctx, result, n, dir, base)
		if err != nil {
			return nil, err
		}
		if s.header == nil {
			p.takeRest(s, int32(len(result.sources)-1), limit)
			break
		}
		newest = s
		p.take(s, int32(len(result.sources)-1), limit)
		limit = min(limit, s.header.truncation)
	}
	result.blocks = int64(blocks)
	p.join(result, blocks)
	return result, nil
}

func (p *planner) reset(blocks uint32) {
	if cap(p.from) < int(blocks) {
		p.from, p.index = make([]int32, blocks), make([]uint32, blocks)
	}
	p.from, p.index = p.from[:blocks], p.index[:blocks]
	for i := range p.from {
		p.from[i] = fromNowhere
	}
}

// take has a source give the blocks below limit that it holds and no newer
// one does.
func (p *planner) take(s *source, number int32, limit uint32) {
	for i, b := range s.header.blocks {
		if b >= limit {
			return
		}
		if p.from[b] == fromNowhere {
			p.from[b], p.index[b] = number, uint32(i)
		}
	}
}

// takeRest has a whole file give all blocks below limit that are missing.
func (p *planner) takeRest(s *source, number int32, limit uint32) {
	has := s.size / p.geometry.blockSize
	for b := range p.from[:min(int64(limit), has)] {
		if p.from[b] == fromNowhere {
			p.from[b], p.index[b] = number, uint32(b)
		}
	}
}

// missing tells whether a block below limit has no source so far.
func (p *planner) missing(limit uint32) bool {
	return slices.Contains(p.from[:limit], fromNowhere)
}

// join makes stretches of the blocks, and finds out whether the file is a copy
// of a single one.
func (p *planner) join(result *plan, blocks uint32) {
	size := p.geometry.blockSize
	for b := range blocks {
		number, at := p.from[b], int64(0)
		if number != fromNowhere {
			at = int64(p.index[b]) * size
			if h := result.sources[number].header; h != nil {
				at += h.data
			}
		}
		if n := len(result.stretches); n > 0 {
			before := &result.stretches[n-1]
			if before.source == number {
				// Blocks that follow one another do so in every file that
				// has them.
				before.blocks++
				continue
			}
		}
		result.stretches = append(result.stretches, stretch{number, at, 1})
	}
	if len(result.stretches) == 1 && result.stretches[0].source != fromNowhere {
		s := result.sources[result.stretches[0].source]
		if s.header == nil && s.size == result.blocks*size {
			result.whole = s
		}
	}
}

// open opens what an older input has of a file.
func (p *planner) open(ctx context.Context, result *plan, n int, dir, base string) (*source, error) {
	s, err := p.add(result, n, path.Join(dir, base))
	if !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	s, err = p.openIncremental(ctx, result, n, dir, base)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("backup at \"%s\" lacks \"%s\", of which the next one has only changes", p.chain.inputs[n].dir, path.Join(dir, base))
	}
	return s, err
}

// openIncremental opens a file of changes and reads its header.
func (p *planner) openIncremental(ctx context.Context, result *plan, n int, dir, base string) (*source, error) {
	s, err := p.add(result, n, path.Join(dir, incrementalPrefix+base))
	if err != nil {
		return nil, err
	}
	s.header, err = readHeader(s, s.size, p.geometry)
	if err == nil {
		return s, nil
	}
	// That it is not what was written says more than what is wrong with it.
	var damage *DamageError
	if e := s.finish(ctx); errors.As(e, &damage) {
		return nil, damage
	}
	return nil, describeHeader(s.path, err)
}

// add opens a file of an input as the next source.
func (p *planner) add(result *plan, n int, name string) (*source, error) {
	s := &source{input: n, name: name, path: p.chain.inputs[n].path(name)}
	f, info, err := openRegular(s.path)
	if err != nil {
		return nil, err
	}
	s.file, s.size = f, info.Size()
	number := len(result.sources)
	result.sources = append(result.sources, s)
	if number == len(p.buffers) {
		p.buffers = append(p.buffers, make([]byte, ahead))
	}
	s.buf = p.buffers[number]
	return s, p.admit(s)
}

// describeHeader names the file that an error of readHeader is about.
func describeHeader(name string, err error) error {
	var fault headerError
	if errors.As(err, &fault) {
		return fmt.Errorf("file \"%s\" %w", name, fault)
	}
	return fmt.Errorf("could not read file \"%s\": %w", name, err)
}
