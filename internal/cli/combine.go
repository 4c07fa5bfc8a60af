package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/pgbraid/pgbraid/basebackup"
	"github.com/pgbraid/pgbraid/basebackup/combine"
	"github.com/pgbraid/pgbraid/internal/progress"
)

// combineCommand is pgbraid combine. Its options have the names and the
// meaning that they have in pg_combinebackup.
type combineCommand struct {
	Output            string   `short:"o" required:"" group:"output" placeholder:"DIR" help:"Directory to put the full backup in; must be empty or not exist."`
	Inputs            []string `arg:"" name:"backup" help:"Directories of the backups: the full one first, then each incremental one in the order that they were taken."`
	TablespaceMapping []string `short:"T" group:"output" sep:"none" placeholder:"OLD=NEW" help:"Put the tablespace that the last backup has at OLD into NEW; a \"=\" in a path is written \"\\=\". Repeatable. Each tablespace needs one."`

	DryRun            bool   `short:"n" group:"general" help:"Check everything, and write nothing."`
	Jobs              int    `short:"j" group:"general" placeholder:"N" help:"How many files to work on at a time (default: one for each processor)."`
	Copy              bool   `group:"general" xor:"method" help:"Copy files (the default)."`
	Clone             bool   `group:"general" xor:"method" help:"Clone (reflink) files that did not change. The file system must be able to."`
	CopyFileRange     bool   `name:"copy-file-range" group:"general" xor:"method" help:"Let the kernel copy. Linux only."`
	Link              bool   `short:"k" group:"general" xor:"method" help:"Link files that did not change: who starts a server on the result changes the backups."`
	ManifestChecksums string `group:"general" xor:"manifest" placeholder:"ALGORITHM" help:"NONE, CRC32C (default), SHA224, SHA256, SHA384 or SHA512."`
	NoManifest        bool   `group:"general" xor:"manifest" help:"Write no manifest."`
	NoVerifyChecksums bool   `group:"general" help:"Take the backups as they are, also where they differ from their manifests."`
	NoSync            bool   `short:"N" group:"general" help:"Do not wait for the disk. A crash of this machine may damage the result unnoticed."`
	SyncMethod        string `group:"general" placeholder:"fsync|syncfs" help:"Sync each file (fsync, the default), or whole file systems at the end (syncfs; Linux only)."`

	Progress bool `short:"P" group:"show" help:"Show progress also where there is no terminal: a line every few seconds."`
	Quiet    bool `short:"q" group:"show" help:"Show only warnings and errors."`
	Verbose  bool `short:"v" group:"show" help:"Show each step."`
	JSON     bool `name:"json" group:"show" help:"Write the result to standard output as one JSON object."`
}

// Help is shown below the summary by pgbraid combine --help.
func (*combineCommand) Help() string {
	return `Makes a full backup, as of the last of the given ones, in a new directory. The
given ones (plain format, release 17 and later) are only read, and whatever is
used of them is held against their manifests and, where the cluster has them,
the checksums of its pages: what differs ends the run. Until the result
is whole it has no global/pg_control and no backup_manifest, so that no server
starts from it; what a failed run made is removed again.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130/143/129 ended by
SIGINT/SIGTERM/SIGHUP.`
}

// Run is called by kong.
func (c *combineCommand) Run(ctx context.Context, to *streams) error {
	options, err := c.options()
	if err != nil {
		return &usageError{err: err}
	}
	renderer := rendererFor(to.err, c.Progress, c.Quiet)
	options.Logger = newLogger(progress.NewWriter(to.err, renderer), levelFor(c.Verbose, c.Quiet))
	if renderer != progress.Discard {
		options.OnProgress = renderer.Update
	}
	if err := options.Check(); err != nil {
		return &usageError{err: err}
	}
	result, err := combine.Run(ctx, *options)
	renderer.Finish()
	if err != nil {
		return err
	}
	if !c.Quiet {
		c.summary(to.err, result)
	}
	if c.JSON {
		return writeCombined(to.out, result)
	}
	return nil
}

