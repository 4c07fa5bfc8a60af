package combine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
)

// source is a file that blocks of a rebuilt one come from.
type source struct {
	input  int // its place in the chain
	path   string
	file   *os.File
	size   int64
	header *header // nil: the file is whole
}

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

	from  []int32  // by block: its source, or fromNowhere
	index []uint32 // and which of the source's blocks it is
}

// plan finds the blocks of the file base, in the directory dir below the data
// directory, that the last input has only changes of. A block is the newest
// that any input holds; but an input whose file ends before a block hides all
// that older ones have there, since what was added again after that, and is
// in no newer backup, was never written to.
func (p *planner) plan(dir, base string) (_ *plan, err error) {
	result := &plan{}
	defer func() {
		if err != nil {
			result.close()
		}
	}()
	last := len(p.chain.inputs) - 1
	newest, err := p.openIncremental(last, dir, base)
	if err != nil {
		return nil, err
	}
	result.sources = append(result.sources, newest)
	blocks := newest.header.length()
	p.reset(blocks)
	p.take(newest, 0, blocks)
	limit := newest.header.truncation
	for n := last - 1; p.missing(limit); n-- {
		if n < 0 {
			return nil, fmt.Errorf("full backup contains unexpected incremental file \"%s\"", newest.path)
		}
		s, err := p.open(n, dir, base)
		if err != nil {
			return nil, err
		}
		result.sources = append(result.sources, s)
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
func (p *planner) open(n int, dir, base string) (*source, error) {
	in := p.chain.inputs[n]
	name := in.path(path.Join(dir, base))
	f, info, err := openRegular(name)
	if err == nil {
		return &source{input: n, path: name, file: f, size: info.Size()}, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	s, err := p.openIncremental(n, dir, base)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("backup at \"%s\" lacks \"%s\", of which the next one has only changes", in.dir, path.Join(dir, base))
	}
	return s, err
}

func (p *planner) openIncremental(n int, dir, base string) (*source, error) {
	name := p.chain.inputs[n].path(path.Join(dir, incrementalPrefix+base))
	f, info, err := openRegular(name)
	if err != nil {
		return nil, err
	}
	h, err := readHeader(f, info.Size(), p.geometry)
	if err != nil {
		_ = f.Close() // only read from
		return nil, describeHeader(name, err)
	}
	return &source{input: n, path: name, file: f, size: info.Size(), header: h}, nil
}

// describeHeader names the file that an error of readHeader is about.
func describeHeader(name string, err error) error {
	var fault headerError
	if errors.As(err, &fault) {
		return fmt.Errorf("file \"%s\" %w", name, fault)
	}
	return fmt.Errorf("could not read file \"%s\": %w", name, err)
}
