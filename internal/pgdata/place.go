package pgdata

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// CheckApart makes sure that none of the directories lies in another one, or is
// the same, by whatever names. They need not be there.
//
// Errors: *OverlapError, and what the system says.
func CheckApart(dirs ...Directory) error {
	places := make([]*place, len(dirs))
	for i, d := range dirs {
		p, err := find(d.Path)
		if err != nil {
			return fmt.Errorf("%s: %w", d.What, err)
		}
		places[i] = p
	}
	for i, p := range places {
		for j, q := range places[:i] {
			in, around := p.in(q), q.in(p)
			switch {
			case in:
				return &OverlapError{dirs[i], dirs[j], around}
			case around:
				return &OverlapError{dirs[j], dirs[i], false}
			}
		}
	}
	return nil
}

// Within tells whether path is dir or lies in it, by whatever names.
func Within(path, dir string) (bool, error) {
	p, err := find(path)
	if err != nil {
		return false, err
	}
	d, err := find(dir)
	if err != nil {
		return false, err
	}
	return p.in(d), nil
}

// place is where a path leads to.
type place struct {
	// there are the directories of the path that exist, without links, from
	// the root on.
	there []fs.FileInfo
	// rest are the names behind these.
	rest []string
}

// maxLinks is how many links that lead nowhere are followed.
const maxLinks = 40

// find resolves a path, of which not everything need be there.
func find(path string) (*place, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	p := &place{}
	real, err := filepath.EvalSymlinks(path)
	for links := 0; errors.Is(err, fs.ErrNotExist) && path != filepath.Dir(path); {
		if to, e := os.Readlink(path); e == nil && links < maxLinks {
			// It leads to what is not there yet.
			links++
			if !filepath.IsAbs(to) {
				to = filepath.Join(filepath.Dir(path), to)
			}
			path = filepath.Clean(to)
		} else {
			p.rest = append([]string{filepath.Base(path)}, p.rest...)
			path = filepath.Dir(path)
		}
		real, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return nil, err
	}
	for dir := real; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return nil, err
		}
		p.there = append([]fs.FileInfo{info}, p.there...)
		if dir == filepath.Dir(dir) {
			return p, nil
		}
	}
}

// in tells whether a place is another one or lies in it. Directories are told
// apart by device and inode: one may be mounted in two places.
func (p *place) in(other *place) bool {
	last := other.there[len(other.there)-1]
	if len(other.rest) > 0 {
		return os.SameFile(p.there[len(p.there)-1], last) &&
			strings.HasPrefix(strings.Join(p.rest, "/")+"/", strings.Join(other.rest, "/")+"/")
	}
	for _, dir := range p.there {
		if os.SameFile(dir, last) {
			return true
		}
	}
	return false
}
