package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pgbraid/pgbraid/basebackup"
	"github.com/pgbraid/pgbraid/internal/conninfo"
	"github.com/pgbraid/pgbraid/internal/progress"
)

// cloneCommand is pgbraid clone. Its options have the names and the meaning
// that they have in pg_basebackup (PROTOCOL.md 8.1).
type cloneCommand struct {
	PGData            string   `short:"D" name:"pgdata" required:"" group:"output" placeholder:"DIR" help:"Directory to make the standby in; must be empty or not exist."`
	WALDir            string   `name:"waldir" group:"output" placeholder:"DIR" help:"Put the write-ahead log there (absolute path); pg_wal becomes a link to it."`
	TablespaceMapping []string `short:"T" group:"output" sep:"none" placeholder:"OLD=NEW" help:"Put the tablespace at OLD into NEW; a \"=\" in a path is written \"\\=\". Repeatable."`

	Checkpoint        string `short:"c" group:"general" placeholder:"fast|spread" default:"spread" help:"Start from a checkpoint made at once (fast), or spread over minutes, easier on the server (spread, the default)."`
	MaxRate           string `short:"r" group:"general" placeholder:"RATE" help:"Limit the copy to RATE kB a second, or with suffix k or M (32k to 1024M)."`
	Label             string `short:"l" group:"general" placeholder:"LABEL" help:"Label of the backup."`
	Slot              string `short:"S" group:"general" placeholder:"NAME" help:"Replication slot for the log and for the standby afterwards. Default: a temporary one."`
	CreateSlot        bool   `short:"C" group:"general" help:"Create the slot of -S; it is dropped again if the clone fails."`
	NoSlot            bool   `group:"general" help:"Use no slot at all."`
	StatusInterval    int    `short:"s" group:"general" placeholder:"SECONDS" default:"10" help:"How often to tell the server the position in the log (default 10; 0: only when asked)."`
	NoVerifyChecksums bool   `group:"general" help:"Do not let the server check the checksums of data pages."`
	ManifestChecksums string `group:"general" placeholder:"ALGORITHM" help:"NONE, CRC32C (default), SHA224, SHA256, SHA384 or SHA512."`
	NoSync            bool   `short:"N" group:"general" help:"Do not wait for the disk. A crash of this machine may damage the standby unnoticed."`
	NoClean           bool   `short:"n" group:"general" help:"Leave what was made after a failure."`

	Progress bool `short:"P" group:"show" help:"Show progress also where there is no terminal: a line every few seconds."`
	Quiet    bool `short:"q" group:"show" help:"Show only warnings and errors."`
	Verbose  bool `short:"v" group:"show" help:"Show each step."`
	JSON     bool `name:"json" group:"show" help:"Write the result to standard output as one JSON object."`

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
	options, err := c.options()
	if err != nil {
		return &usageError{err}
	}
	info, err := c.parse()
	if err != nil {
		return err
	}
	renderer := c.renderer(to.err)
	log := newLogger(progress.NewWriter(to.err, renderer), c.level())
	for _, w := range info.Warnings() {
		log.Warn(w)
	}
	options.Logger = log
	if renderer != progress.Discard {
		options.OnProgress = renderer.Update
	}
	if err := options.Check(); err != nil {
		return &usageError{err}
	}

	var result *basebackup.Result
	err = withPassword(ctx, info, func(config *pgconn.Config) (err error) {
		options.PrimaryConnInfo = info.PrimaryConnInfo(conninfo.WithDBName())
		result, err = basebackup.Run(ctx, config, *options)
		return err
	})
	renderer.Finish()
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

// options makes of the command line what a run needs.
func (c *cloneCommand) options() (*basebackup.Options, error) {
	o := &basebackup.Options{
		Directory:         c.PGData,
		WALDirectory:      c.WALDir,
		Label:             c.Label,
		NoVerifyChecksums: c.NoVerifyChecksums,
		ManifestChecksums: c.ManifestChecksums,
		Slot:              c.Slot,
		CreateSlot:        c.CreateSlot,
		NoSlot:            c.NoSlot,
		NoSync:            c.NoSync,
		NoClean:           c.NoClean,
	}
	for _, text := range c.TablespaceMapping {
		m, err := basebackup.ParseTablespaceMapping(text)
		if err != nil {
			return nil, err
		}
		o.Tablespaces = append(o.Tablespaces, m)
	}
	switch strings.ToLower(c.Checkpoint) {
	case "fast":
		o.FastCheckpoint = true
	case "spread":
	default:
		return nil, fmt.Errorf("invalid checkpoint argument %q, must be \"fast\" or \"spread\"", c.Checkpoint)
	}
	var err error
	if o.MaxRate, err = parseRate(c.MaxRate); err != nil {
		return nil, err
	}
	if o.StatusInterval, err = statusInterval(c.StatusInterval); err != nil {
		return nil, err
	}
	if c.Progress && c.Quiet {
		return nil, errors.New("-P and -q exclude each other")
	}
	return o, nil
}

// maxStatusInterval is the most seconds whose milliseconds the stock tools can
// count.
const maxStatusInterval = 2147483

// statusInterval makes of the option, in which 0 means never, the library's
// form of it.
func statusInterval(seconds int) (time.Duration, error) {
	switch {
	case seconds < 0 || seconds > maxStatusInterval:
		return 0, fmt.Errorf("status interval of %d seconds is out of range: 0 to %d", seconds, maxStatusInterval)
	case seconds == 0:
		return -1, nil
	}
	return time.Duration(seconds) * time.Second, nil
}

// parseRate reads a number of kB a second, or with the suffix k or M.
func parseRate(text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	number, factor := strings.TrimSpace(text), 1.0
	switch number[max(len(number)-1, 0):] {
	case "k":
		number = number[:len(number)-1]
	case "M":
		number, factor = number[:len(number)-1], 1024
	}
	rate, err := strconv.ParseFloat(number, 64)
	if err != nil || strings.Contains(number, "_") {
		return 0, fmt.Errorf("transfer rate %q is not a valid value", text)
	}
	if rate *= factor; !(rate >= 32 && rate <= 1<<20) {
		return 0, fmt.Errorf("transfer rate %q is out of range: 32k to 1024M a second", text)
	}
	return int(rate), nil
}

// renderer chooses how the progress is shown: on a terminal unless -q forbids
// it, elsewhere only if asked for.
func (c *cloneCommand) renderer(w io.Writer) progress.Renderer {
	f, ok := w.(*os.File)
	switch {
	case c.Quiet:
		return progress.Discard
	case ok && (c.Progress || progress.Interactive(f)):
		return progress.New(f)
	case c.Progress:
		return progress.NewLines(w, 0)
	}
	return progress.Discard
}

func (c *cloneCommand) level() slog.Level {
	switch {
	case c.Verbose:
		return slog.LevelDebug
	case c.Quiet:
		return slog.LevelWarn
	}
	return slog.LevelInfo
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
		fmt.Fprintf(w, "pgbraid: its files belong to root, which no server runs as; first:  chown -R postgres: %s\n",
			quoteAll(r.Directories()))
	}
}

