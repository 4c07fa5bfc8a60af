// Package powerloss tells what a disk may hold after the power went: it records
// all that is done to files and names below a directory, and plays it back up
// to any point.
//
// The model is POSIX's, which promises less than any file system keeps: of what
// was written and not fsynced since, any part may be there or not; and a name
// is only there for certain when its directory was fsynced. A rename happens as
// a whole or not at all.
package powerloss

import (
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pgbraid/pgbraid/internal/durable"
)

// SkipWhereSlow leaves a test to the run without the race detector, which makes
// playing back many times slower. make test does both.
func SkipWhereSlow(t testing.TB) {
	if raceDetector {
		t.Skip("with the race detector this takes minutes: make test runs it without")
	}
}

// Log is what was done, in order.
type Log struct {
	dir string

	mu      sync.Mutex
	changes []durable.Change
	disk    *state         // as far as it was last played back
	synced  map[int][]byte // what an fsync made durable, by its number: the same bytes each time
}

// Record begins a log of what is done below a directory that is empty, or not
// there. It ends with the test.
func Record(t testing.TB, dir string) *Log {
	l := &Log{dir: dir, synced: map[int][]byte{}}
	stop := durable.Watch(dir, func(c durable.Change) (int, error) {
		c.Data = slices.Clone(c.Data)
		c.Path = filepath.Clean(c.Path)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.changes = append(l.changes, c)
		return len(c.Data), nil
	})
	t.Cleanup(stop)
	return l
}

// Len is the number of changes so far.
func (l *Log) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.changes)
}

// First is the number of changes before the first one that gives a name to
// something, -1 if none does.
func (l *Log) First(is func(name string) bool) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.IndexFunc(l.changes, func(c durable.Change) bool {
		switch c.Op {
		case durable.OpRename, durable.OpLink:
			return is(filepath.Base(c.To))
		case durable.OpOpen:
			return c.Flag&os.O_CREATE != 0 && is(filepath.Base(c.Path))
		}
		return false
	})
}

// Tree is what is on a disk: contents by path below the directory, with a slash
// behind those of directories, which have none. They must not be changed: trees
// share them.
type Tree map[string][]byte

// Survivor tells whether a change that was not made durable is there after all.
type Survivor func() bool

// None has nothing survive that need not.
func None() bool { return false }

// All has everything survive.
func All() bool { return true }

// Some has any part survive.
func Some(r *rand.Rand) Survivor { return func() bool { return r.IntN(2) == 0 } }

// Crash is what the disk may hold when the power goes after the first n
// changes. It is quick when n does not fall from one call to the next.
func (l *Log) Crash(n int, survives Survivor) Tree {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.disk == nil || n < l.disk.at {
		l.disk = &state{dir: l.dir, root: newDirectory(), files: map[*durable.File]*inode{}, synced: l.synced}
	}
	for ; l.disk.at < n; l.disk.at++ {
		l.disk.apply(l.changes[l.disk.at])
	}
	tree := Tree{}
	l.disk.root.list("", tree, survives)
	return tree
}

// Write puts a tree below a directory, which is made.
func (t Tree) Write(dir string) error {
	for _, name := range slices.Sorted(maps.Keys(t)) {
		path := filepath.Join(dir, name)
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(path, 0o700); err != nil {
				return err
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, t[name], 0o600); err != nil {
			return err
		}
	}
	return nil
}

// inode is a file or a directory.
type inode struct {
	names map[string]*inode // of a directory: those that are durable
	moves []move            // of names, since

	content []byte  // of a file: what is durable
	writes  []write // since
}

// move is a change of names: to gets what, from has nothing any more.
type move struct {
	from, to string // "": none
	what     *inode
}

// write is a change of content.
type write struct {
	offset int64
	data   []byte
	resize bool // to offset
}

func newDirectory() *inode { return &inode{names: map[string]*inode{}} }

// state is that of a disk while a log is played back.
type state struct {
	dir    string
	root   *inode
	files  map[*durable.File]*inode
	at     int // changes so far
	synced map[int][]byte
}

// find gives the directory of a path, as a program sees it, and the last part.
func (s *state) find(path string) (*inode, string) {
	rel, err := filepath.Rel(s.dir, path)
	if err != nil || rel == "." {
		return nil, ""
	}
	d := s.root
	parts := strings.Split(rel, string(filepath.Separator))
	for _, part := range parts[:len(parts)-1] {
		next := d.now()[part]
		if next == nil { // made in another way: as durable as can be
			next = newDirectory()
			d.names[part] = next
		}
		if next.names == nil {
			return nil, "" // behind a link
		}
		d = next
	}
	return d, parts[len(parts)-1]
}

