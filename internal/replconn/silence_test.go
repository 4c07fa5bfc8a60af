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
	c.frames.waiting.Store(Monotonic() - int64(time.Hour))
	if got := s.Look(); got != most {
		t.Errorf("%s at the first look at a read that began an hour before", got)
	}
	s.looked -= int64(4 * time.Second)
	if got := s.Look(); got < most+4*time.Second || got > most+6*time.Second {
		t.Errorf("%s 4 s later", got)
	}
	s.looked -= int64(time.Hour)
	if got := s.Look(); got < 2*most+4*time.Second || got > 2*most+6*time.Second {
		t.Errorf("%s after a stop of an hour", got)
	}
	c.frames.waiting.Store(Monotonic()) // something came
	if got := s.Look(); got > time.Second {
		t.Errorf("%s when a read had just begun", got)
	}
}
