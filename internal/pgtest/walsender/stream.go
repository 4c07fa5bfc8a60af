package walsender

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"time"

	"github.com/jackc/pgproto3/v2"
)

const (
	walPage         = 8192
	defaultWALChunk = 16 * walPage
)

var startReplication = regexp.MustCompile(
	`(?i)^\s*START_REPLICATION(?:\s+SLOT\s+("(?:[^"]|"")+"|\w+))?(?:\s+PHYSICAL)?\s+([0-9A-F]+/[0-9A-F]+)(?:\s+TIMELINE\s+([0-9]+))?[\s;]*$`)

var nextColumns = Columns{"next_tli:int8", "next_tli_startpos"}

// ServeWAL answers IDENTIFY_SYSTEM, TIMELINE_HISTORY and START_REPLICATION
// out of w from now on.
func (s *Server) ServeWAL(w *WAL) {
	s.mu.Lock()
	s.wal = w
	s.mu.Unlock()
	s.Handle("TIMELINE_HISTORY", func(c *Conn) error {
		id, _ := strconv.ParseUint(word(c.query, 1), 10, 32)
		if content := w.History(uint32(id)); content != nil {
			c.TimelineHistory(fmt.Sprintf("%08X.history", id), content)
		} else {
			c.noHistory(word(c.query, 1))
		}
		return nil
	})
	s.Handle("START_REPLICATION", w.Stream)
}

// SendWAL sends a message with WAL from start on. serverEnd is how far the
// server's log reaches.
func (c *Conn) SendWAL(start, serverEnd LSN, p []byte) {
	m := []byte{'w'}
	m = binary.BigEndian.AppendUint64(m, uint64(start))
	m = binary.BigEndian.AppendUint64(m, uint64(serverEnd))
	m = binary.BigEndian.AppendUint64(m, now())
	c.CopyData(append(m, p...))
	c.sent = start + LSN(len(p))
}

// Keepalive sends a keepalive, which may ask for a status message.
func (c *Conn) Keepalive(end LSN, replyRequested bool) {
	m := binary.BigEndian.AppendUint64([]byte{'k'}, uint64(end))
	m = binary.BigEndian.AppendUint64(m, now())
	asks := byte(0)
	if replyRequested {
		asks = 1
	}
	c.CopyData(append(m, asks))
}

// ControlledShutdown is a Hook for WAL.At: the server waits until the client
// has reported all that was sent, and goes (src/backend/replication/walsender.c).
func ControlledShutdown(c *Conn) error {
	for {
		c.Keepalive(c.sent, true)
		if c.err != nil {
			return Stop
		}
		f, err := c.ReceiveFeedback()
		if err == io.EOF {
			c.endStream()
			return Stop
		}
		if err != nil {
			return err
		}
		reached := f.Flushed
		if reached == 0 {
			reached = f.Written
		}
		if reached >= c.sent {
			c.CommandComplete("COPY 0")
			c.Close()
			return Stop
		}
		c.Sleep(5 * time.Millisecond)
	}
}

// endStream is the answer to the client's CopyDone.
func (c *Conn) endStream() {
	c.CopyDone()
	c.CommandComplete("START_STREAMING")
	c.Complete("START_REPLICATION")
}

// walStream is one START_REPLICATION.
type walStream struct {
	*WAL
	conn     *Conn
	timeline uint32
	pos      LSN
	messages int
	ended    bool // by the client
}

// Stream is a Hook that plays START_REPLICATION.
func (w *WAL) Stream(c *Conn) error {
	m := startReplication.FindStringSubmatch(c.query)
	if m == nil {
		c.Fail("42601", "syntax error")
		return nil
	}
	pos, err := parseLSN(m[2])
	if err != nil {
		return err
	}
	id := uint64(w.End().Timeline)
	if m[3] != "" {
		if id, err = strconv.ParseUint(m[3], 10, 32); err != nil {
			return err
		}
	}
	s := &walStream{WAL: w, conn: c, timeline: uint32(id), pos: pos}
	if m[1] != "" {
		if state, message := c.server.useSlot(word("SLOT "+m[1], 1), c.id); state != "" {
			c.Fail(state, message)
			return nil
		}
		defer c.server.releaseSlots(c.id)
	}
	return s.run()
}

