package durable

import (
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Op is a kind of Change.
type Op string

// What is done to files and names.
const (
	OpOpen    Op = "open"
	OpWrite   Op = "write"
	OpResize  Op = "resize"
	OpSync    Op = "sync"
	OpClose   Op = "close"
	OpMkdir   Op = "mkdir"
	OpSymlink Op = "symlink"
	OpLink    Op = "link" // of a file that had no name
	OpRename  Op = "rename"
	OpRemove  Op = "remove" // with all that is below it
	OpSyncDir Op = "fsync of a directory"
	OpSyncFS  Op = "sync of a file system"
)

// Change is one thing that is about to be done to files or to names.
type Change struct {
	Op Op
	// File is nil for changes of names.
	File *File
	Path string
	// To is the new name of OpRename and OpLink, and what an OpSymlink leads to.
	To string
	// Flag is that of OpOpen.
	Flag int
	// Offset is where an OpWrite goes, and the length after an OpResize, in bytes.
	Offset int64
	// Data is what is written. It must not be kept.
	Data []byte
}

// Unnamed tells whether an OpOpen is that of a file without a name, which Path
// is the directory of.
func (c Change) Unnamed() bool {
	return unnamedFlag != 0 && c.Flag&unnamedFlag == unnamedFlag
}

// A Watcher is called before each change. With an error the change is not made
// and the error given to whoever wanted it; of an OpWrite the first n bytes are
// made all the same. Several goroutines call it at once.
type Watcher func(c Change) (n int, err error)

type watch struct {
	below   string
	watcher Watcher
}

var (
	watchesMu sync.Mutex
	watches   atomic.Pointer[[]*watch] // nil: nobody watches
)

// Watch has w called before each change below a directory, until stop is
// called. It is there for tests: it shows in what order things become durable,
// and it is the disk that fails.
func Watch(dir string, w Watcher) (stop func()) {
	mine := &watch{filepath.Clean(dir), w}
	watchesMu.Lock()
	defer watchesMu.Unlock()
	list := []*watch{mine}
	if p := watches.Load(); p != nil {
		list = append(list, *p...)
	}
	watches.Store(&list)
	return func() {
		watchesMu.Lock()
		defer watchesMu.Unlock()
		list := slices.DeleteFunc(slices.Clone(*watches.Load()), func(w *watch) bool { return w == mine })
		if len(list) == 0 {
			watches.Store(nil)
			return
		}
		watches.Store(&list)
	}
}

func watched() bool { return watches.Load() != nil }

// ask asks those who watch the place of a change.
func ask(c Change) (n int, err error) {
	list := watches.Load()
	if list == nil {
		return len(c.Data), nil
	}
	path := filepath.Clean(c.Path)
	for _, w := range *list {
		if path == w.below || strings.HasPrefix(path, w.below+string(filepath.Separator)) {
			if n, err := w.watcher(c); err != nil {
				return n, err
			}
		}
	}
	return len(c.Data), nil
}

// refused is the error of whoever is against a change, nil if nobody is.
func refused(c Change) error {
	_, err := ask(c)
	return err
}

// writeAllowed writes as much as those who watch allow.
func writeAllowed(c Change, write func([]byte) (int, error)) (int, error) {
	allowed, refusal := ask(c)
	n, err := write(c.Data[:allowed])
	if err == nil {
		err = refusal
	}
	return n, err
}
