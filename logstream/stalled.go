package logstream

import (
	"time"

	"github.com/pgbraid/pgbraid/internal/replconn"
)

// unlimitedStep is how long a step of connecting may take where neither
// connecting nor silence has a limit.
const unlimitedStep = 2 * time.Minute

// stepLimit is how long connecting to one server, or asking it who it is, may
// take: several questions, each of which has the silence limit.
func (r *Receiver) stepLimit() time.Duration {
	limit := max(r.config.ConnectTimeout, 2*r.options.silenceLimit())
	if r.options.silenceLimit() == 0 || limit == 0 {
		return max(limit, unlimitedStep)
	}
	return limit
}

// stalled is Status.Stalled. It needs the mutex.
func (r *Receiver) stalled(now time.Time) time.Duration {
	var longest time.Duration
	if f := r.feedback; f != nil {
		if since := f.busySince.Load(); since != 0 {
			longest = time.Duration(replconn.Monotonic() - since)
		}
	}
	if r.durable != nil {
		longest = max(longest, r.durable.busyFor(now))
	}
	switch r.status.State {
	case Connecting, Identifying, TimelineEnd:
		if !r.stepBegun.IsZero() {
			longest = max(longest, now.Sub(r.stepBegun)-r.stepLimit())
		}
	}
	return max(longest, 0)
}
