package basebackup

import (
	"sync"
	"time"

	"github.com/pgbraid/pgbraid/internal/compress"
	"github.com/pgbraid/pgbraid/internal/progress"
)

// The phases of a run, in their order.
const (
	phaseConnecting = progress.Connecting
	phaseCheckpoint = progress.WaitingForCheckpoint
	phaseCopy       = progress.Copying
	phaseLog        = progress.FinishingWAL
	phaseManifest   = progress.CheckingManifest
	phaseSync       = progress.Syncing
	phaseDone       = progress.Done
)

// reportEvery is how often OnProgress is called.
const reportEvery = 200 * time.Millisecond

// reporter calls OnProgress from a goroutine of its own, so that the streams
// only count.
type reporter struct {
	mu       sync.Mutex
	snapshot progress.Snapshot
	changed  chan struct{}
}

// reportProgress starts calling OnProgress. The function returned ends that,
// after a last call.
func (b *backup) reportProgress() (stop func()) {
	if b.options.OnProgress == nil {
		return func() {}
	}
	b.reporter = &reporter{changed: make(chan struct{}, 1)}
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(reportEvery)
		defer tick.Stop()
		for {
			select {
			case <-done:
				b.options.OnProgress(b.progress())
				return
			case <-tick.C:
			case <-b.reporter.changed:
			}
			b.options.OnProgress(b.progress())
		}
	})
	return func() {
		close(done)
		running.Wait()
	}
}

// setPhase notes what the run does now.
func (b *backup) setPhase(p progress.Phase) {
	r := b.reporter
	if r == nil {
		return
	}
	r.mu.Lock()
	r.snapshot.Phase, r.snapshot.PhaseStarted = p, time.Now()
	r.mu.Unlock()
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// progress is the present state.
func (b *backup) progress() Progress {
	b.reporter.mu.Lock()
	defer b.reporter.mu.Unlock()
	s := &b.reporter.snapshot
	s.Started = b.started
	s.Done, s.Total = b.received.Load(), b.total.Load()
	s.Tablespace, s.Tablespaces = int(b.begun.Load()), int(b.count.Load())
	s.CheckpointFast = b.options.FastCheckpoint
	if w := b.writing.Load(); w != nil {
		s.File = (*w).lastFile()
	}
	if r := b.follower.Load(); r != nil {
		status := r.Status()
		s.WALState = string(status.State)
		s.WALTimeline, s.WALPosition = uint32(status.Written.Timeline), uint64(status.Written.LSN)
	}
	return *s
}

// countingSink counts what comes.
type countingSink struct {
	archiveSink
	b *backup
}

func (c *countingSink) beginArchive(t *Tablespace) error {
	c.b.begun.Add(1)
	return c.archiveSink.beginArchive(t)
}

func (c *countingSink) archiveData(p []byte) error {
	n := int64(len(p))
	c.b.wire.Add(n)
	if !c.b.serverCounts() {
		c.b.received.Add(n)
	}
	return c.archiveSink.archiveData(p)
}

func (c *countingSink) serverProgress(done int64) {
	if c.b.serverCounts() {
		c.b.received.Store(done)
	}
	c.archiveSink.serverProgress(done)
}

// serverCounts tells whether only the server knows how far the backup is.
func (b *backup) serverCounts() bool {
	return b.options.toServer() || b.options.serverCompression.Method != compress.None
}
