package logstream

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pgbraid/pgbraid/internal/replconn"
)

// feedback tells the server how far the log is written and durable. It runs in
// a goroutine of its own, so that the server gets its answers also while the
// disk stalls and the stream with it. What is reported, and when
// (src/bin/pg_basebackup/receivelog.c):
//
//   - once at the start, where there is a status interval or the flush position
//     is reported: a commit may wait for what is durable here already;
//   - every status interval. What was written by then is made durable too, or it
//     would not be for as long as the server is idle;
//   - at once when the server asks for a reply, with what is known then, and
//     again when what was written by then is durable, which the server's
//     shutdown waits for;
//   - with synchronous after each flush;
//   - while a write to the store takes long, often enough for the server's
//     wal_sender_timeout, whatever the status interval;
//   - when the server has been silent for half of what it may be: then it is
//     asked for a reply. If it stays silent, the connection's own limit ends it.
//
// The flush position is reported only where somebody relies on it, a slot or a
// synchronous primary: a client that reports one is a candidate for
// synchronous_standby_names.
type feedback struct {
	conn        *replconn.Conn
	position    func() (written, durable LSN)
	interval    time.Duration // 0: not without being asked
	timeout     time.Duration // wal_sender_timeout, 0: none
	silence     time.Duration // how long the server may be silent, 0: for ever
	reportFlush bool
	synchronous bool

	sending sync.Mutex    // from reading the position until it is sent
	now     chan struct{} // send one as soon as possible
	// busySince is when the stream's goroutine went into the store, as
	// replconn.Monotonic has it, 0 while it is not there.
	busySince atomic.Int64
	// owed is the LSN that the server waits to be told durable, 0 for none.
	owed atomic.Uint64
	// syncDue asks the stream's goroutine to have what was written made durable.
	// wake ends its wait for the server.
	syncDue atomic.Bool
	wake    func()
}

// idleTick is how often a feedback without an interval and a timeout looks.
const idleTick = time.Minute

func (f *feedback) run(ctx context.Context) {
	tick := idleTick
	if f.interval > 0 {
		tick = f.interval
	}
	if f.timeout > 0 {
		tick = min(tick, f.timeout/4)
	}
	if f.silence > 0 {
		tick = min(tick, f.silence/4)
	}
	tick = max(tick, time.Millisecond)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	silence := f.conn.NewSilence(max(tick, f.silence/4))
	last := time.Now()
	if (f.interval > 0 || f.reportFlush) && f.send() != nil {
		return
	}
	for {
		ask := false
		select {
		case <-ctx.Done():
			return
		case <-f.now:
		case at := <-ticker.C:
			// Half a tick of slack: a ticker is not exact, and an interval
			// must not become two.
			due := f.interval > 0 && at.Sub(last) >= f.interval-tick/2
			ask = f.silence > 0 && silence.Look() >= f.silence/2
			if !due && !ask && !f.stalled(tick) {
				continue
			}
			if due {
				f.keep()
			}
		}
		last = time.Now()
		if f.sendAsking(ask) != nil {
			return // the reading side meets the same end and reports it
		}
	}
}

// keep has what was written made durable, and reported where that is done.
func (f *feedback) keep() {
	written, durable := f.position()
	if written == durable || f.wake == nil {
		return
	}
	if f.reportFlush {
		f.owed.Store(uint64(written))
	}
	f.syncDue.Store(true)
	f.wake()
}

func (f *feedback) stalled(tick time.Duration) bool {
	since := f.busySince.Load()
	return since != 0 && replconn.Monotonic()-since >= int64(tick/2)
}

func (f *feedback) send() error { return f.sendAsking(false) }

// sendAsking sends a status that may ask the server for a reply. Two goroutines
// may do so: what the server is told never goes back.
func (f *feedback) sendAsking(ask bool) error {
	f.sending.Lock()
	defer f.sending.Unlock()
	written, durable := f.position()
	s := status{written: written, at: time.Now(), askReply: ask}
	if f.reportFlush {
		s.flushed = durable
	}
	var buf [statusSize]byte
	return f.conn.SendCopyData(appendStatus(buf[:0], s))
}

// request sends a status soon. It never waits.
func (f *feedback) request() {
	select {
	case f.now <- struct{}{}:
	default: // one is on its way, and will report what is known then
	}
}

// asked is called when the server wants a reply: it gets one now, and one more
// when everything written so far is durable.
func (f *feedback) asked() {
	if f.reportFlush {
		written, _ := f.position()
		f.owed.Store(uint64(written))
	}
	f.request()
}

// flushed is called after the durable position moved.
func (f *feedback) flushed() {
	if f.settle() || f.synchronous {
		f.request()
	}
}

// flushedHere is flushed for the stream's own goroutine, which waits for the
// status to be sent.
func (f *feedback) flushedHere() error {
	f.settle()
	return f.send()
}

// settle tells whether what the server waited for is durable now.
func (f *feedback) settle() bool {
	_, durable := f.position()
	owed := f.owed.Load()
	return owed != 0 && uint64(durable) >= owed && f.owed.CompareAndSwap(owed, 0)
}
