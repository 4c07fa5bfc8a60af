package cli

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/pgbraid/pgbraid/basebackup"
	"github.com/pgbraid/pgbraid/internal/progress"
)

// cloneCommand is pgbraid clone. Its options have the names and the meaning
// that they have in pg_basebackup (PostgreSQL manual, "pg_basebackup").
type cloneCommand struct {
	PGData            string   `short:"D" name:"pgdata" required:"" group:"output" placeholder:"DIR" help:"Directory to make the standby in; must be empty or not exist."`
	WALDir            string   `name:"waldir" group:"output" placeholder:"DIR" help:"Put the write-ahead log there (absolute path); pg_wal becomes a link to it."`
	TablespaceMapping []string `short:"T" group:"output" sep:"none" placeholder:"OLD=NEW" help:"Put the tablespace at OLD into NEW; a \"=\" in a path is written \"\\=\". Repeatable."`

	copyOptions
	connectionOptions
}

// Help is shown below the summary by pgbraid clone --help.
func (*cloneCommand) Help() string {
	return `Copies the server's data directory and tablespaces into DIR, and beside that the
write-ahead log, following timeline switches. DIR then starts as a standby of
that server. What a failed clone made is removed again.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 WAL missing on the server,
130/143/129 ended by SIGINT/SIGTERM/SIGHUP.`
}

// Run is called by kong.
func (c *cloneCommand) Run(ctx context.Context, to *streams) error {
	options := &basebackup.Options{Directory: c.PGData, Standby: true, WALDirectory: c.WALDir}
	if err := mapTablespaces(options, c.TablespaceMapping); err != nil {
		return &usageError{err: err}
	}
	result, err := c.run(ctx, to, options, &c.connectionOptions)
	if err != nil {
		return err
	}
	if !c.Quiet {
		c.summary(to.err, result)
	}
	if c.JSON {
		return writeResult(to.out, result)
	}
	return nil
}

// summary tells what was made, and how to start it.
func (c *cloneCommand) summary(w io.Writer, r *basebackup.Result) {
	seconds := r.Duration.Seconds()
	rate := int64(float64(r.Bytes) / max(seconds, 0.001))
	fmt.Fprintf(w, "pgbraid: cloned %s and %s of WAL in %s (%s/s): PostgreSQL %d, consistent at %s\n",
		progress.Bytes(r.Bytes), progress.Bytes(r.WALBytes), duration(r.Duration),
		progress.Bytes(rate), r.ServerVersion/10000, r.End)
	fmt.Fprintf(w, "pgbraid: %s is a standby now; start it with:  pg_ctl -D %s start\n",
		r.Directory, shellQuote(r.Directory))
	if os.Geteuid() == 0 {
		giveAway(w, r.Directories())
	}
}
