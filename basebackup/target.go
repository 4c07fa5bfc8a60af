package basebackup

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pgbraid/pgbraid/internal/durable"
)

// target is a directory that this run fills: the data directory, the WAL
// directory or a tablespace. It must not exist or be empty before.
type target struct {
	path    string
	existed bool
	mode    fs.FileMode // of an existing directory, before
	made    []string    // the directories that were made for it, its parents first
}

// NotEmptyError says that a directory to be filled holds something already.
type NotEmptyError struct {
	What string // such as "data directory"
	Path string
}

func (e *NotEmptyError) Error() string {
	return fmt.Sprintf("%s %q exists but is not empty", e.What, e.Path)
}

// Hint is advice for the person who sees the error.
func (e *NotEmptyError) Hint() string {
	return "Remove or empty it, or give another one. Nothing in it was touched."
}

// checkTarget tells whether the directory may be filled, without changing
// anything.
func checkTarget(what, path string) error {
	d, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	defer func() { _ = d.Close() }() // only read from
	switch _, err := d.Readdirnames(1); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return fmt.Errorf("%s: %w", what, err)
	}
	return &NotEmptyError{what, path}
}

// makeTarget makes the directory, with its parents, or takes an empty one.
func makeTarget(what, path string, mode fs.FileMode) (*target, error) {
	t := &target{path: path}
	info, err := os.Stat(path)
	if err == nil {
		if err := checkTarget(what, path); err != nil {
			return nil, err
		}
		t.existed, t.mode = true, info.Mode().Perm()
		return t, os.Chmod(path, mode)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	var missing []string
	for dir := path; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			break
		}
		missing = append(missing, dir)
	}
	for i := len(missing) - 1; i >= 0; i-- {
		if err := durable.Mkdir(missing[i], mode); err != nil {
			t.remove()
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		t.made = append(t.made, missing[i])
	}
	// The mask of this process must not take away what the server needs.
	return t, os.Chmod(path, mode)
}

// remove takes away what was put into the directory, and the directory itself
// and its parents where this run made them.
func (t *target) remove() error {
	if !t.existed {
		err := durable.RemoveAll(t.path)
		for i := len(t.made) - 1; i >= 0; i-- {
			if e := durable.Remove(t.made[i]); e != nil && !errors.Is(e, fs.ErrNotExist) {
				break // somebody else put something there
			}
		}
		return err
	}
	entries, err := os.ReadDir(t.path)
	for _, e := range entries {
		err = errors.Join(err, durable.RemoveAll(filepath.Join(t.path, e.Name())))
	}
	return errors.Join(err, os.Chmod(t.path, t.mode))
}
