package replconn

import (
	"fmt"
	"sync"
	"time"
)

// Silence tells how long the server has been silent while it was listened to.
// It is for one goroutine, which looks every now and then.
//
// What counts is time in which this process could run: between two looks at
// most a tick and a quarter. A process that was stopped, or whose machine was, has heard
// nothing for long either, but that says nothing about the server.
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
	switch {
	case since == 0:
		s.silent = 0
	case since != s.since: // since the last look
		s.silent = min(now-since, s.most)
	default:
		s.silent += min(now-s.looked, s.most)
	}
	s.since, s.looked = since, now
	return time.Duration(s.silent)
}

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
