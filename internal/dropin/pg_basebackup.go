package dropin

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pgbraid/pgbraid/basebackup"
	"github.com/pgbraid/pgbraid/internal/cli"
	"github.com/pgbraid/pgbraid/internal/compress"
	"github.com/pgbraid/pgbraid/internal/conninfo"
	"github.com/pgbraid/pgbraid/internal/getopt"
)

var pgBasebackup = tool{name: "pg_basebackup", help: basebackupHelp, run: runBasebackup}

// baseBackup is the command line of pg_basebackup (PostgreSQL manual, "pg_basebackup").
type baseBackup struct {
	connection

	directory      string
	hasDirectory   bool
	format         basebackup.Format // "" where it was not given
	incremental    string
	maxRate        int
	standby        bool
	target         string
	hasTarget      bool // that of the client is none
	tablespaces    []basebackup.TablespaceMapping
	walDirectory   string
	hasWALDir      bool
	wal            basebackup.WALMethod
	compression    compression
	fastCheckpoint bool
	createSlot     bool
	label          string
	noClean        bool
	noSync         bool
	progress       bool
	slot           string
	hasSlot        bool
	verbose        bool

	manifestChecksums    string
	hasManifestChecksums bool
	manifestForceEncode  bool
	noEstimateSize       bool
	noManifest           bool
	noSlot               bool
	noVerifyChecksums    bool
	syncMethod           basebackup.SyncMethod
	statusInterval       string
	hasStatusInterval    bool

	// compress is what check makes of compression for the library.
	compress string
}

func (b *baseBackup) options() []getopt.Option {
	first := []getopt.Option{
		{Short: 'D', Long: "pgdata", Argument: true, Set: given(&b.directory, &b.hasDirectory)},
		{Short: 'F', Long: "format", Argument: true, Set: b.setFormat},
		{Short: 'i', Long: "incremental", Argument: true, Set: text(&b.incremental)},
		{Short: 'c', Long: "checkpoint", Argument: true, Set: b.setCheckpoint},
		{Short: 'C', Long: "create-slot", Set: on(&b.createSlot)},
		{Short: 'r', Long: "max-rate", Argument: true, Set: func(v string) (err error) {
			b.maxRate, err = rate(v)
			return err
		}},
		{Short: 'R', Long: "write-recovery-conf", Set: on(&b.standby)},
		{Short: 'S', Long: "slot", Argument: true, Set: given(&b.slot, &b.hasSlot)},
		{Short: 't', Long: "target", Argument: true, Set: given(&b.target, &b.hasTarget)},
		{Short: 'T', Long: "tablespace-mapping", Argument: true, Set: b.addTablespace},
		{Short: 'X', Long: "wal-method", Argument: true, Set: b.setWALMethod},
		{Short: 'z', Long: "gzip", Set: func(string) error {
			b.compression = compression{algorithm: "gzip"}
			return nil
		}},
		{Short: 'Z', Long: "compress", Argument: true, Set: func(v string) error {
			b.compression = parsePlacedCompression(v)
			return nil
		}},
		{Short: 'l', Long: "label", Argument: true, Set: text(&b.label)},
		{Short: 'n', Long: "no-clean", Set: on(&b.noClean)},
		{Short: 'N', Long: "no-sync", Set: on(&b.noSync)},
	}
	last := []getopt.Option{
		{Short: 's', Long: "status-interval", Argument: true, Set: func(v string) error {
			b.statusInterval, b.hasStatusInterval = v, true
			_, err := statusInterval(v)
			return err
		}},
		{Short: 'v', Long: "verbose", Set: on(&b.verbose)},
		{Short: 'P', Long: "progress", Set: on(&b.progress)},
		{Long: "waldir", Argument: true, Set: given(&b.walDirectory, &b.hasWALDir)},
		{Long: "no-slot", Set: on(&b.noSlot)},
		{Long: "no-verify-checksums", Set: on(&b.noVerifyChecksums)},
		{Long: "no-estimate-size", Set: on(&b.noEstimateSize)},
		{Long: "no-manifest", Set: on(&b.noManifest)},
		{Long: "manifest-force-encode", Set: on(&b.manifestForceEncode)},
		{Long: "manifest-checksums", Argument: true, Set: given(&b.manifestChecksums, &b.hasManifestChecksums)},
		{Long: "sync-method", Argument: true, Set: b.setSyncMethod},
	}
	// Errors of ambiguous options name them in the order of the tool.
	return append(append(first, b.connection.options()...), last...)
}

// given is text for an option of which an empty argument says something too.
func given(field *string, is *bool) func(string) error {
	return func(value string) error {
		*field, *is = value, true
		return nil
	}
}

