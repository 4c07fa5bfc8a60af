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

// copyOptions are those of every command that takes a base backup. They have
// the names and the meaning that they have in pg_basebackup (PostgreSQL manual, "pg_basebackup").
type copyOptions struct {
	Checkpoint        string         `short:"c" group:"general" placeholder:"fast|spread" default:"spread" help:"Start from a checkpoint made at once (fast), or spread over minutes, easier on the server (spread, the default)."`
	MaxRate           string         `short:"r" group:"general" placeholder:"RATE" help:"Limit the copy to RATE kB a second, or with suffix k or M (32k to 1024M)."`
	Label             string         `short:"l" group:"general" placeholder:"LABEL" help:"Label of the backup."`
	Slot              string         `short:"S" group:"general" placeholder:"NAME" help:"Replication slot for the log, and for a standby afterwards. Default: a temporary one."`
	CreateSlot        bool           `short:"C" group:"general" help:"Create the slot of -S; it is dropped again on failure."`
	NoSlot            bool           `group:"general" help:"Use no slot at all."`
	StatusInterval    int            `short:"s" group:"general" placeholder:"SECONDS" default:"10" help:"How often to tell the server the position in the log (default 10; 0: only when asked)."`
	SilenceLimit      *time.Duration `group:"general" placeholder:"TIME" help:"Take a connection for lost after so long without a word from the server (such as 30s; default 1m for the log, 5m for a copy; 0: never)."`
	NoVerifyChecksums bool           `group:"general" help:"Do not let the server check the checksums of data pages."`
	ManifestChecksums string         `group:"general" placeholder:"ALGORITHM" help:"NONE, CRC32C (default), SHA224, SHA256, SHA384 or SHA512."`
	NoPassword        bool           `name:"no-password-in-conninfo" group:"general" help:"Leave the password out of the standby's settings: it has a passfile of its own."`
	NoSync            bool           `short:"N" group:"general" help:"Do not wait for the disk. A crash of this machine may damage what was made unnoticed."`
	NoDirectIO        bool           `name:"no-direct-io" group:"general" help:"Write through the page cache: slower, but what was made is read from memory soon after."`
	NoClean           bool           `short:"n" group:"general" help:"Leave what was made after a failure."`

	Progress bool `short:"P" group:"show" help:"Show progress also where there is no terminal: a line every few seconds."`
	Quiet    bool `short:"q" group:"show" help:"Show only warnings and errors."`
	Verbose  bool `short:"v" group:"show" help:"Show each step."`
	JSON     bool `name:"json" group:"show" help:"Write the result to standard output as one JSON object."`
}

// run takes the backup that o tells of, which the options are added to.
func (c *copyOptions) run(ctx context.Context, to *streams, o *basebackup.Options, connection *connectionOptions) (*basebackup.Result, error) {
	if err := c.complete(o); err != nil {
		return nil, &usageError{err: err}
	}
	info, err := connection.parse()
	if err != nil {
		return nil, err
	}
	renderer := rendererFor(to.err, c.Progress, c.Quiet)
	o.Logger = newLogger(progress.NewWriter(to.err, renderer), levelFor(c.Verbose, c.Quiet))
	for _, w := range info.Warnings() {
		o.Logger.Warn(w)
	}
	if renderer != progress.Discard {
		o.OnProgress = renderer.Update
	}
	if err := o.Check(); err != nil {
		return nil, &usageError{err: err}
	}

	var result *basebackup.Result
	err = WithPassword(ctx, info, func(config *pgconn.Config) (err error) {
		text := []conninfo.Option{conninfo.WithDBName()}
		if c.NoPassword {
			text = append(text, conninfo.WithoutPassword())
		}
		o.PrimaryConnInfo = info.PrimaryConnInfo(text...)
		result, err = basebackup.Run(ctx, config, *o)
		return err
	})
	renderer.Finish()
	return result, err
}

// complete adds the options to those of a run.
func (c *copyOptions) complete(o *basebackup.Options) error {
	o.Label = c.Label
	o.NoVerifyChecksums = c.NoVerifyChecksums
	o.ManifestChecksums = c.ManifestChecksums
	o.Slot, o.CreateSlot, o.NoSlot = c.Slot, c.CreateSlot, c.NoSlot
	o.NoSync, o.NoClean, o.NoDirectIO = c.NoSync, c.NoClean, c.NoDirectIO
	switch strings.ToLower(c.Checkpoint) {
	case "fast":
		o.FastCheckpoint = true
	case "spread":
	default:
		return fmt.Errorf("invalid checkpoint argument %q, must be \"fast\" or \"spread\"", c.Checkpoint)
	}
	var err error
	if o.MaxRate, err = parseRate(c.MaxRate); err != nil {
		return err
	}
	if o.StatusInterval, err = statusInterval(c.StatusInterval); err != nil {
		return err
	}
	if o.SilenceLimit, err = silenceLimit(c.SilenceLimit); err != nil {
		return err
	}
	if c.Progress && c.Quiet {
		return errors.New("-P and -q exclude each other")
	}
	return nil
}

// mapTablespaces adds mappings to the options of a run.
func mapTablespaces(o *basebackup.Options, mappings []string) error {
	for _, text := range mappings {
		m, err := basebackup.ParseTablespaceMapping(text)
		if err != nil {
			return err
		}
		o.Tablespaces = append(o.Tablespaces, m)
	}
	return nil
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

// silenceLimit makes of the option, in which 0 means never, the library's form
// of it.
func silenceLimit(given *time.Duration) (time.Duration, error) {
	switch {
	case given == nil:
		return 0, nil
	case *given < 0:
		return 0, fmt.Errorf("silence limit of %s is less than 0", *given)
	case *given == 0:
		return -1, nil
	}
	return *given, nil
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

// rendererFor chooses how the progress is shown: on a terminal unless quiet,
// elsewhere only if asked for.
func rendererFor(w io.Writer, show, quiet bool) progress.Renderer {
	f, ok := w.(*os.File)
	switch {
	case quiet:
		return progress.Discard
	case ok && (show || progress.Interactive(f)):
		return progress.New(f)
	case show:
		return progress.NewLines(w, 0)
	}
	return progress.Discard
}

func levelFor(verbose, quiet bool) slog.Level {
	switch {
	case verbose:
		return slog.LevelDebug
	case quiet:
		return slog.LevelWarn
	}
	return slog.LevelInfo
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

// copyResult is what --json writes.
type copyResult struct {
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
	out := copyResult{
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
