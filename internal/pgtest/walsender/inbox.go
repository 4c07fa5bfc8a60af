package walsender

import (
	"sync"
	"time"

	"github.com/jackc/pgproto3/v2"
)

// inbox holds what the client sent and no hook has taken yet. A goroutine of
// the connection's own fills it, so that sending and receiving never block
// each other, and so that a client's end is noticed at once.
type inbox struct {
	gone   chan struct{} // closed when nothing more will come
	signal chan struct{} // has a value if messages may wait; one taker only

	mu    sync.Mutex
	queue []pgproto3.FrontendMessage
}

func newInbox() *inbox {
	return &inbox{gone: make(chan struct{}), signal: make(chan struct{}, 1)}
}

func (b *inbox) put(m pgproto3.FrontendMessage) {
	b.mu.Lock()
	b.queue = append(b.queue, m)
	b.mu.Unlock()
	select {
	case b.signal <- struct{}{}:
	default:
	}
}

// take returns the next message, or nil if none waits.
func (b *inbox) take() pgproto3.FrontendMessage {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == 0 {
		return nil
	}
	m := b.queue[0]
	b.queue = b.queue[1:]
	return m
}

// next waits for a message. It returns nil without an error when timeout
// fires.
func (b *inbox) next(timeout <-chan time.Time) (pgproto3.FrontendMessage, error) {
	for {
		if m := b.take(); m != nil {
			return m, nil
		}
		select {
		case <-b.signal:
		case <-timeout:
			return nil, nil
		case <-b.gone:
			if m := b.take(); m != nil {
				return m, nil
			}
			return nil, ErrClientGone
		}
	}
}

// read fills the inbox until the client's end.
func (c *Conn) read() {
	defer close(c.inbox.gone)
	ended := false // the client has sent CopyDone
	for {
		m, err := c.backend.Receive()
		if err != nil {
			return
		}
		// Receive returns the same struct for each message of a type. The
		// slices in it are not reused.
		switch m := m.(type) {
		case *pgproto3.Terminate:
			return
		case *pgproto3.Query:
			ended = false
			c.inbox.put(&pgproto3.Query{String: m.String})
		case *pgproto3.CopyData:
			if ended {
				c.server.t.Errorf("walsender: connection %d: CopyData %q after CopyDone", c.id, head(m.Data))
			}
			if f, err := parseFeedback(m.Data); err == nil {
				f.Conn = c.id
				c.server.record(func() {
					c.server.feedback = append(c.server.feedback, f)
					c.server.advanceSlot(c.id, f)
				})
			}
			c.inbox.put(&pgproto3.CopyData{Data: m.Data})
		case *pgproto3.CopyDone:
			ended = true
			c.inbox.put(&pgproto3.CopyDone{})
		case *pgproto3.CopyFail:
			c.inbox.put(&pgproto3.CopyFail{Message: m.Message})
		default:
			c.inbox.put(m)
		}
	}
}

func head(p []byte) []byte { return p[:min(len(p), 40)] }

func isCopy(m pgproto3.FrontendMessage) bool {
	switch m.(type) {
	case *pgproto3.CopyData, *pgproto3.CopyDone, *pgproto3.CopyFail:
		return true
	}
	return false
}
