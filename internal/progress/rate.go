package progress

import "time"

const (
	// rateWindow is how far back the rate looks: long enough to be steady
	// across a server's pauses between files, short enough to show a stall.
	rateWindow = 10 * time.Second
	// rateMinimum is the shortest time that gives a rate worth showing.
	rateMinimum = time.Second
	// rateSpacing bounds the samples that are kept, however often Update is
	// called.
	rateSpacing = 250 * time.Millisecond
	// longestETA is where a time left stops being information.
	longestETA = 99 * 24 * time.Hour
)

type sample struct {
	at   time.Time
	done int64
}

// meter measures bytes per second over a recent window.
type meter struct {
	samples []sample
	last    sample
}

func (m *meter) reset() {
	m.samples = m.samples[:0]
}

// add notes that done bytes were there at that time. A count that went back
// begins anew, since it belongs to another attempt.
func (m *meter) add(at time.Time, done int64) {
	if len(m.samples) > 0 && (done < m.last.done || at.Before(m.last.at)) {
		m.reset()
	}
	m.last = sample{at, done}
	if n := len(m.samples); n == 0 || at.Sub(m.samples[n-1].at) >= rateSpacing {
		m.samples = append(m.samples, m.last)
	}
	// The newest sample at or before the window's edge stays as its start.
	drop := 0
	for drop+1 < len(m.samples) && at.Sub(m.samples[drop+1].at) >= rateWindow {
		drop++
	}
	m.samples = append(m.samples[:0], m.samples[drop:]...)
}

// rate is bytes per second; ok is false as long as too little time was seen.
func (m *meter) rate() (perSecond float64, ok bool) {
	if len(m.samples) == 0 {
		return 0, false
	}
	first := m.samples[0]
	span := m.last.at.Sub(first.at)
	if span < rateMinimum {
		return 0, false
	}
	return float64(m.last.done-first.done) / span.Seconds(), true
}

// left is the time that the missing bytes take at the present rate; ok is
// false when nothing moves or the answer would be absurd.
func (m *meter) left(missing int64) (left time.Duration, ok bool) {
	perSecond, ok := m.rate()
	if !ok || perSecond <= 0 || missing < 0 {
		return 0, false
	}
	seconds := float64(missing) / perSecond
	if seconds > longestETA.Seconds() {
		return 0, false
	}
	return time.Duration(seconds * float64(time.Second)), true
}
