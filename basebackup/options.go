package basebackup

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/pgbraid/pgbraid/basebackup/manifest"
	"github.com/pgbraid/pgbraid/internal/progress"
)

// Options of a run. Only Directory must be given.
type Options struct {
	// Directory to fill. It must not exist or be empty.
	Directory string
	// WALDirectory is an absolute path to put the log in, which pg_wal is
	// then a link to. It must not exist or be empty.
	WALDirectory string
	// Tablespaces that are to lie elsewhere than on the server.
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
	// ManifestChecksums is the algorithm for the manifest (13 and later):
	// NONE, CRC32C, SHA224, SHA256, SHA384 or SHA512. Empty is CRC32C.
	ManifestChecksums string

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

	// PrimaryConnInfo is how the standby connects to its primary, in libpq's
	// form. Without it the hosts, the port and the user of the configuration
	// are put there.
	PrimaryConnInfo string

	// NoSync leaves out every fsync. A crash of the machine may then damage
	// the directory unnoticed.
	NoSync bool
	// NoClean leaves what was made where it is after a failure.
	NoClean bool

	// Logger gets what happens; nil discards it.
	Logger *slog.Logger
	// OnProgress, if set, is called about five times a second and whenever
	// the phase changes, from one goroutine at a time. It should return soon.
	OnProgress func(Progress)

	checksums manifest.Algorithm
}

// Progress is the state of a run at one moment.
type Progress = progress.Snapshot

const (
	defaultStatusInterval = 10 * time.Second
	defaultPatience       = 5 * time.Minute

	minRate, maxRate = 32, 1 << 20
	maxLabel         = 1024
)

// Check tells what is wrong with the options, as Run would before it does
// anything.
func (o Options) Check() error { return o.complete() }

// complete checks the options and puts the defaults in.
func (o *Options) complete() error {
	if o.Directory == "" {
		return errors.New("no directory given")
	}
	var err error
	// The links to tablespaces below it must be absolute.
	if o.Directory, err = filepath.Abs(o.Directory); err != nil {
		return err
	}
	switch {
	case o.WALDirectory != "" && !filepath.IsAbs(o.WALDirectory):
		return fmt.Errorf("WAL directory %q is not an absolute path", o.WALDirectory)
	case o.WALDirectory != "" && filepath.Clean(o.WALDirectory) == o.Directory:
		return errors.New("WAL directory is the data directory")
	case o.CreateSlot && o.Slot == "":
		return errors.New("a slot that is to be created needs a name")
	case o.NoSlot && (o.Slot != "" || o.CreateSlot):
		return errors.New("a slot cannot be both used and not used")
	case o.MaxRate != 0 && (o.MaxRate < minRate || o.MaxRate > maxRate):
		return fmt.Errorf("transfer rate of %d kB a second is out of range: %d to %d", o.MaxRate, minRate, maxRate)
	case len(o.Label) > maxLabel:
		return fmt.Errorf("backup label is too long: %d bytes of at most %d", len(o.Label), maxLabel)
	}
	if o.WALDirectory != "" {
		o.WALDirectory = filepath.Clean(o.WALDirectory)
	}
	o.checksums = defaultChecksums
	if o.ManifestChecksums != "" {
		if o.checksums, err = manifest.ParseAlgorithm(o.ManifestChecksums); err != nil {
			return err
		}
	}
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
	return nil
}
