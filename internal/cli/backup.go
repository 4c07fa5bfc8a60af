package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/pgbraid/pgbraid/basebackup"
	"github.com/pgbraid/pgbraid/internal/progress"
	"golang.org/x/term"
)

// backupCommand is pgbraid backup. Its options have the names and the meaning
// that they have in pg_basebackup (PostgreSQL manual, "pg_basebackup").
type backupCommand struct {
	PGData            string   `short:"D" name:"pgdata" group:"output" placeholder:"DIR" help:"Directory to put the backup in; must be empty or not exist. \"-\": a tar archive to standard output."`
	Format            string   `short:"F" group:"output" placeholder:"plain|tar" default:"plain" help:"Files as a server has them (plain, the default), or archives (tar)."`
	Compress          string   `short:"Z" group:"output" placeholder:"[{client|server}-]METHOD[:DETAIL]" help:"gzip, lz4, zstd, none, or a level of gzip (0-9); DETAIL is a level, or level=N, workers=N, long. On all processors unless told otherwise."`
	Gzip              bool     `short:"z" group:"output" help:"The same as -Z gzip."`
	WALMethod         string   `short:"X" name:"wal-method" group:"output" placeholder:"none|fetch|stream" default:"stream" help:"How the write-ahead log gets into the backup: streamed beside it (the default), fetched at its end, or not."`
	WALDir            string   `name:"waldir" group:"output" placeholder:"DIR" help:"Put the write-ahead log there (absolute path, plain only); pg_wal becomes a link to it."`
	TablespaceMapping []string `short:"T" group:"output" sep:"none" placeholder:"OLD=NEW" help:"Put the tablespace at OLD into NEW (plain only); a \"=\" in a path is written \"\\=\". Repeatable."`
	WriteRecoveryConf bool     `short:"R" group:"output" help:"Make the backup one that starts as a standby of the server."`
	Incremental       string   `short:"i" group:"output" placeholder:"MANIFEST" help:"Take only what has changed since the backup with this manifest (PostgreSQL 17 and later)."`
	Target            string   `short:"t" group:"output" placeholder:"TARGET[:DETAIL]" help:"Leave the backup on the server (server:DIR), throw it away (blackhole), or client (the default)."`

	NoManifest          bool   `group:"general" help:"Make no backup manifest."`
	ManifestForceEncode bool   `group:"general" help:"Write every path in the manifest in hexadecimal digits."`
	NoEstimateSize      bool   `group:"general" help:"Do not let the server add up the size of its files first; the progress has no percentage then."`
	SyncMethod          string `group:"general" placeholder:"fsync|syncfs" default:"fsync" help:"How the backup is made durable: each file (fsync, the default) or whole file systems (syncfs)."`

	copyOptions
	connectionOptions
}

// Help is shown below the summary by pgbraid backup --help.
func (*backupCommand) Help() string {
	return `Takes a base backup into DIR, and beside it the write-ahead log that makes it
consistent. What arrives is held against the server's manifest on the way; DIR
gets its backup_manifest last of all, when everything is durable. What a failed
backup made is removed again.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 WAL missing on the server,
130/143/129 ended by SIGINT/SIGTERM/SIGHUP.`
}

// Run is called by kong.
func (c *backupCommand) Run(ctx context.Context, to *streams) error {
	options, err := c.options(to.out)
	if err != nil {
		return &usageError{err: err}
	}
	result, err := c.run(ctx, to, options, &c.connectionOptions)
	if err != nil {
		return err
	}
	if !c.Quiet {
		c.summary(to.err, options, result)
	}
	if c.JSON {
		return writeResult(to.out, result)
	}
	return nil
}

// options makes of the command line what a run needs.
func (c *backupCommand) options(out io.Writer) (*basebackup.Options, error) {
	o := &basebackup.Options{
		Compress:       c.Compress,
		WALDirectory:   c.WALDir,
		Standby:        c.WriteRecoveryConf,
		Incremental:    c.Incremental,
		NoEstimateSize: c.NoEstimateSize,
		SyncMethod:     basebackup.SyncMethod(c.SyncMethod),
		Manifest:       basebackup.WithManifest,
	}
	var err error
	if o.Format, err = ParseFormat(c.Format); err != nil {
		return nil, err
	}
	if o.WAL, err = ParseWALMethod(c.WALMethod); err != nil {
		return nil, err
	}
	o.Target, o.TargetDetail, _ = strings.Cut(c.Target, ":")
	if o.Target == basebackup.ServerTarget && o.TargetDetail == "" {
		return nil, errors.New("target server needs a directory there: server:DIR")
	}
	switch {
	case c.PGData == "-" && c.JSON:
		return nil, errors.New("the backup and the result of --json cannot both go to standard output")
	case c.PGData == "-" && isTerminal(out):
		return nil, errors.New("a backup cannot go to a terminal: redirect standard output")
	case c.PGData == "-":
		o.Output = out
	default:
		o.Directory = c.PGData
	}
	switch {
	case c.Gzip && c.Compress != "":
		return nil, errors.New("-z and -Z exclude each other")
	case c.Gzip:
		o.Compress = "gzip"
	}
	switch {
	case c.NoManifest && c.ManifestForceEncode:
		return nil, errors.New("--no-manifest and --manifest-force-encode exclude each other")
	case c.NoManifest:
		o.Manifest = basebackup.WithoutManifest
	case c.ManifestForceEncode:
		o.Manifest = basebackup.ForceEncodeManifest
	}
	return o, mapTablespaces(o, c.TablespaceMapping)
}

// ParseFormat reads the name of a format, or its first letter.
func ParseFormat(text string) (basebackup.Format, error) {
	switch text {
	case "p", "plain":
		return basebackup.Plain, nil
	case "t", "tar":
		return basebackup.Tar, nil
	}
	return "", fmt.Errorf("invalid output format %q, must be \"plain\" or \"tar\"", text)
}

// ParseWALMethod reads the name of a method, or its first letter.
func ParseWALMethod(text string) (basebackup.WALMethod, error) {
	switch text {
	case "n", "none":
		return basebackup.NoWAL, nil
	case "f", "fetch":
		return basebackup.FetchWAL, nil
	case "s", "stream":
		return basebackup.StreamWAL, nil
	}
	return "", fmt.Errorf("invalid wal-method option %q, must be \"fetch\", \"stream\", or \"none\"", text)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// summary tells what was made, and what can be done with it.
func (c *backupCommand) summary(w io.Writer, o *basebackup.Options, r *basebackup.Result) {
	log := ""
	if r.WALBytes > 0 {
		log = " and " + progress.Bytes(r.WALBytes) + " of WAL"
	}
	fmt.Fprintf(w, "pgbraid: backed up %s%s in %s: PostgreSQL %d, from %s, consistent at %s\n",
		progress.Bytes(r.Bytes), log, duration(r.Duration), r.ServerVersion/10000, r.Start, r.End)
	switch {
	case o.Directory == "":
	case o.Incremental != "":
		fmt.Fprintf(w, "pgbraid: it holds what changed only; make it whole with:  pgbraid combine FULL ... %s -o NEW\n", shellQuote(r.Directory))
	case o.Manifest != basebackup.WithoutManifest:
		fmt.Fprintf(w, "pgbraid: check it at any time with:  pgbraid verify %s\n", shellQuote(r.Directory))
	}
}