func (s *walStream) run() error {
	c := s.conn
	v, ok := s.look(s.timeline, s.pos)
	switch {
	case !ok:
		c.Fail("XX000", fmt.Sprintf("requested timeline %d is not in this server's history", s.timeline))
		return nil
	case v.historic && s.pos > v.fork:
		c.Fail("XX000", fmt.Sprintf("requested starting point %s on timeline %d is not in this server's history",
			c.server.lsn(s.pos), s.timeline),
			fmt.Sprintf("This server's history forked from timeline %d at %s.", s.timeline, c.server.lsn(v.fork)))
		return nil
	case v.historic && s.pos == v.fork:
		s.nextTimeline(v)
		return nil
	}
	c.CopyBoth()
	if s.pos > v.flush {
		c.Fail("XX000", fmt.Sprintf("requested starting point %s is ahead of the WAL flush position of this server %s",
			c.server.lsn(s.pos), c.server.lsn(v.flush)))
		return nil
	}
	c.sent = s.pos
	if err := s.hooks(s.pos, false); err != nil {
		return err
	}
	for c.err == nil {
		if err := s.listen(); err != nil || s.ended {
			return err
		}
		v, _ = s.look(s.timeline, s.pos)
		switch {
		case s.pos < v.end:
			size := LSN(c.server.segment)
			if s.pos-s.pos%size+size <= v.removed {
				c.Fail("58P01", fmt.Sprintf("requested WAL segment %s has already been removed",
					SegmentName(s.timeline, s.pos, c.server.segment)))
				return nil
			}
			if err := s.chunk(v); err != nil {
				return err
			}
		case v.historic:
			c.CopyDone()
			if _, err := c.WaitCopyDone(); err != nil {
				return err
			}
			s.nextTimeline(v)
			return nil
		default:
			if err := s.wait(v); err != nil {
				return err
			}
		}
	}
	return nil
}

// nextTimeline tells where a historic timeline goes on.
func (s *walStream) nextTimeline(v view) {
	s.conn.Row(nextColumns, v.next, v.fork)
	s.conn.CommandComplete("START_STREAMING")
	s.conn.Complete("START_REPLICATION")
}

// chunk sends one message of WAL and does what is due behind it.
func (s *walStream) chunk(v view) error {
	size := s.ChunkSize
	setDefault(&size, defaultWALChunk)
	end := min(v.end, s.pos+LSN(size))
	if page := end - end%walPage; end < v.end && page > s.pos {
		end = page
	}
	if v.hook > s.pos {
		end = min(end, v.hook)
	}
	from := s.pos
	s.conn.SendWAL(from, v.flush, s.Bytes(s.timeline, from, end))
	s.pos = end
	s.messages++
	if s.KeepaliveEvery > 0 && s.messages%s.KeepaliveEvery == 0 {
		s.conn.Keepalive(s.pos, s.ReplyRequested)
	}
	return s.hooks(from+1, false)
}

func (s *walStream) hooks(from LSN, again bool) error {
	for _, run := range s.takeHooks(from, s.pos, again) {
		if err := run(s.conn); err != nil {
			if errors.Is(err, Pass) {
				return errors.New("no other hook can answer in the middle of a stream")
			}
			return err
		}
	}
	return nil
}

// listen handles what the client has sent.
func (s *walStream) listen() error {
	for {
		m := s.conn.inbox.take()
		switch m := m.(type) {
		case nil:
			return nil
		case *pgproto3.CopyDone:
			s.ended = true
			s.conn.endStream()
			return nil
		case *pgproto3.CopyData:
			if len(m.Data) == 25 && m.Data[0] == 'h' {
				continue
			}
			f, err := parseFeedback(m.Data)
			if err != nil {
				return err
			}
			if f.ReplyRequested {
				s.conn.Keepalive(s.pos, false)
			}
		default:
			return fmt.Errorf("client sent %T while streaming", m)
		}
	}
}

// wait is for something to do: a message, new WAL, a new hook or the time for
// a keepalive.
func (s *walStream) wait(v view) error {
	var idle <-chan time.Time
	if s.KeepaliveIdle > 0 {
		timer := time.NewTimer(s.KeepaliveIdle)
		defer timer.Stop()
		idle = timer.C
	}
	in := s.conn.inbox
	select {
	case <-in.signal:
	case <-in.gone:
		// What came before the end is still to be looked at.
		if err := s.listen(); err != nil || s.ended {
			return err
		}
		return ErrClientGone
	case <-v.changed:
		return s.hooks(s.pos, true)
	case <-idle:
		s.conn.Keepalive(s.pos, s.ReplyRequested)
	}
	return nil
}
