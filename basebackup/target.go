package basebackup

import (
	"errors"
	"fmt"

	"github.com/pgbraid/pgbraid/internal/pgdata"
)

// NotEmptyError says that a directory to be filled holds something already.
type NotEmptyError struct {
	What  string // such as "data directory"
	Path  string
	Holds string // one of the names in it
}

func (e *NotEmptyError) Error() string { return (*pgdata.NotEmptyError)(e).Error() }

// Hint is advice for the person who sees the error.
func (e *NotEmptyError) Hint() string { return (*pgdata.NotEmptyError)(e).Hint() }

// InUseError says that another run fills a directory at this moment.
type InUseError struct{ What, Path string }

func (e *InUseError) Error() string { return (*pgdata.InUseError)(e).Error() }

// Hint is advice for the person who sees the error.
func (e *InUseError) Hint() string { return (*pgdata.InUseError)(e).Hint() }

// public makes of an error one that callers of this package can look for.
func public(err error) error {
	var occupied *pgdata.NotEmptyError
	var used *pgdata.InUseError
	switch {
	case errors.As(err, &occupied):
		return (*NotEmptyError)(occupied)
	case errors.As(err, &used):
		return (*InUseError)(used)
	}
	return err
}

// What the directories are, for messages.
const (
	dataDirectory = "data directory"
	walDirectory  = "WAL directory"
)

func tablespaceDirectory(oid uint32) string { return fmt.Sprintf("directory of tablespace %d", oid) }

// serverDirectory is a directory that a server is going to use.
func (b *backup) serverDirectory(what, path string) pgdata.Directory {
	return pgdata.Directory{What: what, Path: path, Mode: b.server.DirMode, Private: true, Log: b.log}
}

// claim makes a directory this run's to fill, and notes it for undo.
func (b *backup) claim(d pgdata.Directory) error {
	c, err := d.Claim()
	if err != nil {
		return public(err)
	}
	b.claims = append(b.claims, c)
	return b.watchFileSystem(c.Path)
}

// release lets go of the directories as they are.
func (b *backup) release() {
	for _, c := range b.claims {
		c.Release()
	}
}

// removeFiles takes back what was made in the directories.
func (b *backup) removeFiles() {
	if b.options.NoClean {
		for i := len(b.claims) - 1; i >= 0; i-- {
			b.log.Warn("not removed at user's request", "directory", b.claims[i].Path)
		}
		return
	}
	// What makes it look complete goes first. The directory that it is in, the
	// first one, may be above others and goes last.
	if len(b.claims) > 0 {
		if err := b.claims[0].Remove(manifestName, controlFile); err != nil {
			b.log.Error("could not be removed", "directory", b.claims[0].Path, "error", err)
		}
	}
	for i := len(b.claims) - 1; i >= 0; i-- {
		c := b.claims[i]
		b.log.Debug("removing what was made", "directory", c.Path, "existed", c.Existed)
		var foreign *pgdata.ForeignError
		switch err := c.Undo(); {
		case errors.As(err, &foreign):
			b.log.Warn(err.Error())
		case err != nil:
			b.log.Error("could not be removed", "directory", c.Path, "error", err)
		}
	}
}
