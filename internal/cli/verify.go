package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/pgbraid/pgbraid/basebackup/verify"
	"github.com/pgbraid/pgbraid/internal/progress"
)

// verifyCommand is pgbraid verify. Its options have the names and the meaning
// that they have in pg_verifybackup.
type verifyCommand struct {
	Directories []string `arg:"" name:"backup" help:"Directory of the backup: its files, or base.tar and the other archives. Several are a full one and each incremental one on top of it, in their order."`

	Format       string   `short:"F" group:"general" placeholder:"plain|tar" help:"Format of the backup (default: what it looks like)."`
	ManifestPath string   `short:"m" group:"general" placeholder:"PATH" help:"Path of the manifest (default: backup_manifest in the backup)."`
	Ignore       []string `short:"i" group:"general" sep:"none" placeholder:"PATH" help:"Pass over this file or directory, relative to the data directory. Repeatable."`
	WALDirectory string   `short:"w" name:"wal-directory" aliases:"wal-path" group:"general" placeholder:"PATH" xor:"wal" help:"Where the log is: a directory, such as one of pgbraid receive, or a tar file (default: in the backup)."`
	NoParseWAL   bool     `short:"n" group:"general" xor:"wal" help:"Do not read the log."`
	SkipChecks   bool     `short:"s" name:"skip-checksums" group:"general" help:"Compare names and sizes only."`
	Pages        bool     `name:"pages" group:"general" help:"Check the checksum of each data page too. The cluster must have data checksums."`
	ExitOnError  bool     `short:"e" group:"general" help:"End at the first problem."`
	Jobs         int      `short:"j" group:"general" placeholder:"N" help:"How many files to read at a time (default: one for each processor)."`

	Progress bool `short:"P" group:"show" help:"Show progress also where there is no terminal: a line every few seconds."`
	Quiet    bool `short:"q" group:"show" help:"Show only what is wrong."`
	Verbose  bool `short:"v" group:"show" help:"Show each step."`
	JSON     bool `name:"json" group:"show" help:"Write the report to standard output as one JSON object."`
}

// Help is shown below the summary by pgbraid verify --help.
func (*verifyCommand) Help() string {
	return `Compares a backup with its manifest, file by file, and reads the log that it
needs record by record. It is only read. The report, on standard output, says
first how much of what is wrong, then what.

An incremental backup says which one it is on top of. Given all from the full one
on, it tells too whether each is on top of the one before.

With --pages each page of a table or an index is looked at as a server does that
reads it. A page that was changed while the backup was taken may be half
written; it is left out, since the server begins with the WAL that has it.

Exit codes: 0 the backup is good, 1 it is not or there is no such chain, 2 wrong
usage, 130/143/129 ended by SIGINT/SIGTERM/SIGHUP.`
}

// Run is called by kong.
func (c *verifyCommand) Run(ctx context.Context, to *streams) error {
	options, err := c.options()
	if err != nil {
		return &usageError{err: err}
	}
	if len(c.Directories) > 1 {
		return c.runChain(ctx, to, options)
	}
	report, err := c.verify(ctx, to, options)
	if err != nil {
		return err
	}
	switch {
	case c.JSON:
		if err := writeVerified(to.out, report); err != nil {
			return err
		}
	case !c.Quiet || !report.OK():
		writeVerdict(to.out, report)
	}
	if !report.OK() {
		return errNotGood
	}
	return nil
}

// verify verifies one backup.
func (c *verifyCommand) verify(ctx context.Context, to *streams, options *verify.Options) (*verify.Report, error) {
	renderer := rendererFor(to.err, c.Progress, c.Quiet)
	options.Logger = newLogger(progress.NewWriter(to.err, renderer), levelFor(c.Verbose, c.Quiet))
	if renderer != progress.Discard {
		options.OnProgress = renderer.Update
	}
	report, err := verify.Run(ctx, *options)
	renderer.Finish()
	return report, err
}

// errNotGood ends verify for a backup with problems.
var errNotGood = errors.New("the backup is not good")

