package combine

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/pgbraid/pgbraid/internal/durable"
)

// target is a directory that this run fills: the data directory or a
// tablespace.
type target struct {
	path    string
	existed bool
	mode    fs.FileMode // of an existing directory, before
	made    []string    // the directories that were made, parents first
}

// NotEmptyError says that a directory to be filled holds something already.
type NotEmptyError struct{ Path string }

func (e *NotEmptyError) Error() string {
	return fmt.Sprintf("directory \"%s\" exists but is not empty", e.Path)
}

// Hint is advice for the person who sees the error.
func (e *NotEmptyError) Hint() string {
	return "Remove or empty it, or give another one. Nothing in it was touched."
}

func (r *run) output(name string) string {
	return filepath.Join(r.options.Output, filepath.FromSlash(name))
}

// places are the directories that are to be filled.
func (r *run) places() []string {
	paths := []string{r.options.Output}
	for _, t := range r.tree.tablespaces {
		paths = append(paths, t.path)
	}
	return paths
}

// checkOutputs makes sure that the result can be put where it is to go, and
// that no input is written to.
func (r *run) checkOutputs() error {
	var inputs []string
	for _, in := range r.chain.inputs {
		inputs = append(inputs, in.dir)
	}
	for _, t := range r.tree.tablespaces {
		inputs = append(inputs, t.from)
	}
	for n, place := range r.places() {
		real, err := resolve(place)
		if err != nil {
			return fmt.Errorf("could not access directory \"%s\": %w", place, err)
		}
		for _, in := range inputs {
			input, err := filepath.Abs(in)
			if err == nil {
				input, err = resolve(input)
			}
			if err != nil {
				return fmt.Errorf("could not access directory \"%s\": %w", in, err)
			}
			if within(real, input) {
				return fmt.Errorf("directory \"%s\" lies in an input, \"%s\"", place, in)
			}
		}
		if err := checkEmpty(place); err != nil {
			return err
		}
		if n == 0 {
			continue
		}
		if output, err := resolve(r.options.Output); err != nil {
			return err
		} else if within(real, output) {
			return fmt.Errorf("tablespace directory \"%s\" lies in the output directory", place)
		}
	}
	return nil
}

// within tells whether path is dir or lies in it. Both are resolved.
func within(path, dir string) bool {
	rest, err := filepath.Rel(dir, path)
	return err == nil && rest != ".." && !strings.HasPrefix(rest, ".."+string(filepath.Separator))
}

// resolve is an absolute path without links, of which not everything need be
// there.
func resolve(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if !errors.Is(err, fs.ErrNotExist) || path == filepath.Dir(path) {
		return real, err
	}
	parent, err := resolve(filepath.Dir(path))
	return filepath.Join(parent, filepath.Base(path)), err
}

// checkEmpty tells whether a directory may be filled.
func checkEmpty(path string) error {
	d, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }() // only read from
	switch _, err := d.Readdirnames(1); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	}
	return &NotEmptyError{path}
}

// makeOutputs makes the directories that are to be filled, or takes empty
// ones.
func (r *run) makeOutputs() error {
	for _, place := range r.places() {
		t, err := makeTarget(place, r.modes.dir)
		if t != nil {
			r.targets = append(r.targets, t)
		}
		if err != nil {
			return err
		}
		if r.options.NoSync || r.options.SyncMethod != Syncfs {
			continue
		}
		f, err := durable.OpenFileSystem(place)
		if err != nil {
			return err
		}
		r.fileSystems = append(r.fileSystems, f)
	}
	return nil
}

// makeTarget makes a directory and its parents. What it made is returned with
// an error too.
func makeTarget(path string, mode fs.FileMode) (*target, error) {
	if err := checkEmpty(path); err != nil {
		return nil, err
	}
	t := &target{path: path}
	if info, err := os.Stat(path); err == nil {
		t.existed, t.mode = true, info.Mode().Perm()
		return t, os.Chmod(path, mode)
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
			return t, err
		}
		t.made = append(t.made, missing[i])
	}
	// The mask of this process must not take away what the server needs.
	return t, os.Chmod(path, mode)
}

// removeOutputs takes away what was made. What makes the result look whole
// goes first.
func (r *run) removeOutputs() (err error) {
	if len(r.targets) > 0 {
		for _, name := range []string{manifestFile, controlFile} {
			if e := durable.Remove(r.output(name)); !errors.Is(e, fs.ErrNotExist) {
				err = errors.Join(err, e)
			}
		}
	}
	for i := len(r.targets) - 1; i >= 0; i-- {
		t := r.targets[i]
		r.log.Info("removing what was made", "directory", t.path, "existed", t.existed)
		err = errors.Join(err, t.remove())
	}
	return err
}

func (t *target) remove() error {
	if !t.existed {
		if len(t.made) == 0 || t.made[len(t.made)-1] != t.path {
			return t.removeParents(nil)
		}
		return t.removeParents(durable.RemoveAll(t.path))
	}
	entries, err := os.ReadDir(t.path)
	for _, e := range entries {
		err = errors.Join(err, durable.RemoveAll(filepath.Join(t.path, e.Name())))
	}
	return errors.Join(err, os.Chmod(t.path, t.mode))
}

func (t *target) removeParents(err error) error {
	for i := len(t.made) - 1; i >= 0; i-- {
		if e := durable.Remove(t.made[i]); e != nil && !errors.Is(e, fs.ErrNotExist) {
			break // somebody else put something there
		}
	}
	return err
}
