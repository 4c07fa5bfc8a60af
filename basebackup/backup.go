// Package basebackup copies a running PostgreSQL cluster over the replication
// protocol, and beside the copy keeps the write-ahead log that makes it
// consistent:
//
//	result, err := basebackup.Run(ctx, config, basebackup.Options{Directory: "/srv/standby"})
//
// What Run guarantees: when it returns without an error, the directory holds a
// whole cluster, durable (unless Options.NoSync), whose files agree with the
// server's manifest (release 13 and later), with all WAL up to the end of the
// backup. When it returns an error, what it made is removed (unless
// Options.NoClean). When the process is killed, the directory has neither
// backup_manifest nor global/pg_control, and no server starts in it.
package basebackup

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pgbraid/pgbraid/internal/durable"
	"github.com/pgbraid/pgbraid/internal/pgdata"
	"github.com/pgbraid/pgbraid/internal/replconn"
	"github.com/pgbraid/pgbraid/logstream"
	"golang.org/x/sync/errgroup"
)

// Result tells what a run made.
type Result struct {
	Directory        string
	SystemIdentifier uint64
	ServerVersion    int // such as 150018 for 15.18
	Start, End       logstream.Position
	WALDirectory     string // where pg_wal leads to, "" if nowhere
	Tablespaces      []*Tablespace
	Bytes            int64 // of archives, as received
	WALBytes         int64 // of log, as received
	Slot             string
	Duration         time.Duration
}

// Directories are all directories that hold something of the cluster: the data
// directory, the WAL directory and those of tablespaces.
func (r *Result) Directories() []string {
	dirs := []string{r.Directory}
	if r.WALDirectory != "" {
		dirs = append(dirs, r.WALDirectory)
	}
	for _, t := range r.Tablespaces {
		if !t.base() && !t.inPlace() && filepath.Dir(t.Path) != r.Directory {
			dirs = append(dirs, t.Path)
		}
	}
	return dirs
}

// backup is one run.
type backup struct {
	config  *pgconn.Config
	options Options
	log     *slog.Logger
	started time.Time

	destination destination
	conn        *replconn.Conn
	server      logstream.Server
	primary     string                // how the standby connects
	claims      []*pgdata.Claim       // of the directories that are filled
	fileSystems []*durable.FileSystem // that are synced completely
	walDir      string                // of a plain directory
	receiver    *logstream.Receiver   // nil: the WAL is not streamed

	tablespaces []*Tablespace
	start, end  logstream.Position
	sink        sink
	members     *memberCheck // nil: there is no manifest

	// What the progress is made of.
	reporter *reporter
	wire     atomic.Int64 // bytes of archives, as they came
	received atomic.Int64 // the same, before the server compressed them
	total    atomic.Int64 // the same, as the server estimates it
	begun    atomic.Int32 // archives
	count    atomic.Int32 // tablespaces, the data directory among them
	follower atomic.Pointer[logstream.Receiver]
	writing  atomic.Pointer[sink]
}

// Run takes a base backup of the cluster that config leads to. config must be
// one of a physical replication connection (runtime parameter
// replication=true).
//
// Errors that a caller may look for with errors.As: *NotEmptyError, *InUseError,
// *logstream.WALMissingError, *manifest.MismatchError, *pgconn.PgError. The
// end of ctx gives its cause.
func Run(ctx context.Context, config *pgconn.Config, o Options) (_ *Result, err error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	b := &backup{config: config, options: o, log: o.Logger, started: time.Now()}
	b.destination = b.chooseDestination()
	if !o.ServerJudges {
		if err := b.destination.check(); err != nil {
			return nil, err
		}
	}
	stopReporting := b.reportProgress()
	defer stopReporting()
	defer func() {
		if b.conn != nil {
			_ = b.conn.Close() // nothing is expected of it any more
		}
		if e := b.destination.close(); err == nil {
			err = e
		}
		b.closeFileSystems()
		if err != nil {
			b.undo()
		}
		b.release()
	}()

	if err := b.connect(ctx); err != nil {
		return nil, err
	}
	ready := []func() error{b.checkServer, b.destination.prepare}
	if o.ServerJudges {
		slices.Reverse(ready)
	}
	for _, do := range ready {
		if err := do(); err != nil {
			return nil, err
		}
	}
	if err := b.prepareLog(ctx); err != nil {
		return nil, err
	}
	if err := b.begin(ctx); err != nil {
		b.closeReceiver()
		return nil, err
	}
	if err := b.receive(ctx); err != nil {
		return nil, err
	}
	if err := b.checkManifest(); err != nil {
		return nil, err
	}
	if err := b.destination.finish(ctx); err != nil {
		return nil, err
	}
	b.setPhase(phaseDone)
	return b.result(), nil
}

// begin sends BASE_BACKUP and reads up to where the archives begin. The first
// answer comes when the server has made its checkpoint.
func (b *backup) begin(ctx context.Context) error {
	if err := b.uploadManifest(ctx); err != nil {
		return err
	}
	b.conn.ExpectBulk()
	defer b.conn.Watch(ctx)()
	b.setPhase(phaseCheckpoint)
	b.log.Debug("initiating base backup, waiting for checkpoint to complete")
	if err := b.conn.Send(command(b.server.Version, &b.options)); err != nil {
		return err
	}
	result, err := b.conn.ReadResult()
	if err != nil {
		if ctx.Err() != nil {
			b.cancel()
		}
		return fmt.Errorf("initiating base backup: %w", err)
	}
	if b.start, err = readPosition(result); err != nil {
		return fmt.Errorf("start position: %w", err)
	}
	b.log.Debug("checkpoint completed", "start", b.start.LSN.String(), "timeline", b.start.Timeline)
	if result, err = b.conn.ReadResult(); err != nil {
		return fmt.Errorf("list of tablespaces: %w", err)
	}
	if b.tablespaces, err = readTablespaces(result); err != nil {
		return fmt.Errorf("list of tablespaces: %w", err)
	}
	for _, t := range b.tablespaces {
		b.total.Add(t.Size)
	}
	b.count.Store(int32(len(b.tablespaces)))
	if b.options.unknown != nil && !b.options.toServer() {
		return b.options.unknown // the server knows it, but what it sends cannot be read
	}
	return b.destination.place()
}