// options makes of the command line what a run needs.
func (c *verifyCommand) options() (*verify.Options, error) {
	o := &verify.Options{
		Directory:     c.Directories[0],
		Manifest:      c.ManifestPath,
		Ignore:        c.Ignore,
		WAL:           c.WALDirectory,
		NoWAL:         c.NoParseWAL,
		SkipChecksums: c.SkipChecks,
		Pages:         c.Pages,
		StopAtFirst:   c.ExitOnError,
		Jobs:          c.Jobs,
	}
	switch c.Format {
	case "":
	case "p", "plain":
		o.Format = verify.FormatPlain
	case "t", "tar":
		o.Format = verify.FormatTar
	default:
		return nil, fmt.Errorf("unknown backup format %q: want plain or tar", c.Format)
	}
	if c.Progress && c.Quiet {
		return nil, errors.New("-P and -q exclude each other")
	}
	if len(c.Directories) > 1 && c.ManifestPath != "" {
		return nil, errors.New("-m names the manifest of one backup, and there are several")
	}
	return o, o.Check()
}

// maxShown is how many problems of one kind are listed; JSON has them all.
const maxShown = 100

// barWidth is that of the bar of good files, in characters.
const barWidth = 30

// writeVerdict writes the picture, then the list.
func writeVerdict(w io.Writer, r *verify.Report) {
	verdict := "good"
	if !r.OK() {
		verdict = "NOT GOOD"
	}
	fmt.Fprintf(w, "backup %s: %s\n", progress.Sanitize(r.Directory), verdict)
	row := func(name, text string) { fmt.Fprintf(w, "  %-18s %s\n", name, text) }
	if r.ManifestVersion != 0 {
		files := fmt.Sprintf("%s %d of %d good", bar(r.Good, r.Files-r.Ignored), r.Good, r.Files-r.Ignored)
		if r.ChecksumsSkipped {
			files += ", by name and size only"
		} else {
			files += fmt.Sprintf(", %s read in %s", progress.Bytes(r.Bytes), duration(r.Duration))
		}
		row("files", files)
	}
	if r.Incremental() {
		row("incremental", fmt.Sprintf("on top of the backup that starts at %s; it cannot be restored without that", r.Label.From))
	}
	if r.Pages.Checked {
		row("pages", pagesText(&r.Pages))
	}
	for _, a := range r.Ranges {
		row("log, timeline "+strconv.FormatUint(uint64(a.Timeline), 10), rangeText(r, a))
	}
	counts := r.Counts()
	for kind := verify.DamagedManifest; kind <= verify.DamagedWAL; kind++ {
		if n := counts[kind]; n > 0 {
			row(kind.String(), strconv.Itoa(n))
		}
	}
	shown := map[verify.Kind]int{}
	for i, p := range r.Problems {
		if i == 0 {
			fmt.Fprintln(w)
		}
		switch shown[p.Kind]++; {
		case shown[p.Kind] <= maxShown:
			fmt.Fprintln(w, progress.Sanitize(oneLine(p.String())))
		case shown[p.Kind] == counts[p.Kind]:
			fmt.Fprintf(w, "%s: %d more, which --json lists\n", p.Kind, counts[p.Kind]-maxShown)
		}
	}
}

// pagesText tells how many pages are what, and what it means if some are not
// as they should be.
func pagesText(p *verify.PageReport) string {
	text := fmt.Sprintf("%d of %d good", p.Pages-p.Torn-p.Bad, p.Pages)
	if p.New > 0 {
		text += fmt.Sprintf(" (%d never written to)", p.New)
	}
	if p.Torn > 0 {
		text += fmt.Sprintf(", %d left out: changed during the backup, whose WAL has them", p.Torn)
	}
	if p.Bad > 0 {
		text += fmt.Sprintf(", %d DAMAGED", p.Bad)
	}
	return text
}

func rangeText(r *verify.Report, a verify.Range) string {
	text := fmt.Sprintf("%s to %s", a.Start, a.End)
	switch {
	case r.WALSkipped:
		return text + ": not read"
	case a.Good:
		return fmt.Sprintf("%s: good, %d records, the last at %s", text, a.Records, a.Last)
	case a.Records > 0:
		return fmt.Sprintf("%s: BROKEN, good up to %s", text, a.Reached)
	}
	return text + ": BROKEN, no record is good"
}

