package logstream

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/pgbraid/pgbraid/internal/replconn"
)

// ending says how one START_REPLICATION ended without an error
// (src/backend/replication/walsender.c).
type ending int

const (
	// reachedStop: this side ended it, at the position it was to stop at.
	reachedStop ending = iota
	// reachedTimelineEnd: the server has no more WAL on this timeline and
	// named the next one. It may do so without streaming a byte, where the
	// start was exactly the switch point.
	reachedTimelineEnd
	// serverStopped: the server was shut down in an orderly way.
	serverStopped
)

// session is one START_REPLICATION, from its first byte to its end.
type session struct {
	conn     *replconn.Conn
	cursor   *cursor
	feedback *feedback
	slot     string // "" for none
	// synchronous asks for a flush whenever the socket is empty.
	synchronous bool
	// atStop tells whether a position is one to stop at.
	atStop func(Position) bool
	// wakeable tells whoever sets a stop position that it may, or may not any
	// more, interrupt the connection.
	wakeable func(bool)
	// durable is called after this goroutine made what was written durable.
	durable func()
	// heard is called with each message's end of the server's WAL, before what
	// it brings is written: that may take long. progress is called after that.
	heard    func(serverEnd LSN)
	progress func(serverEnd LSN)
}

// drainTimeout is how long the server may take to answer this side's end of
// the stream. What it would say matters to nobody then.
const drainTimeout = 10 * time.Second

// run streams until one of the endings, or an error. next is where to go on
// after reachedTimelineEnd.
func (s *session) run(ctx context.Context) (end ending, next Position, err error) {
	if s.synchronous {
		s.conn.ExpectPrompt()
	} else {
		s.conn.ExpectBursts()
	}
	defer s.conn.Watch(ctx)()
	command := "START_REPLICATION "
	if s.slot != "" {
		command += "SLOT " + replconn.QuoteIdentifier(s.slot) + " "
	}
	command += s.cursor.streamAt().LSN.String() + " TIMELINE " + strconv.FormatUint(uint64(s.cursor.pos.Timeline), 10)
	if err := s.conn.Send(command); err != nil {
		return 0, Position{}, err
	}
	kind, body, err := s.conn.Receive()
	if err != nil {
		return 0, Position{}, &CommandError{command, "starting to stream", err}
	}
	switch kind {
	case replconn.CopyBothResponse:
	case replconn.RowDescription:
		next, err = s.nextTimeline(body)
		return reachedTimelineEnd, next, err
	default:
		return 0, Position{}, replconn.Unexpected(kind, "starting to stream")
	}

	reporting, stopReporting := context.WithCancel(ctx)
	var reporter sync.WaitGroup
	reporter.Go(func() { s.feedback.run(reporting) })
	// No status may follow this side's CopyDone: the reporter is joined
	// before that is sent.
	join := func() {
		stopReporting()
		reporter.Wait()
	}
	defer join()
	end, err = s.follow(ctx)
	if err == nil && end == reachedStop {
		err = s.complete() // the server hears of this side while that takes
	}
	join()
	if err != nil {
		return 0, Position{}, err
	}
	switch end {
	case reachedStop:
		return end, Position{}, s.finish()
	case reachedTimelineEnd:
		if err := s.conn.SendCopyDone(); err != nil {
			return 0, Position{}, err
		}
		kind, body, err := s.conn.Receive()
		if err != nil {
			return 0, Position{}, err
		}
		if kind != replconn.RowDescription {
			return 0, Position{}, replconn.Unexpected(kind, "waiting for the next timeline")
		}
		next, err := s.nextTimeline(body)
		return end, next, err
	}
	return end, Position{}, nil
}

// follow handles messages until one of the endings shows.
func (s *session) follow(ctx context.Context) (ending, error) {
	s.wakeable(true)
	defer func() {
		s.wakeable(false)
		s.resume(ctx)
	}()
	for {
		if s.atStop(s.cursor.pos) {
			return reachedStop, nil
		}
		if err := s.cursor.flush.failed(); err != nil {
			return 0, err
		}
		if s.feedback.syncDue.Swap(false) {
			if err := s.sync(); err != nil {
				return 0, err
			}
		}
		if s.synchronous && !s.conn.Buffered() {
			if err := s.syncNow(); err != nil {
				return 0, err
			}
		}
		kind, body, err := s.conn.Receive()
		if errors.Is(err, os.ErrDeadlineExceeded) && s.resume(ctx) {
			continue // a stop position was set, the flusher failed, or a sync is due
		}
		if err != nil {
			return 0, err
		}
		switch kind {
		case replconn.CopyData:
			if err := s.message(body); err != nil {
				return 0, err
			}
		case replconn.CopyDone:
			return reachedTimelineEnd, nil
		case replconn.CommandComplete:
			return serverStopped, nil
		default:
			return 0, replconn.Unexpected(kind, "streaming")
		}
	}
}

