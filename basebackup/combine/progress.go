package combine

import (
	"sync"
	"time"

	"github.com/pgbraid/pgbraid/internal/progress"
)

// reportEvery is how often OnProgress is called.
const reportEvery = 200 * time.Millisecond

// reporter holds what is reported apart from counters.
type reporter struct {
	mu      sync.Mutex
	phase   progress.Phase
	since   time.Time
	total   int64
	changed chan struct{}
}

// report starts calling OnProgress. The function returned ends that, after a
// last call.
func (r *run) report() (stop func()) {
	r.reporter.since = r.started
	r.reporter.changed = make(chan struct{}, 1)
	if r.options.OnProgress == nil {
		return func() {}
	}
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(reportEvery)
		defer tick.Stop()
		for {
			select {
			case <-done:
				r.options.OnProgress(r.snapshot())
				return
			case <-tick.C:
			case <-r.reporter.changed:
			}
			r.options.OnProgress(r.snapshot())
		}
	})
	return func() {
		close(done)
		running.Wait()
	}
}

func (r *run) setPhase(p progress.Phase) {
	r.reporter.mu.Lock()
	r.reporter.phase, r.reporter.since = p, time.Now()
	r.reporter.mu.Unlock()
	select {
	case r.reporter.changed <- struct{}{}:
	default:
	}
}

func (r *run) setTotal(bytes int64) {
	r.reporter.mu.Lock()
	r.reporter.total = bytes
	r.reporter.mu.Unlock()
}

func (r *run) snapshot() Progress {
	r.reporter.mu.Lock()
	defer r.reporter.mu.Unlock()
	return Progress{
		Phase:        r.reporter.phase,
		Started:      r.started,
		PhaseStarted: r.reporter.since,
		Done:         r.done.Load(),
		Total:        r.reporter.total,
	}
}
