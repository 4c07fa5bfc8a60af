package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/pgbraid/pgbraid/internal/progress"
	"github.com/pgbraid/pgbraid/logstream"
)

// restoreWALCommand is pgbraid restore-wal, for PostgreSQL's restore_command.
type restoreWALCommand struct {
	Directory string `short:"D" required:"" group:"output" placeholder:"DIR" help:"Directory that the log was kept in."`
	Name      string `arg:"" help:"The file that is asked for: %f."`
	Path      string `arg:"" help:"Where to write it: %p."`

	Partial bool `group:"general" help:"Give the last segment of a timeline as far as it was received: in a recovery to the end of DIR, never to a running standby."`
	Verbose bool `short:"v" group:"show" help:"Show which file was taken, or that there is none."`
}

// restoreWALName is the command's name on the command line.
const restoreWALName = "restore-wal"

// Help is shown below the summary by pgbraid restore-wal --help.
func (*restoreWALCommand) Help() string {
	return `Hands a server in recovery the segments and history files that pgbraid receive,
pg_receivewal or an archive_command put into DIR, plain or compressed. In
postgresql.conf of a standby, or for a recovery to a point before the end:

  restore_command = 'pgbraid restore-wal -D DIR "%f" "%p"'

For a recovery to the end of DIR, where the last segment is there in part only:

  restore_command = 'pgbraid restore-wal --partial -D DIR "%f" "%p"'

Exit codes: 0 given, 1 not there, 200 a fault, which ends the recovery: DIR or
the file cannot be read, the file is damaged, or the command line is wrong.`
}

// errNotThere ends a run with ExitFailed and without a word.
var errNotThere = errors.New("not in the archive")

// faultError ends a run with ExitFault.
type faultError struct{ err error }

func (f *faultError) Error() string { return f.err.Error() }
func (f *faultError) Unwrap() error { return f.err }

// Run is called by kong.
func (c *restoreWALCommand) Run(ctx context.Context, to *streams) error {
	from, err := logstream.RestoreWAL(ctx, c.Directory, c.Name, c.Path, logstream.RestoreOptions{Partial: c.Partial})
	var withheld *logstream.PartialError
	if errors.As(err, &withheld) {
		if c.Verbose || recovers() {
			fmt.Fprintf(to.err, "pgbraid: %s: restore-wal --partial gives it to a recovery to the end\n", progress.Sanitize(err.Error()))
		}
		return errNotThere
	}
	if err != nil {
		return &faultError{err}
	}
	if c.Verbose {
		text := c.Name + " is not there"
		if from != "" {
			text = c.Name + " taken from " + from
		}
		fmt.Fprintf(to.err, "pgbraid: %s\n", progress.Sanitize(text))
	}
	if from == "" {
		return errNotThere
	}
	return nil
}

// recovers tells whether a server that is no standby asks: a recovery that would
// end without a word before the last of the log. A restore_command runs in the
// data directory (PostgreSQL manual, "Archive Recovery").
func recovers() bool {
	_, standby := os.Stat("standby.signal")
	_, recovery := os.Stat("recovery.signal")
	return errors.Is(standby, fs.ErrNotExist) && recovery == nil
}
