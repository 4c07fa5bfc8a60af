package basebackup

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"github.com/pgbraid/pgbraid/basebackup/manifest"
	"github.com/pgbraid/pgbraid/internal/compress"
	"github.com/pgbraid/pgbraid/internal/durable"
	"github.com/pgbraid/pgbraid/internal/progress"
)

// Format of a backup.
type Format string

// The formats. The zero value is Plain.
const (
	// Plain puts the files where a server would find them.
	Plain Format = "plain"
	// Tar keeps an archive for the data directory and for each tablespace.
	Tar Format = "tar"
)

// WALMethod is how the write-ahead log that makes a backup consistent gets
// into it.
type WALMethod string

// The methods. The zero value is StreamWAL.
const (
	// StreamWAL takes it over a connection of its own, beside the backup.
	StreamWAL WALMethod = "stream"
	// FetchWAL has the server put it behind the data, at the backup's end.
	FetchWAL WALMethod = "fetch"
	// NoWAL leaves it out: it must come from an archive.
	NoWAL WALMethod = "none"
)

// ManifestMode says whether there is a manifest (13 and later), and how paths
// are written in it.
type ManifestMode string

// The modes. The zero value is WithManifest.
const (
	WithManifest        ManifestMode = "yes"
	WithoutManifest     ManifestMode = "no"
	ForceEncodeManifest ManifestMode = "force-encode"
)

// SyncMethod is how a plain or tar backup is made durable.
type SyncMethod string

// The methods. The zero value is Fsync.
const (
	// Fsync syncs each file and each directory.
	Fsync SyncMethod = "fsync"
	// Syncfs syncs whole file systems at the end (Linux only).
	Syncfs SyncMethod = "syncfs"
)

// Where a backup goes. The zero value is ClientTarget. The others need release
// 15, and leave nothing on this side.
const (
	ClientTarget    = "client"
	ServerTarget    = "server"
	BlackholeTarget = "blackhole"
)

// Options of a run. Directory, Output or a Target must be given.
type Options struct {
	// Directory to fill. It must not exist or be empty.
	Directory string
	// Output gets the only archive of a Tar backup, with the manifest in it,
	// in the place of Directory.
	Output io.Writer
	// Target is ClientTarget, ServerTarget, BlackholeTarget, or one that an
	// extension of the server knows.
	Target string
	// TargetDetail is the directory on the server for ServerTarget.
	TargetDetail string
	// HasTargetDetail tells that there is a TargetDetail, be it empty.
	HasTargetDetail bool

	// Format of what goes to Directory. Output takes Tar only.
	Format Format
	// Compress is how archives are compressed: METHOD[:DETAIL], behind it
	// client- or server- where it matters who does it; METHOD is none, gzip,
	// lz4 or zstd, DETAIL a level or a list of level=N, workers=N and long.
	// The client compresses only Tar; Plain from a server that compresses is
	// decompressed on the way in. pg_wal.tar is compressed as the client is
	// asked to. Without a number of workers the client uses all processors.
	Compress string
	// Standby makes the backup one that starts as a standby of the server.
	Standby bool
	// Incremental is the path of the manifest of an earlier backup (17 and
	// later): only what has changed since is sent.
	Incremental string

	// WALDirectory is an absolute path to put the log in, which pg_wal is
	// then a link to. It must not exist or be empty. Plain only.
	WALDirectory string
	// Tablespaces that are to lie elsewhere than on the server. Plain only.
	Tablespaces []TablespaceMapping

	// Label of the backup, at most 1024 bytes.
	Label string
	// FastCheckpoint asks the server to make the checkpoint that the backup
	// begins with at once; otherwise it spreads it over minutes.
	FastCheckpoint bool
	// MaxRate limits the base backup, in kB a second: 32 to 1048576, or 0 for
	// no limit. The log is not limited.
	MaxRate int
	// NoVerifyChecksums keeps the server (11 and later) from checking the
	// checksums of the pages that it reads.
	NoVerifyChecksums bool
	// NoEstimateSize keeps the server from adding up the size of all files
	// first: the progress has no total then.
	NoEstimateSize bool
	// Manifest says whether there is one.
	Manifest ManifestMode
	// ManifestChecksums is the algorithm for the manifest (13 and later):
	// NONE, CRC32C, SHA224, SHA256, SHA384 or SHA512. Empty is CRC32C.
	ManifestChecksums string

	// WAL is how the log gets into the backup.
	WAL WALMethod
	// Slot is the name of a permanent physical slot for the log stream and
	// for the standby afterwards. Without it a temporary one is used.
	Slot string
	// CreateSlot makes Slot, and drops it again if the run fails.
	CreateSlot bool
	// NoSlot streams without a slot: WAL is kept for it only as
	// wal_keep_size has it.
	NoSlot bool
	// StatusInterval is how often the server is told how far the log was
	// received: 0 is every 10 s, less is never.
	StatusInterval time.Duration
	// Patience is how long a lost log connection is tried to be made again
	// before the run fails: 0 is 5 minutes, less is not at all.
	Patience time.Duration

	// SilenceLimit is after how long without a byte from the server a
	// connection counts as lost, once data flows: 0 is 5 minutes for the base
	// backup and 1 minute for the log, less is never. While the server makes
	// its checkpoint, waits for its archiver or keeps the backup on its side,
	// it may be silent for as long as it likes: then a dead peer is noticed by
	// the keepalives of the TCP connection.
	SilenceLimit time.Duration

	// PrimaryConnInfo is how the standby connects to its primary, in libpq's
	// form. Without it the hosts, the port and the user of the configuration
	// are put there.
	PrimaryConnInfo string

	// NoSync leaves out every fsync. A crash of the machine may then damage
	// the directory unnoticed.
	NoSync bool
	// SyncMethod is how the backup is made durable.
	SyncMethod SyncMethod
	// NoDirectIO writes long files through the page cache, where they are
	// found again soon, also where the file system could do without. NoSync
	// implies it.
	NoDirectIO bool
	// NoClean leaves what was made where it is after a failure.
	NoClean bool

	// ServerJudges leaves to the server what it can find wrong by itself: a
	// method of compression, an algorithm for the manifest, a label and a
	// target are sent as they are written, so that Target and ManifestChecksums
	// must be given. What can be found wrong here is looked at in the order of
	// pg_basebackup: the directories once the server answers, and what its
	// release cannot do after they were made. Otherwise mistakes are found
	// before anything is connected to or made.
	ServerJudges bool

	// Logger gets what happens; nil discards it.
	Logger *slog.Logger
	// OnProgress, if set, is called about five times a second and whenever
	// the phase changes, from one goroutine at a time. It should return soon.
	OnProgress func(Progress)

	// What complete makes of the texts above.
	checksums         manifest.Algorithm
	clientCompression compress.Spec
	serverCompression compress.Request
	// unknown is what the server has to refuse, since nothing here could read
	// what comes: nil is nothing.
	unknown error
}

