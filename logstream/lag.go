package logstream

import (
	"math"
	"time"
)

// lag remembers when the server was first seen to have WAL that has not
// reached some point here, such as the disk. It keeps few samples: those that
// are close in time become one, with the earlier time, so that what it says is
// never too short.
type lag struct {
	samples [maxLagSamples]lagSample // the oldest first, ends ascending
	n       int
}

// lagSample says that the server's WAL was seen to end at end or before it,
// behind the sample before, at the time at.
type lagSample struct {
	end LSN
	at  time.Time
}

const (
	maxLagSamples = 64
	lagGranule    = 100 * time.Millisecond
)

// ahead says where the server's WAL ends.
func (l *lag) ahead(end LSN, at time.Time) {
	if l.n > 0 {
		last := &l.samples[l.n-1]
		if end <= last.end {
			return
		}
		if at.Sub(last.at) < lagGranule {
			last.end = end
			return
		}
	}
	if l.n == maxLagSamples {
		l.thin(at)
	}
	l.samples[l.n] = lagSample{end, at}
	l.n++
}

// thin joins the two neighbours of which that is the least loss: what counts
// is how long they last against how old they are.
func (l *lag) thin(now time.Time) {
	best, least := 0, math.Inf(1)
	for i := range l.n - 2 {
		next := l.samples[i+2].at
		if loss := float64(next.Sub(l.samples[i].at)) / float64(now.Sub(next)); loss < least {
			best, least = i, loss
		}
	}
	l.samples[best].end = l.samples[best+1].end
	l.n = best + 1 + copy(l.samples[best+1:], l.samples[best+2:l.n])
}

// reached says how far the WAL came.
func (l *lag) reached(p LSN) {
	passed := 0
	for passed < l.n && l.samples[passed].end <= p {
		passed++
	}
	if passed > 0 {
		l.n = copy(l.samples[:], l.samples[passed:l.n])
	}
}

// cut says that the server has no WAL behind end, whatever another one had.
func (l *lag) cut(end LSN) {
	for i := range l.n {
		l.samples[i].end = min(l.samples[i].end, end)
	}
}

// since is when the oldest WAL was seen that is still behind, zero if none is.
func (l *lag) since() time.Time {
	if l.n == 0 {
		return time.Time{}
	}
	return l.samples[0].at
}