// bar shows how much of all is good. It is full only where everything is.
func bar(good, all int) string {
	n := barWidth
	if all > 0 {
		n = good * barWidth / all
	}
	return "[" + strings.Repeat("#", n) + strings.Repeat(".", barWidth-n) + "]"
}

// verifyResult is what --json writes.
type verifyResult struct {
	Directory        string            `json:"directory"`
	Good             bool              `json:"good"`
	Format           string            `json:"format"`
	ManifestVersion  int               `json:"manifest_version"`
	SystemIdentifier string            `json:"system_identifier,omitempty"`
	Files            int               `json:"files"`
	GoodFiles        int               `json:"good_files"`
	IgnoredFiles     int               `json:"ignored_files"`
	Bytes            int64             `json:"bytes"`
	ChecksumsSkipped bool              `json:"checksums_skipped"`
	WALSkipped       bool              `json:"wal_skipped"`
	Pages            *verifiedPages    `json:"pages,omitempty"`
	Ranges           []verifiedRange   `json:"wal_ranges"`
	Problems         []verifiedProblem `json:"problems"`
	Seconds          float64           `json:"seconds"`
	// Start is that of the backup's log, and OnTopOf that of the backup which an
	// incremental one needs.
	Start   *jsonPosition `json:"start,omitempty"`
	OnTopOf *jsonPosition `json:"on_top_of,omitempty"`
}

type jsonPosition struct {
	LSN      string `json:"lsn"`
	Timeline uint32 `json:"timeline"`
}

type verifiedPages struct {
	Files   int64 `json:"files"`
	Pages   int64 `json:"pages"`
	New     int64 `json:"new"`
	Torn    int64 `json:"torn"`
	Damaged int64 `json:"damaged"`
}

type verifiedRange struct {
	Timeline   uint32 `json:"timeline"`
	Start      string `json:"start_lsn"`
	End        string `json:"end_lsn"`
	Reached    string `json:"reached_lsn"`
	LastRecord string `json:"last_record_lsn,omitempty"`
	Records    int64  `json:"records"`
	Good       bool   `json:"good"`
}

type verifiedProblem struct {
	Kind    string `json:"kind"`
	Path    string `json:"path"`
	Archive string `json:"archive,omitempty"`
	Detail  string `json:"detail,omitempty"`
}

func writeVerified(w io.Writer, r *verify.Report) error {
	return json.NewEncoder(w).Encode(verifiedJSON(r))
}

func verifiedJSON(r *verify.Report) *verifyResult {
	out := &verifyResult{
		Directory:        r.Directory,
		Good:             r.OK(),
		Format:           string(r.Format),
		ManifestVersion:  r.ManifestVersion,
		Files:            r.Files,
		GoodFiles:        r.Good,
		IgnoredFiles:     r.Ignored,
		Bytes:            r.Bytes,
		ChecksumsSkipped: r.ChecksumsSkipped,
		WALSkipped:       r.WALSkipped,
		Ranges:           []verifiedRange{},
		Problems:         []verifiedProblem{},
		Seconds:          r.Duration.Seconds(),
	}
	if r.SystemIdentifier != 0 {
		out.SystemIdentifier = strconv.FormatUint(r.SystemIdentifier, 10)
	}
	if p := r.Pages; p.Checked {
		out.Pages = &verifiedPages{Files: p.Files, Pages: p.Pages, New: p.New, Torn: p.Torn, Damaged: p.Bad}
	}
	for _, a := range r.Ranges {
		v := verifiedRange{Timeline: uint32(a.Timeline), Start: a.Start.String(), End: a.End.String(), Reached: a.Reached.String(), Records: a.Records, Good: a.Good}
		if a.Records > 0 {
			v.LastRecord = a.Last.String()
		}
		out.Ranges = append(out.Ranges, v)
	}
	for _, p := range r.Problems {
		out.Problems = append(out.Problems, verifiedProblem{Kind: p.Kind.String(), Path: p.Path, Archive: p.Archive, Detail: p.Detail()})
	}
	if r.Label != nil {
		out.Start = &jsonPosition{r.Label.Start.LSN.String(), uint32(r.Label.Start.Timeline)}
		if r.Incremental() {
			out.OnTopOf = &jsonPosition{r.Label.From.LSN.String(), uint32(r.Label.From.Timeline)}
		}
	}
	return out
}