// Progress is the state of a run at one moment.
type Progress = progress.Snapshot

const (
	defaultStatusInterval = 10 * time.Second
	defaultPatience       = 5 * time.Minute
	defaultSilenceLimit   = 5 * time.Minute

	minRate, maxRate = 32, 1 << 20
	maxLabel         = 1024
)

// Check tells what is wrong with the options, as Run would before it does
// anything.
func (o Options) Check() error { return o.complete() }

// toServer tells whether the backup stays on the server's side.
func (o *Options) toServer() bool { return o.Target != ClientTarget }

// complete checks the options and puts the defaults in.
func (o *Options) complete() error {
	o.setDefaults()
	if err := o.checkValues(); err != nil {
		return err
	}
	if err := o.parseCompress(); err != nil {
		return err
	}
	if err := o.checkDestination(); err != nil {
		return err
	}
	if err := o.checkLog(); err != nil {
		return err
	}
	var err error
	// The links to tablespaces below it must be absolute.
	if o.Directory != "" {
		if o.Directory, err = filepath.Abs(o.Directory); err != nil {
			return err
		}
	}
	if o.WALDirectory != "" {
		o.WALDirectory = filepath.Clean(o.WALDirectory)
		if o.WALDirectory == o.Directory {
			return errors.New("WAL directory is the data directory")
		}
	}
	return o.parseChecksums()
}

// parseChecksums reads the algorithm for the manifest.
func (o *Options) parseChecksums() (err error) {
	o.checksums = defaultChecksums
	if o.Manifest == WithoutManifest || o.ManifestChecksums == "" && !o.ServerJudges {
		return nil
	}
	if o.checksums, err = manifest.ParseAlgorithm(o.ManifestChecksums); err != nil && o.ServerJudges {
		o.unknown = err
		return nil
	}
	return err
}

