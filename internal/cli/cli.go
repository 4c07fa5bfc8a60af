// Package cli is pgbraid's command line: it parses, runs, shows what happens,
// and turns errors into messages, hints and exit codes.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"syscall"

	"github.com/alecthomas/kong"
	"github.com/pgbraid/pgbraid/internal/pgdata"
)

const description = `pgbraid copies PostgreSQL clusters over the replication protocol, with the write-ahead log streamed beside the copy.`

// commands are what pgbraid can do. The help option has no short form: -h is
// the host, as in PostgreSQL's own tools.
type commands struct {
	Help    helpOption    `help:"Show this help."`
	Version versionOption `short:"V" help:"Show the version."`

	Clone   cloneCommand   `cmd:"" help:"Make a directory a running cluster's standby."`
	Backup  backupCommand  `cmd:"" help:"Take a backup: files, archives, or a tar stream."`
	Receive receiveCommand `cmd:"" help:"Keep a server's write-ahead log, without end."`
	Combine combineCommand `cmd:"" help:"Make a full backup of one and the incremental ones on top of it."`
	Verify  verifyCommand  `cmd:"" help:"Tell whether a backup is whole, with the log that it needs."`

	RestoreWAL restoreWALCommand `cmd:"" name:"restore-wal" help:"Hand a server in recovery its write-ahead log: a restore_command."`
	Status     statusCommand     `cmd:"" name:"status" help:"Show how far a directory's log goes, and whether it is whole."`

	Generate generateCommand `cmd:"" hidden:"" help:"Make the manual pages and the completions."`
}

// Main runs the command line args (without the program's name) and returns the
// exit code.
func Main(args []string) int {
	MaskModes()
	ctx, stop := WatchSignals(context.Background())
	defer stop()
	err := run(ctx, args, os.Stdout, os.Stderr)
	if err == nil || errors.Is(err, errShown) {
		return ExitDone
	}
	if !errors.Is(err, errNotThere) {
		report(os.Stderr, err)
	}
	return exitCode(err)
}

// MaskModes keeps others from all that is made. Files get the modes that the
// cluster's data directory asks for, which may be readable for the group.
// Only directories above those that are filled are made as the user's own mask
// has it.
func MaskModes() { pgdata.KeepMask(syscall.Umask(0o027)) }

// streams are where a command writes to.
type streams struct{ out, err io.Writer }

func run(ctx context.Context, args []string, out, errOut io.Writer) error {
	parser, err := kong.New(&commands{},
		kong.Name("pgbraid"),
		kong.Description(description),
		kong.NoDefaultHelp(),
		kong.Writers(out, errOut),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
		kong.ExplicitGroups(helpGroups),
	)
	if err != nil {
		return err
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	chosen, err := parser.Parse(args)
	switch {
	case errors.Is(err, errShown):
		return err
	case err != nil && args[0] == restoreWALName:
		// To the server the usual code would say that its log ends here.
		err = &faultError{&usageError{err: err}}
	case err != nil:
		err = &usageError{err: err}
	default:
		chosen.BindTo(ctx, (*context.Context)(nil))
		err = chosen.Run(&streams{out, errOut})
	}
	var usage *usageError
	if errors.As(err, &usage) && slices.ContainsFunc(parser.Model.Children, func(n *kong.Node) bool { return n.Name == args[0] }) {
		usage.command = " " + args[0]
	}
	return err
}

// errShown ends a run that was only to show something.
var errShown = errors.New("shown")

type helpOption bool

// BeforeReset shows the help before anything else is looked at.
func (helpOption) BeforeReset(c *kong.Context) error {
	// Whoever reads only its beginning has seen enough.
	if err := c.PrintUsage(false); err != nil && !errors.Is(err, syscall.EPIPE) {
		return err
	}
	return errShown
}

type versionOption bool

// BeforeReset shows the version before anything else is looked at.
func (versionOption) BeforeReset(k *kong.Kong) error {
	fmt.Fprintln(k.Stdout, "pgbraid", ProgramVersion())
	return errShown
}

// Version is set by the linker in releases.
var Version string

// ProgramVersion is Version, or in builds without one what the Go tool knows.
func ProgramVersion() string {
	if Version != "" {
		return Version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

var helpGroups = []kong.Group{
	{Key: "output", Title: "Where to and what:"},
	{Key: "general", Title: "How:"},
	{Key: "connection", Title: "Connection:", Description: "As with libpq's tools. The PG* environment, service and pass files are used."},
	{Key: "show", Title: "What is shown:"},
}
