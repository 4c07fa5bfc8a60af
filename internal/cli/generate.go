package cli

import (
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/alecthomas/kong"
	"github.com/pgbraid/pgbraid/internal/clidoc"
)

// generateCommand is pgbraid generate, for make install: what it writes is
// made of the commands above, and never differs from them.
type generateCommand struct {
	Man        generateMan        `cmd:"" help:"Write the manual pages into a directory."`
	Completion generateCompletion `cmd:"" help:"Write a shell's completion script to standard output."`
}

type generateMan struct {
	Directory string `arg:"" help:"Existing directory to write pgbraid.1 and the others into."`
}

// Run is called by kong.
func (c *generateMan) Run(k *kong.Context) error {
	for _, page := range manual(k.Model).Pages() {
		//#nosec G306 -- manual pages are for everybody
		if err := os.WriteFile(filepath.Join(c.Directory, page.Name), []byte(page.Text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

type generateCompletion struct {
	Shell string `arg:"" help:"bash, zsh or fish."`
}

// Run is called by kong.
func (c *generateCompletion) Run(k *kong.Context, to *streams) error {
	text, err := clidoc.Completion(c.Shell, k.Model)
	if err != nil {
		return &usageError{err: err}
	}
	_, err = io.WriteString(to.out, text)
	return err
}

func manual(app *kong.Application) *clidoc.Manual {
	return &clidoc.Manual{
		App:         app,
		Summary:     "copy PostgreSQL clusters over the replication protocol",
		Version:     Version,
		ExitStatus:  exitStatus,
		Environment: manualEnvironment,
		Notes:       manualNotes,
		SeeAlso:     []string{"pg_basebackup(1)", "pg_receivewal(1)", "pg_verifybackup(1)", "pg_combinebackup(1)"},
	}
}

// exitStatus are the codes that exitCode makes.
var exitStatus = []clidoc.Item{
	{Term: strconv.Itoa(ExitDone), Meaning: "All that was asked for is done."},
	{Term: strconv.Itoa(ExitFailed), Meaning: "It failed; what was made has been removed."},
	{Term: strconv.Itoa(ExitUsage), Meaning: "The command line is wrong; nothing was touched."},
	{Term: strconv.Itoa(ExitWALMissing), Meaning: "The server no longer has WAL that is needed."},
	{Term: "129, 130, 143", Meaning: "Ended by SIGHUP, SIGINT or SIGTERM."},
	{Term: strconv.Itoa(ExitFault), Meaning: "restore-wal only: a fault, which ends the recovery."},
}