func (b *baseBackup) setFormat(v string) error {
	switch v {
	case "p", "plain":
		b.format = basebackup.Plain
	case "t", "tar":
		b.format = basebackup.Tar
	default:
		return fail("invalid output format %q, must be \"plain\" or \"tar\"", quoted(v))
	}
	return nil
}

func (b *baseBackup) setCheckpoint(v string) error {
	switch strings.ToLower(v) {
	case "fast":
		b.fastCheckpoint = true
	case "spread":
		b.fastCheckpoint = false
	default:
		return fail("invalid checkpoint argument %q, must be \"fast\" or \"spread\"", quoted(v))
	}
	return nil
}

func (b *baseBackup) setWALMethod(v string) error {
	switch v {
	case "n", "none":
		b.wal = basebackup.NoWAL
	case "f", "fetch":
		b.wal = basebackup.FetchWAL
	case "s", "stream":
		b.wal = basebackup.StreamWAL
	default:
		return fail("invalid wal-method option %q, must be \"fetch\", \"stream\", or \"none\"", quoted(v))
	}
	return nil
}

func (b *baseBackup) setSyncMethod(v string) error {
	switch v {
	case "fsync":
		b.syncMethod = basebackup.Fsync
	case "syncfs":
		b.syncMethod = basebackup.Syncfs
	default:
		return fail("unrecognized sync method: %s", v)
	}
	return nil
}

// addTablespace reads OLDDIR=NEWDIR, in which \= is an equals sign.
func (b *baseBackup) addTablespace(v string) error {
	sides := []string{""}
	for i := 0; i < len(v); i++ {
		last := &sides[len(sides)-1]
		switch {
		case v[i] == '\\' && i+1 < len(v) && v[i+1] == '=':
			*last += "="
			i++
		case v[i] != '=':
			*last += v[i : i+1]
		case len(sides) == 2 && *last != "":
			return fail("multiple \"=\" signs in tablespace mapping")
		case len(sides) == 1:
			sides = append(sides, "")
		}
	}
	if len(sides) < 2 || sides[0] == "" || sides[1] == "" {
		return fail("invalid tablespace mapping format %q, must be \"OLDDIR=NEWDIR\"", quoted(v))
	}
	for i, which := range []string{"old", "new"} {
		if !filepath.IsAbs(sides[i]) {
			return fail("%s directory is not an absolute path in tablespace mapping: %s", which, sides[i])
		}
	}
	b.tablespaces = append(b.tablespaces,
		basebackup.TablespaceMapping{Old: filepath.Clean(sides[0]), New: filepath.Clean(sides[1])})
	return nil
}

// runBasebackup is pg_basebackup.
func runBasebackup(p *program, args []string) error {
	b := &baseBackup{label: "pg_basebackup base backup", wal: basebackup.StreamWAL, compression: uncompressed}
	if err := p.parse(args, b.options()); err != nil {
		return err
	}
	if err := b.check(); err != nil {
		return err
	}
	info, err := b.connection.parse(p)
	if err != nil {
		return err
	}
	cli.MaskModes()
	ctx, stop := cli.WatchSignals(context.Background())
	defer stop()

	says := newNarrator(p, b)
	o := b.library(p)
	o.Logger = p.logger(b.verbose, says.translations())
	o.OnProgress = says.update
	err = cli.WithPassword(ctx, info, func(config *pgconn.Config) error {
		o.PrimaryConnInfo = info.PrimaryConnInfo(conninfo.WithDBName())
		_, err := basebackup.Run(ctx, config, o)
		return err
	})
	if err == nil {
		says.completed()
		return nil
	}
	return says.failed(b.explain(err), err)
}

// library is what the library is asked for.
func (b *baseBackup) library(p *program) basebackup.Options {
	o := basebackup.Options{
		Directory:         b.directory,
		Format:            b.format,
		Compress:          b.compress,
		Standby:           b.standby,
		Incremental:       b.incremental,
		WALDirectory:      b.walDirectory,
		Tablespaces:       b.tablespaces,
		Label:             b.label,
		FastCheckpoint:    b.fastCheckpoint,
		MaxRate:           b.maxRate,
		NoVerifyChecksums: b.noVerifyChecksums,
		NoEstimateSize:    b.noEstimateSize,
		ManifestChecksums: b.manifestChecksums,
		WAL:               b.wal,
		Slot:              b.slot,
		CreateSlot:        b.createSlot,
		NoSlot:            b.noSlot,
		NoSync:            b.noSync,
		SyncMethod:        b.syncMethod,
		NoClean:           b.noClean,
		Target:            basebackup.ClientTarget,
		ServerJudges:      true,
	}
	if !b.hasManifestChecksums {
		o.ManifestChecksums = defaultChecksums
	}
	switch {
	case b.noManifest:
		o.Manifest, o.ManifestChecksums = basebackup.WithoutManifest, ""
	case b.manifestForceEncode:
		o.Manifest = basebackup.ForceEncodeManifest
	}
	if b.hasStatusInterval {
		o.StatusInterval, _ = statusInterval(b.statusInterval) // read before
		if o.StatusInterval == 0 {
			o.StatusInterval = -1 // the library's never
		}
	}
	if b.toOutput() {
		o.Directory, o.Output = "", p.out
	}
	if b.hasTarget {
		o.Target, o.TargetDetail, o.HasTargetDetail = strings.Cut(b.target, ":")
	}
	return o
}

