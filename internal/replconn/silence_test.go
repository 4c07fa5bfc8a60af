package replconn

import (
	"testing"
	"time"
)

// TestOnlyTimeThatWasLivedThroughIsSilence has the clock be far ahead at a look,
// as after a stop of the process or of its machine.
func TestOnlyTimeThatWasLivedThroughIsSilence(t *testing.T) {
	t.Parallel()
	const tick = 10 * time.Second
	const most = tick + tick/4
	c := &Conn{frames: &frameReader{}}
	s := c.NewSilence(tick)
	if got := s.Look(); got != 0 {
		t.Errorf("%s while nothing is read", got)
	}
	near := func(what string, got, want time.Duration) {
		t.Helper()
		if got < want || got > want+time.Second {
			t.Errorf("%s %s, want %s", got, what, want)
		}
	}
	s.looked -= int64(time.Hour)
	c.frames.waiting.Store(Monotonic() - int64(time.Hour))
	near("at the look after a stop of an hour", s.Look(), 0)
	near("at the next", s.Look(), most)
	s.looked -= int64(4 * time.Second)
	near("4 s later", s.Look(), most+4*time.Second)
	s.looked -= int64(time.Hour)
	near("at the look after another stop", s.Look(), most+4*time.Second)
	s.looked -= int64(tick)
	near("a tick later", s.Look(), 2*most+4*time.Second+tick)
	s.looked -= int64(tick)
	c.frames.waiting.Store(Monotonic() - int64(3*time.Second))
	near("3 s into another read", s.Look(), 3*time.Second)
	c.frames.waiting.Store(Monotonic()) // something came
	if got := s.Look(); got > time.Second {
		t.Errorf("%s when a read had just begun", got)
	}
}
