package durable

import (
	"cmp"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Names are the names that this process made below a directory, through this
// package, since Record. They are what can be taken back there without touching
// what others made.
type Names struct {
	below string

	mu sync.Mutex
	// in are the names in each directory, by its path below the recorded one;
	// "." is that one. A name costs little more than its own bytes: a cluster
	// may have millions of files.
	in map[string][]string
}

var (
	recordsMu sync.Mutex
	records   atomic.Pointer[[]*Names] // nil: nobody records
)

// Record notes each name that is made below a directory from now on, until
// Stop. The directory itself is not noted.
func Record(dir string) *Names {
	n := &Names{below: filepath.Clean(dir), in: map[string][]string{}}
	changeRecords(func(list []*Names) []*Names { return append(list, n) })
	return n
}

// Stop ends the recording.
func (n *Names) Stop() {
	changeRecords(func(list []*Names) []*Names {
		return slices.DeleteFunc(list, func(o *Names) bool { return o == n })
	})
}

func changeRecords(change func([]*Names) []*Names) {
	recordsMu.Lock()
	defer recordsMu.Unlock()
	var list []*Names
	if p := records.Load(); p != nil {
		list = slices.Clone(*p)
	}
	if list = change(list); len(list) == 0 {
		records.Store(nil)
		return
	}
	records.Store(&list)
}

// Inside yields the names by their paths below the directory, in an order in
// which they can be removed: what lies in a directory before that itself.
// Nothing may be made meanwhile.
func (n *Names) Inside(yield func(name string) bool) {
	n.mu.Lock()
	dirs := make([]string, 0, len(n.in))
	for dir := range n.in {
		dirs = append(dirs, dir)
	}
	n.mu.Unlock()
	// A path is longer than that of the directory that it lies in.
	slices.SortFunc(dirs, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), strings.Compare(a, b)) })
	for _, dir := range slices.DeleteFunc(dirs, func(dir string) bool { return dir == "." }) {
		if !n.yieldIn(dir, yield) {
			return
		}
	}
	n.yieldIn(".", yield)
}

func (n *Names) yieldIn(dir string, yield func(name string) bool) bool {
	n.mu.Lock()
	names := slices.Clone(n.in[dir])
	n.mu.Unlock()
	for _, base := range names {
		if !yield(filepath.Join(dir, base)) {
			return false
		}
	}
	return true
}

// inside is a path as one below the recorded directory.
func (n *Names) inside(path string) (dir, base string, ok bool) {
	rest, ok := cutBelow(filepath.Clean(path), n.below)
	if !ok {
		return "", "", false
	}
	return filepath.Dir(rest), filepath.Base(rest), true
}

// cutBelow is a clean path below a directory, relative to that.
func cutBelow(path, dir string) (string, bool) {
	if dir == string(filepath.Separator) {
		return path[1:], len(path) > 1
	}
	rest, ok := strings.CutPrefix(path, dir)
	if !ok || len(rest) < 2 || rest[0] != filepath.Separator {
		return "", false
	}
	return rest[1:], true
}

func (n *Names) add(path string) {
	dir, base, ok := n.inside(path)
	if !ok {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	// Not a part of the path, which would be kept with it.
	n.in[dir] = append(n.in[dir], strings.Clone(base))
}

// remove forgets a name, and those below it. It is looked for from the end:
// what is removed again was made a moment ago.
func (n *Names) remove(path string) (was bool) {
	dir, base, ok := n.inside(path)
	if !ok {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	names := n.in[dir]
	for i := len(names) - 1; i >= 0; i-- {
		if names[i] == base {
			n.in[dir] = slices.Delete(names, i, i+1)
			was = true
			break
		}
	}
	name := filepath.Join(dir, base)
	if _, isDir := n.in[name]; isDir {
		for below := range n.in {
			if _, inside := cutBelow(below, name); inside || below == name {
				delete(n.in, below)
			}
		}
	}
	return was
}

func recorders() []*Names {
	if p := records.Load(); p != nil {
		return *p
	}
	return nil
}

// made notes a name that did not exist before.
func made(path string) {
	for _, n := range recorders() {
		n.add(path)
	}
}

// removed notes that a name is gone.
func removed(path string) {
	for _, n := range recorders() {
		n.remove(path)
	}
}

// renamed notes that a file has another name. That the new name replaced one
// makes it ours all the same: what it stood for is gone. A directory is not
// renamed by anyone.
func renamed(from, to string) {
	for _, n := range recorders() {
		n.remove(from)
		n.remove(to)
		n.add(to)
	}
}
