package pgdata

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"github.com/pgbraid/pgbraid/internal/durable"
)

// Release lets go of the directory as it is. Afterwards others may claim it.
func (c *Claim) Release() {
	if c.names != nil {
		c.names.Stop()
	}
	if c.root != nil {
		_ = c.root.Close() // nothing was written through these
	}
	if c.dir != nil {
		_ = c.dir.Close()
	}
}

// Remove removes those of the names that were made since Claim. It is for the
// names that make what is there look complete, which have to go before all
// others, and before what is in other directories.
func (c *Claim) Remove(names ...string) (err error) {
	mine := map[string]bool{}
	for name := range c.names.Inside {
		if slices.Contains(names, name) {
			mine[name] = true
		}
	}
	for _, name := range names {
		if mine[name] {
			err = errors.Join(err, durable.RemoveIn(c.root, name))
		}
	}
	return err
}

// Undo removes what was made in the directory since Claim, and the directory
// itself and those above it where Claim made them, gives one that was there its
// mode again, and lets go of it. Nobody may write in it any more.
//
// What others put there stays, with the directories that it lies in;
// *ForeignError tells of that.
func (c *Claim) Undo() error {
	defer c.Release()
	c.names.Stop()
	var err error
	foreign := false
	note := func(e error) {
		switch {
		case e == nil || errors.Is(e, fs.ErrNotExist):
		case isOccupied(e):
			foreign = true
		case err == nil:
			// One tells enough: where one cannot be removed, thousands cannot.
			err = e
		}
	}
	for name := range c.names.Inside {
		note(durable.RemoveIn(c.root, name))
	}
	if c.changed {
		note(c.dir.Chmod(c.mode))
	}
	if c.Existed {
		note(c.checkEmpty(c.dir))
	} else {
		note(c.removeMade())
	}
	if foreign && err == nil {
		err = &ForeignError{c.Path}
	}
	return err
}

// ForeignError says that a directory holds what somebody else put there.
type ForeignError struct{ Path string }

func (e *ForeignError) Error() string {
	return fmt.Sprintf("%q holds what this run did not make, which was left there", e.Path)
}

// giveUp takes back what a failed take did.
func (c *Claim) giveUp() {
	if c.dir != nil && c.root != nil {
		if c.changed {
			_ = c.dir.Chmod(c.mode) // there is an error to tell of already
		}
		_ = c.removeMade()
	} else {
		c.removeParents()
	}
	c.Release()
}

// removeMade removes the directory, if Claim made it and it is empty, and those
// above it.
func (c *Claim) removeMade() error {
	if c.Existed {
		return nil
	}
	// By this name there may be another one by now.
	if info, err := os.Lstat(c.Path); err != nil || !c.is(info) {
		return err
	}
	if err := durable.Remove(c.Path); err != nil {
		return err
	}
	c.removeParents()
	return nil
}

// removeParents removes directories above that were made, up to one that
// somebody else put something into.
func (c *Claim) removeParents() {
	for i := len(c.Made) - 1; i >= 0; i-- {
		if c.Made[i] == c.Path {
			continue
		}
		if err := durable.Remove(c.Made[i]); err != nil {
			return
		}
	}
}

// isOccupied tells whether a directory could not be removed, or is not empty, for
// what it holds.
func isOccupied(err error) bool {
	var occupied *NotEmptyError
	return errors.As(err, &occupied) || errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, fs.ErrExist)
}