// duration shows tenths where whole seconds would say little.
func duration(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return progress.Duration(d)
}

func quoteAll(paths []string) string {
	quoted := make([]string, len(paths))
	for i, p := range paths {
		quoted[i] = shellQuote(p)
	}
	return strings.Join(quoted, " ")
}

// shellQuote quotes a path where a shell would not take it as it is.
func shellQuote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+,:") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// cloneResult is what --json writes.
type cloneResult struct {
	Directory        string             `json:"directory"`
	SystemIdentifier string             `json:"system_identifier"`
	ServerVersion    int                `json:"server_version"`
	StartLSN         string             `json:"start_lsn"`
	StartTimeline    uint32             `json:"start_timeline"`
	EndLSN           string             `json:"end_lsn"`
	EndTimeline      uint32             `json:"end_timeline"`
	Bytes            int64              `json:"bytes"`
	WALBytes         int64              `json:"wal_bytes"`
	Tablespaces      []tablespaceResult `json:"tablespaces"`
	Slot             string             `json:"slot,omitempty"`
	Seconds          float64            `json:"seconds"`
}

type tablespaceResult struct {
	OID      uint32 `json:"oid"`
	Location string `json:"location"`
	Path     string `json:"path"`
}

func writeResult(w io.Writer, r *basebackup.Result) error {
	out := cloneResult{
		Directory:        r.Directory,
		SystemIdentifier: strconv.FormatUint(r.SystemIdentifier, 10),
		ServerVersion:    r.ServerVersion,
		StartLSN:         r.Start.LSN.String(),
		StartTimeline:    uint32(r.Start.Timeline),
		EndLSN:           r.End.LSN.String(),
		EndTimeline:      uint32(r.End.Timeline),
		Bytes:            r.Bytes,
		WALBytes:         r.WALBytes,
		Tablespaces:      []tablespaceResult{},
		Slot:             r.Slot,
		Seconds:          r.Duration.Seconds(),
	}
	for _, t := range r.Tablespaces {
		if t.OID != 0 {
			out.Tablespaces = append(out.Tablespaces, tablespaceResult{t.OID, t.Location, t.Path})
		}
	}
	return json.NewEncoder(w).Encode(out)
}
