package basebackup

import (
	"sync"
	"sync/atomic"
	"time"

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
	if r := b.follower.Load(); r != nil {
		status := r.Status()
		s.WALState = string(status.State)
		s.WALTimeline, s.WALPosition = uint32(status.Written.Timeline), uint64(status.Written.LSN)
	}
	return *s
}

// countingSink counts the archives as they begin.
type countingSink struct {
	archiveSink
	begun *atomic.Int32
}

func (c *countingSink) beginArchive(t *Tablespace) error {
	c.begun.Add(1)
	return c.archiveSink.beginArchive(t)
}