// options makes of the command line what a run needs.
func (c *combineCommand) options() (*combine.Options, error) {
	o := &combine.Options{
		Inputs:            c.Inputs,
		Output:            c.Output,
		ManifestChecksums: c.ManifestChecksums,
		NoManifest:        c.NoManifest,
		NoVerify:          c.NoVerifyChecksums,
		Jobs:              c.Jobs,
		DryRun:            c.DryRun,
		NoSync:            c.NoSync,
		SyncMethod:        combine.SyncMethod(c.SyncMethod),
	}
	switch {
	case c.Clone:
		o.Method = combine.Clone
	case c.CopyFileRange:
		o.Method = combine.CopyFileRange
	case c.Link:
		o.Method = combine.Link
	}
	for _, text := range c.TablespaceMapping {
		m, err := basebackup.ParseTablespaceMapping(text)
		if err != nil {
			return nil, err
		}
		o.Tablespaces = append(o.Tablespaces, combine.TablespaceMapping(m))
	}
	if c.Progress && c.Quiet {
		return nil, errors.New("-P and -q exclude each other")
	}
	return o, nil
}

// summary tells what was made, and what may surprise about it.
func (c *combineCommand) summary(w io.Writer, r *combine.Result) {
	what := "combined"
	if c.DryRun {
		what = "would combine"
	}
	fmt.Fprintf(w, "pgbraid: %s %d backups into %s in %s: %s in %d files, %d of them rebuilt; PostgreSQL %d, starts at %s\n",
		what, len(c.Inputs), progress.Sanitize(r.Directory), duration(r.Duration), progress.Bytes(r.Bytes), r.Files, r.Rebuilt, r.Major, r.Start)
	if c.DryRun {
		return
	}
	if c.Link {
		fmt.Fprintf(w, "pgbraid: its files are partly those of the backups: what changes it may destroy them\n")
	}
	if os.Geteuid() == 0 {
		dirs := []string{r.Directory}
		for _, t := range r.Tablespaces {
			dirs = append(dirs, t.Path)
		}
		giveAway(w, dirs)
	}
}

// combineResult is what --json writes.
type combineResult struct {
	Directory        string               `json:"directory"`
	SystemIdentifier string               `json:"system_identifier"`
	Major            int                  `json:"server_major"`
	StartLSN         string               `json:"start_lsn"`
	StartTimeline    uint32               `json:"start_timeline"`
	EndLSN           string               `json:"end_lsn,omitempty"`
	EndTimeline      uint32               `json:"end_timeline,omitempty"`
	Bytes            int64                `json:"bytes"`
	Files            int                  `json:"files"`
	Rebuilt          int                  `json:"rebuilt_files"`
	Tablespaces      []combinedTablespace `json:"tablespaces"`
	Seconds          float64              `json:"seconds"`
}

type combinedTablespace struct {
	OID  uint32 `json:"oid"`
	Path string `json:"path"`
}

func writeCombined(w io.Writer, r *combine.Result) error {
	out := combineResult{
		Directory:        r.Directory,
		SystemIdentifier: strconv.FormatUint(r.SystemIdentifier, 10),
		Major:            r.Major,
		StartLSN:         r.Start.LSN.String(),
		StartTimeline:    uint32(r.Start.Timeline),
		Bytes:            r.Bytes,
		Files:            r.Files,
		Rebuilt:          r.Rebuilt,
		Tablespaces:      []combinedTablespace{},
		Seconds:          r.Duration.Seconds(),
	}
	if len(r.Ranges) > 0 { // the newest is the first
		out.EndLSN, out.EndTimeline = r.Ranges[0].End.String(), uint32(r.Ranges[0].Timeline)
	}
	for _, t := range r.Tablespaces {
		out.Tablespaces = append(out.Tablespaces, combinedTablespace(t))
	}
	return json.NewEncoder(w).Encode(out)
}