func (o *Options) setDefaults() {
	if !o.ServerJudges {
		setDefault(&o.Target, ClientTarget)
	}
	setDefault(&o.Format, Plain)
	setDefault(&o.Manifest, WithManifest)
	setDefault(&o.SyncMethod, Fsync)
	setDefault(&o.WAL, StreamWAL)
	switch {
	case o.StatusInterval == 0:
		o.StatusInterval = defaultStatusInterval
	case o.StatusInterval < 0:
		o.StatusInterval = 0
	}
	if o.Patience == 0 {
		o.Patience = defaultPatience
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

func setDefault[T ~string](field *T, value T) {
	if *field == "" {
		*field = value
	}
}

// checkValues holds each option alone against what it can be.
func (o *Options) checkValues() error {
	switch {
	case !slices.Contains([]Format{Plain, Tar}, o.Format):
		return fmt.Errorf("invalid output format %q, must be \"plain\" or \"tar\"", o.Format)
	case !slices.Contains([]WALMethod{StreamWAL, FetchWAL, NoWAL}, o.WAL):
		return fmt.Errorf("invalid WAL method %q, must be \"fetch\", \"stream\" or \"none\"", o.WAL)
	case !slices.Contains([]ManifestMode{WithManifest, WithoutManifest, ForceEncodeManifest}, o.Manifest):
		return fmt.Errorf("invalid manifest mode %q", o.Manifest)
	case !slices.Contains([]SyncMethod{Fsync, Syncfs}, o.SyncMethod):
		return fmt.Errorf("unrecognized sync method: %q", o.SyncMethod)
	case o.SyncMethod == Syncfs && !durable.HasSyncFS:
		return errors.New("this system does not support sync method \"syncfs\"")
	case o.MaxRate != 0 && (o.MaxRate < minRate || o.MaxRate > maxRate):
		return fmt.Errorf("transfer rate of %d kB a second is out of range: %d to %d", o.MaxRate, minRate, maxRate)
	case len(o.Label) > maxLabel && !o.ServerJudges:
		return fmt.Errorf("backup label is too long: %d bytes of at most %d", len(o.Label), maxLabel)
	case o.WALDirectory != "" && !filepath.IsAbs(o.WALDirectory):
		return fmt.Errorf("WAL directory %q is not an absolute path", o.WALDirectory)
	case o.Manifest == WithoutManifest && o.ManifestChecksums != "":
		return errors.New("manifest checksums need a manifest")
	}
	return nil
}

// parseCompress decides who compresses.
func (o *Options) parseCompress() error {
	if o.Compress == "" {
		return nil
	}
	r, err := compress.ParseRequest(o.Compress)
	byServer := r.Place == compress.Server || r.Place == compress.Anywhere && o.toServer()
	switch {
	case err != nil && byServer && o.ServerJudges:
		o.unknown = err
	case err != nil:
		return err
	}
	if byServer {
		r.Place = compress.Server
		o.serverCompression = r
		return nil
	}
	o.clientCompression, err = r.Spec()
	return err
}

var errStandbyElsewhere = errors.New("recovery configuration cannot be written when a backup target is used")

// ErrCompressedOutput says that an archive for Output would come compressed from
// the server, and the manifest could not be put into it.
var ErrCompressedOutput = errors.New("the manifest cannot be put into an archive that the server compresses: leave it out, or have the client compress")

// checkDestination holds what goes where against what can go there.
func (o *Options) checkDestination() error {
	places := 0
	for _, given := range []bool{o.Directory != "", o.Output != nil, o.toServer()} {
		if given {
			places++
		}
	}
	switch {
	case places == 0:
		return errors.New("no directory given")
	case places > 1:
		return errors.New("a backup goes to one place: a directory, an output or a target")
	case o.toServer() && o.clientCompression.Method != compress.None:
		return errors.New("a backup target cannot be compressed by the client")
	case o.toServer() && o.Standby && !o.ServerJudges:
		return errStandbyElsewhere
	case o.Output != nil && o.Format != Tar:
		return errors.New("only a tar backup can go to an output")
	case o.Output != nil && o.serverCompression.Method != compress.None && o.Manifest != WithoutManifest && !o.ServerJudges:
		return ErrCompressedOutput
	case o.Format == Plain && o.clientCompression.Method != compress.None:
		return errors.New("only tar backups can be compressed by the client")
	case o.WALDirectory != "" && (o.Format != Plain || o.toServer()):
		return errors.New("a WAL directory can only be used with a plain backup")
	}
	return nil
}

// checkLog holds the options of the log against one another.
func (o *Options) checkLog() error {
	switch {
	case o.WAL == StreamWAL && o.Output != nil:
		return errors.New("the log cannot be streamed when the backup goes to an output: fetch it, or leave it out")
	case o.WAL == StreamWAL && o.toServer():
		return errors.New("the log cannot be streamed when a backup target is used: fetch it, or leave it out")
	case o.Slot != "" && o.WAL != StreamWAL:
		return errors.New("replication slots can only be used when the log is streamed")
	case o.CreateSlot && o.Slot == "":
		return errors.New("a slot that is to be created needs a name")
	case o.NoSlot && (o.Slot != "" || o.CreateSlot):
		return errors.New("a slot cannot be both used and not used")
	}
	return nil
}
