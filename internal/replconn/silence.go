package replconn

import (
	"fmt"
	"sync"
	"time"
)

// Silence tells how long the server has been silent while it was listened to.
// It is for one goroutine, which looks every now and then.
//
// What counts is time in which this process could run. One that was stopped, or
// whose machine was, has heard nothing for long either, but that says nothing
// about the server: of a longer time between two looks a tick and a quarter
// counts, and only from the next look on, when what had come meanwhile was read.
type Silence struct {
	conn   *Conn
	most   int64 // that one look may add
	since  int64 // when the present read began to wait
	looked int64
	silent int64
}

// NewSilence begins with no silence. The goroutine looks once a tick, or more
// often.
func (c *Conn) NewSilence(tick time.Duration) *Silence {
	return &Silence{conn: c, most: int64(tick + tick/4), looked: Monotonic()}
}

// Look is how long the present read has been waiting, 0 if none is.
func (s *Silence) Look() time.Duration {
	since, now := s.conn.frames.waiting.Load(), Monotonic()
	passed := now - s.looked
	if since != s.since { // it began after the last look
		s.silent, passed = 0, min(passed, now-since)
	}
	late := passed > s.most
	passed = min(passed, s.most)
	s.since, s.looked = since, now
	if since == 0 || s.conn.excused.Load() {
		s.silent = 0
		return 0
	}
	s.silent += passed
	if late {
		return time.Duration(s.silent - passed)
	}
	return time.Duration(s.silent)
}

// ExcuseSilence says that the server has a reason to be silent from now on, for
// as long as that lasts, or that it has none any more: what passes while it has
// one is no silence. That the server's machine is still there is then known by
// TCP keepalives alone. It may be called from any goroutine.
func (c *Conn) ExcuseSilence(excused bool) { c.excused.Store(excused) }

// LimitSilence breaks the connection when a read waits for longer than limit,
// with a *SilenceError. The function returned ends that.
func (c *Conn) LimitSilence(limit time.Duration) (stop func()) {
	if limit <= 0 {
		return func() {}
	}
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		every := max(limit/4, time.Millisecond)
		tick := time.NewTicker(every)
		defer tick.Stop()
		silence := c.NewSilence(every)
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			if silence.Look() >= limit {
				c.Break(&SilenceError{limit})
				return
			}
		}
	})
	return func() {
		close(done)
		watching.Wait()
	}
}

// SilenceError says that the server sent nothing for a long time, as it is when
// its machine or the way to it has gone without a word.
type SilenceError struct{ Limit time.Duration }

func (e *SilenceError) Error() string {
	return fmt.Sprintf("server has been silent for %s", e.Limit)
}

// Timeout makes it a net.Error's kind.
func (e *SilenceError) Timeout() bool { return true }

// Temporary makes it a net.Error.
func (e *SilenceError) Temporary() bool { return true }