// resume makes the connection usable again after an interruption, unless that
// was for the end of ctx: which is asked afterwards, since it may come between.
func (s *session) resume(ctx context.Context) bool {
	s.conn.Resume()
	if ctx.Err() != nil {
		s.conn.Interrupt()
		return false
	}
	return true
}

// message handles what one CopyData holds.
func (s *session) message(body []byte) error {
	if len(body) == 0 {
		return fmt.Errorf("%w: empty streaming message", replconn.ErrMalformed)
	}
	switch body[0] {
	case kindWALData:
		m, err := decodeWALData(body)
		if err != nil {
			return fmt.Errorf("%w: %w", replconn.ErrMalformed, err)
		}
		s.heard(m.serverEnd)
		done := s.busy()
		err = s.cursor.write(m.start, m.data)
		done()
		if err != nil {
			return err
		}
		s.progress(m.serverEnd)
	case kindKeepalive:
		m, err := decodeKeepalive(body)
		if err != nil {
			return fmt.Errorf("%w: %w", replconn.ErrMalformed, err)
		}
		s.heard(m.serverEnd)
		s.progress(m.serverEnd)
		if m.replyRequested {
			s.feedback.asked()
			if s.feedback.reportFlush {
				return s.sync()
			}
		}
	default:
		return fmt.Errorf("%w: unrecognized streaming header %q", replconn.ErrMalformed, body[0])
	}
	return nil
}

// nextTimeline reads the row that follows the end of a timeline, and up to
// where the next command can be sent.
func (s *session) nextTimeline(description []byte) (Position, error) {
	if _, err := replconn.DecodeColumns(description); err != nil {
		return Position{}, err
	}
	kind, body, err := s.conn.Receive()
	if err != nil {
		return Position{}, err
	}
	if kind != replconn.DataRow {
		return Position{}, replconn.Unexpected(kind, "reading the next timeline")
	}
	row, err := replconn.DecodeRow(body)
	if err != nil {
		return Position{}, err
	}
	if len(row) != 2 {
		return Position{}, fmt.Errorf("%w: next timeline has %d columns, want 2", replconn.ErrMalformed, len(row))
	}
	t, err := ParseTimelineID(string(row[0]))
	if err != nil {
		return Position{}, fmt.Errorf("%w: next timeline: %w", replconn.ErrMalformed, err)
	}
	l, err := ParseLSN(string(row[1]))
	if err != nil {
		return Position{}, fmt.Errorf("%w: start of the next timeline: %w", replconn.ErrMalformed, err)
	}
	pos := s.cursor.pos
	if t <= pos.Timeline {
		return Position{}, fmt.Errorf("%w: server reported unexpected next timeline %d, following timeline %d",
			replconn.ErrMalformed, t, pos.Timeline)
	}
	if l > pos.LSN {
		return Position{}, fmt.Errorf("%w: server stopped streaming timeline %d at %s, but reported next timeline %d to begin at %s",
			replconn.ErrMalformed, pos.Timeline, pos.LSN, t, l)
	}
	return Position{t, l}, s.conn.Drain()
}

// sync asks for what was written to become durable. That takes no time, unless
// the flusher has too much to do already.
func (s *session) sync() error {
	defer s.busy()()
	return s.cursor.sync()
}

// syncNow makes what was written durable, and says so.
func (s *session) syncNow() error {
	done, err := func() (bool, error) {
		defer s.busy()()
		return s.cursor.syncNow()
	}()
	if !done || err != nil {
		return err
	}
	s.durable()
	return s.feedback.flushedHere()
}

// busy tells the feedback that the store has this goroutine until the function
// returned is called.
func (s *session) busy() (done func()) {
	s.feedback.busySince.Store(replconn.Monotonic())
	return func() { s.feedback.busySince.Store(0) }
}

// complete makes the WAL up to the stop position durable.
func (s *session) complete() error {
	defer s.busy()()
	if err := s.cursor.end(flushFinish); err != nil {
		return err
	}
	return s.cursor.flush.drain()
}

// finish ends the stream from this side. The WAL is complete already, so a
// server that does not answer properly any more is no error.
func (s *session) finish() error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, s.conn.Interrupt)()
	// The last word to the slot: the standby goes on from here.
	if s.feedback.send() != nil || s.conn.SendCopyDone() != nil {
		return nil
	}
	for {
		kind, _, err := s.conn.Receive()
		if err != nil || kind == replconn.ReadyForQuery {
			return nil
		}
	}
}
