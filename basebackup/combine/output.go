package combine

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/pgbraid/pgbraid/internal/durable"
	"github.com/pgbraid/pgbraid/internal/pgdata"
)

// NotEmptyError says that a directory to be filled holds something already.
type NotEmptyError struct {
	Path  string
	Holds string // one of the names in it
}

func (e *NotEmptyError) Error() string {
	return fmt.Sprintf("directory \"%s\" exists but is not empty", e.Path)
}

// Hint is advice for the person who sees the error.
func (e *NotEmptyError) Hint() string { return (&pgdata.NotEmptyError{Holds: e.Holds}).Hint() }

// public makes of an error one that callers of this package can look for.
func public(err error) error {
	var occupied *pgdata.NotEmptyError
	if errors.As(err, &occupied) {
		return &NotEmptyError{occupied.Path, occupied.Holds}
	}
	return err
}

func (r *run) output(name string) string {
	return filepath.Join(r.options.Output, filepath.FromSlash(name))
}

// places are the directories that are to be filled.
func (r *run) places() []pgdata.Directory {
	place := func(what, path string) pgdata.Directory {
		return pgdata.Directory{What: what, Path: path, Mode: r.modes.dir, Private: true, Log: r.log}
	}
	list := []pgdata.Directory{place("output directory", r.options.Output)}
	for _, t := range r.tree.tablespaces {
		list = append(list, place("tablespace directory", t.path))
	}
	return list
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
	places := r.places()
	for _, place := range places {
		for _, in := range inputs {
			switch inside, err := pgdata.Within(place.Path, in); {
			case err != nil:
				return fmt.Errorf("could not access directory \"%s\": %w", place.Path, err)
			case inside:
				return fmt.Errorf("directory \"%s\" lies in an input, \"%s\"", place.Path, in)
			}
		}
		if err := place.Check(); err != nil {
			return public(err)
		}
	}
	if err := pgdata.CheckApart(places...); err != nil {
		return err
	}
	return r.checkSpace()
}

// makeOutputs makes the directories that are to be filled, or takes empty
// ones.
func (r *run) makeOutputs() error {
	for _, place := range r.places() {
		c, err := place.Claim()
		if err != nil {
			return public(err)
		}
		r.claims = append(r.claims, c)
		if r.options.NoSync || r.options.SyncMethod != Syncfs {
			continue
		}
		f, err := durable.OpenFileSystem(c.Path)
		if err != nil {
			return err
		}
		r.fileSystems = append(r.fileSystems, f)
	}
	return nil
}

// releaseOutputs lets go of the directories as they are.
func (r *run) releaseOutputs() {
	for _, c := range r.claims {
		c.Release()
	}
}

// removeOutputs takes away what was made. What makes the result look complete
// goes first.
func (r *run) removeOutputs() (err error) {
	if len(r.claims) > 0 {
		err = r.claims[0].Remove(manifestFile, controlFile)
	}
	for i := len(r.claims) - 1; i >= 0; i-- {
		c := r.claims[i]
		r.log.Info("removing what was made", "directory", c.Path, "existed", c.Existed)
		var foreign *pgdata.ForeignError
		if e := c.Undo(); errors.As(e, &foreign) {
			r.log.Warn(e.Error())
		} else {
			err = errors.Join(err, e)
		}
	}
	return err
}