func (s *state) apply(c durable.Change) {
	switch c.Op {
	case durable.OpWrite:
		f := s.files[c.File]
		f.writes = append(f.writes, write{offset: c.Offset, data: c.Data})
		return
	case durable.OpResize:
		f := s.files[c.File]
		f.writes = append(f.writes, write{offset: c.Offset, resize: true})
		return
	case durable.OpSync:
		f := s.files[c.File]
		if _, ok := s.synced[s.at]; !ok {
			s.synced[s.at] = f.read(All)
		}
		f.content, f.writes = s.synced[s.at], nil
		return
	case durable.OpSyncFS:
		s.root.sync()
		for _, f := range s.files {
			f.sync()
		}
		return
	case durable.OpLink:
		to, base := s.find(c.To)
		to.moves = append(to.moves, move{to: base, what: s.files[c.File]})
		return
	case durable.OpClose:
		return
	}
	d, name := s.find(c.Path)
	if d == nil {
		if c.Op == durable.OpSyncDir {
			s.root.settle()
		}
		if c.Op == durable.OpOpen {
			s.files[c.File] = &inode{} // without a name
		}
		return
	}
	there := d.now()[name]
	switch c.Op {
	case durable.OpOpen:
		switch {
		case c.Unnamed():
			there = &inode{}
		case there == nil && c.Flag&os.O_CREATE != 0:
			there = &inode{}
			d.moves = append(d.moves, move{to: name, what: there})
		case there == nil:
			there = &inode{} // it fails
		case c.Flag&os.O_TRUNC != 0:
			there.writes = append(there.writes, write{resize: true})
		}
		s.files[c.File] = there
	case durable.OpMkdir:
		if there == nil {
			d.moves = append(d.moves, move{to: name, what: newDirectory()})
		}
	case durable.OpSymlink:
		d.moves = append(d.moves, move{to: name, what: &inode{content: []byte("-> " + c.To)}})
	case durable.OpRename:
		// Within one directory, as all of ours are.
		if there != nil {
			d.moves = append(d.moves, move{from: name, to: filepath.Base(c.To), what: there})
		}
	case durable.OpRemove:
		if there != nil {
			d.moves = append(d.moves, move{from: name})
		}
	case durable.OpSyncDir:
		if there != nil {
			there.settle()
		}
	}
}

// now are a directory's names as programs see them.
func (d *inode) now() map[string]*inode { return d.after(All) }

// after are its names when some of the changes are not there.
func (d *inode) after(survives Survivor) map[string]*inode {
	names := d.names
	if len(d.moves) > 0 {
		names = maps.Clone(names)
	}
	for _, m := range d.moves {
		if !survives() {
			continue
		}
		if m.from != "" {
			delete(names, m.from)
		}
		if m.to != "" {
			names[m.to] = m.what
		}
	}
	return names
}

// settle makes a directory's names durable.
func (d *inode) settle() {
	if d.names != nil {
		d.names, d.moves = d.now(), nil
	}
}

// sync makes all durable that is in a directory, or a file.
func (d *inode) sync() {
	d.settle()
	if d.names == nil {
		d.content, d.writes = d.read(All), nil
	}
	for _, n := range d.names {
		n.sync()
	}
}

// read is a file's content when some of the changes are not there.
func (d *inode) read(survives Survivor) []byte {
	content := d.content
	if len(d.writes) > 0 {
		// Room for all of it at once.
		length := len(content)
		for _, w := range d.writes {
			length = max(length, int(w.offset)+len(w.data))
		}
		content = append(make([]byte, 0, length), content...)
	}
	for _, w := range d.writes {
		if !survives() {
			continue
		}
		end := w.offset + int64(len(w.data))
		if w.resize && end < int64(len(content)) {
			content = content[:end]
		}
		if end > int64(len(content)) {
			content = append(content, make([]byte, end-int64(len(content)))...)
		}
		copy(content[w.offset:end], w.data)
	}
	return content
}

func (d *inode) list(prefix string, tree Tree, survives Survivor) {
	for name, n := range d.after(survives) {
		if n.names != nil {
			tree[prefix+name+"/"] = nil
			n.list(prefix+name+"/", tree, survives)
			continue
		}
		tree[prefix+name] = n.read(survives)
	}
}
