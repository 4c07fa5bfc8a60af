package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/pgbraid/pgbraid/internal/progress"
	"github.com/pgbraid/pgbraid/logstream"
)

// restoreWALCommand is pgbraid restore-wal, for PostgreSQL's restore_command.
type restoreWALCommand struct {
	Directory string `short:"D" required:"" group:"output" placeholder:"DIR" help:"Directory that the log was kept in."`
	Name      string `arg:"" help:"The file that is asked for: %f."`
	Path      string `arg:"" help:"Where to write it: %p."`

	Verbose bool `short:"v" group:"show" help:"Show which file was taken, or that there is none."`
}

// restoreWALName is the command's name on the command line.
const restoreWALName = "restore-wal"

// Help is shown below the summary by pgbraid restore-wal --help.
func (*restoreWALCommand) Help() string {
	return `Hands a server in recovery the segments and history files that pgbraid receive,
pg_receivewal or an archive_command put into DIR, plain or compressed. The last
segment of a timeline is given as far as it was received. In postgresql.conf:

  restore_command = 'pgbraid restore-wal -D DIR "%f" "%p"'

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
	from, err := logstream.RestoreWAL(ctx, c.Directory, c.Name, c.Path)
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