// defaultChecksums is what a server uses for the manifest when it is not told.
const defaultChecksums = "CRC32C"

// toOutput tells whether the backup goes to standard output.
func (b *baseBackup) toOutput() bool { return b.format == basebackup.Tar && b.directory == "-" }

// check holds the options against one another, in the order of the tool.
func (b *baseBackup) check() error {
	if b.target == basebackup.ClientTarget {
		b.hasTarget = false
	}
	toServer := b.hasTarget
	if toServer && b.format != "" {
		return usage("cannot specify both format and backup target")
	}
	if b.format == "" {
		b.format = basebackup.Plain
	}
	switch {
	case !b.hasDirectory && !toServer:
		return usage("must specify output directory or backup target")
	case b.hasDirectory && toServer:
		return usage("cannot specify both output directory and backup target")
	}
	if err := b.checkCompression(toServer); err != nil {
		return err
	}
	stream := b.wal == basebackup.StreamWAL
	switch {
	case toServer && stream:
		return usage("WAL cannot be streamed when a backup target is specified")
	case b.toOutput() && stream:
		return usage("cannot stream write-ahead logs in tar mode to stdout")
	case b.hasSlot && !stream:
		return usage("replication slots can only be used with WAL streaming")
	case b.noSlot && b.hasSlot:
		return usage("--no-slot cannot be used with slot name")
	case b.createSlot && !b.hasSlot:
		return usage("%s needs a slot to be specified using --slot", "--create-slot")
	case b.hasWALDir && toServer:
		return usage("WAL directory location cannot be specified along with a backup target")
	case b.hasWALDir && b.format != basebackup.Plain:
		return usage("WAL directory location can only be specified in plain mode")
	case b.hasWALDir && !filepath.IsAbs(b.walDirectory):
		return usage("WAL directory location must be an absolute path")
	case b.progress && b.noEstimateSize:
		return incompatible("--progress", "--no-estimate-size")
	case b.noManifest && b.hasManifestChecksums:
		return incompatible("--no-manifest", "--manifest-checksums")
	case b.noManifest && b.manifestForceEncode:
		return incompatible("--no-manifest", "--manifest-force-encode")
	}
	return b.checkNames()
}

func incompatible(one, other string) *failure {
	return usage("%s and %s are incompatible options", one, other)
}

// checkCompression decides who compresses, and reads the details where that is
// the client. A server reads them itself.
func (b *baseBackup) checkCompression(toServer bool) error {
	c := b.compression
	if c.place == compress.Anywhere {
		c.place = compress.Client
		if toServer {
			c.place = compress.Server
		}
	}
	if c.place == compress.Server {
		b.compress = "server-" + c.algorithm
		if c.detailed {
			b.compress += ":" + c.detail
		}
		return nil
	}
	asked, err := c.check()
	switch {
	case err != nil:
		return err
	case toServer:
		return usage("client-side compression is not possible when a backup target is specified")
	case b.format == basebackup.Plain && asked != "":
		return usage("only tar mode backups can be compressed")
	case asked != "":
		b.compress = "client-" + asked
	}
	return nil
}

// checkNames refuses empty names, which the library takes for none, in the words
// that the tool has for them when it comes to use them.
func (b *baseBackup) checkNames() error {
	switch {
	case b.hasDirectory && b.directory == "":
		return fail("could not create directory %q: %s", quoted(""), systemError(syscall.ENOENT))
	case b.hasSlot && b.slot == "" && b.createSlot:
		return fail("could not send replication command %q: ERROR:  replication slot name %q is too short", quoted(createEmptySlot), quoted(""))
	case b.hasSlot && b.slot == "":
		return &failure{
			text: fmt.Sprintf("could not send replication command %q: ERROR:  replication slot %q does not exist", quoted(startReplication), quoted("")),
			also: receiverEnded,
		}
	}
	return nil
}

// createEmptySlot is the command for a slot without a name.
const createEmptySlot = `CREATE_REPLICATION_SLOT "" PHYSICAL ( RESERVE_WAL)`