// cancelTimeout is how long asking the server to end the command may take.
const cancelTimeout = 3 * time.Second

// cancel tells a server that is making its checkpoint that nobody waits for it.
func (b *backup) cancel() {
	ctx, done := context.WithTimeout(context.Background(), cancelTimeout)
	defer done()
	if err := b.conn.Cancel(ctx); err != nil {
		b.log.Debug("could not cancel the command on the server", "error", err)
	}
}

// receive takes the archives, and beside them the log from the start position
// to the end position that comes behind the archives. A failure of either ends
// the other.
func (b *backup) receive(ctx context.Context) (err error) {
	if b.options.Manifest != WithoutManifest && !b.options.toServer() {
		b.members = newMemberCheck(b.options.checksums, b.options.WAL == FetchWAL)
	}
	if b.sink, err = b.destination.open(); err != nil {
		b.closeReceiver()
		return err
	}
	b.writing.Store(&b.sink)
	group, ctx := errgroup.WithContext(ctx)
	if b.receiver != nil {
		group.Go(func() error {
			if err := b.receiver.Run(ctx, b.start); err != nil {
				return fmt.Errorf("log stream: %w", err)
			}
			return nil
		})
	}
	group.Go(func() error {
		if err := b.receiveBase(ctx); err != nil {
			return fmt.Errorf("base backup: %w", err)
		}
		if b.receiver != nil {
			b.setPhase(phaseLog)
			b.receiver.StopAt(b.end)
		}
		return nil
	})
	err = group.Wait()
	if e := b.sink.close(); err == nil {
		err = e
	}
	return err
}

// closeReceiver lets go of a log stream that was prepared and does not run.
func (b *backup) closeReceiver() {
	if b.receiver != nil {
		b.receiver.Close()
	}
}

// receiveBase reads the archives, the manifest and the end position.
func (b *backup) receiveBase(ctx context.Context) error {
	defer b.conn.Watch(ctx)()
	b.setPhase(phaseCopy)
	defer b.limitSilence()()
	err := receiveArchives(b.conn, announced{
		version:     b.server.Version,
		tablespaces: b.tablespaces,
		suffix:      b.options.serverCompression.Method.Suffix(),
		manifest:    b.options.Manifest != WithoutManifest,
		ended:       b.awaitArchiver,
	}, &countingSink{b.sink, b})
	if err != nil {
		return err
	}
	if err := b.sink.end(); err != nil {
		return err
	}
	result, err := b.conn.ReadResult()
	if err != nil {
		return fmt.Errorf("end of the backup: %w", err)
	}
	b.awaitArchiver(false)
	if b.end, err = readPosition(result); err != nil {
		return fmt.Errorf("end position: %w", err)
	}
	if b.end.LSN < b.start.LSN || b.end.Timeline < b.start.Timeline {
		return fmt.Errorf("%w: backup ends at %s, before its start at %s", replconn.ErrMalformed, b.end, b.start)
	}
	b.log.Debug("write-ahead log end point", "end", b.end.LSN.String(), "timeline", b.end.Timeline)
	// The server reports pages with wrong checksums last of all.
	if err := b.conn.Drain(); err != nil {
		return fmt.Errorf("end of the answer: %w", err)
	}
	return nil
}

// result sums the run up.
func (b *backup) result() *Result {
	r := &Result{
		Directory:        b.options.Directory,
		SystemIdentifier: b.server.SystemIdentifier,
		ServerVersion:    b.server.Version,
		Start:            b.start,
		End:              b.end,
		WALDirectory:     b.options.WALDirectory,
		Tablespaces:      b.tablespaces,
		Bytes:            b.wire.Load(),
		Slot:             b.options.Slot,
		Duration:         time.Since(b.started),
	}
	if b.receiver != nil {
		r.WALBytes = b.receiver.Status().Received
	}
	return r
}

// undoTimeout is how long dropping a slot may take after a failure.
const undoTimeout = 10 * time.Second

// undo takes back what a failed run made: the slot on the server and the files
// here.
func (b *backup) undo() {
	if b.receiver != nil && b.receiver.SlotCreated() {
		ctx, done := context.WithTimeout(context.Background(), undoTimeout)
		defer done()
		if err := b.dropSlot(ctx); err != nil {
			b.log.Warn("the replication slot that was created could not be dropped; it holds back WAL on the server until it is",
				"slot", b.options.Slot, "error", err)
		}
	}
	b.removeFiles()
}

// dropSlot drops the slot that was created. The walsenders of this run may take
// a moment to notice that they lost their client: until then the slot is in use,
// and there may be no walsender to be had.
func (b *backup) dropSlot(ctx context.Context) error {
	for {
		err := b.tryDropSlot(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (b *backup) tryDropSlot(ctx context.Context) error {
	c, err := replconn.Connect(ctx, b.config)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // nothing is expected of it any more
	return logstream.DropSlot(ctx, c, b.options.Slot)
}
