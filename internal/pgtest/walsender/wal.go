package walsender

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"time"
)

// WAL is a server's write-ahead log, with all its timelines. Its bytes are
// made up: they are a function of the LSN and of the timeline on which they
// were written, so that a test can say what must be in a file. Its methods
// may be called from any goroutine, also while clients stream from it; the
// exported fields must be set before that.
type WAL struct {
	// ChunkSize is how many bytes a message has at most; 131072 if 0. Like a
	// server's, messages end at the boundary of a page of 8192 bytes where
	// the chunk size allows that.
	ChunkSize int
	// Overrun is how many bytes a server sends of an old timeline beyond the
	// switch point: the part of a record that was not completed.
	Overrun int
	// KeepaliveEvery sends a keepalive behind every n-th message of WAL;
	// KeepaliveIdle sends one whenever nothing happened for so long. 0 is never.
	KeepaliveEvery int
	KeepaliveIdle  time.Duration
	// ReplyRequested asks in these keepalives for a status message.
	ReplyRequested bool
	// Fill, if set, makes the bytes from at on that timeline wrote.
	Fill func(timeline uint32, at LSN, p []byte)

	mu        sync.Mutex
	timelines []timeline // oldest first
	removed   LSN
	hooks     []walHook
	changed   chan struct{} // closed and replaced by every change
}

// timeline has the LSN at which it ends: where the next one forked off, or the
// flush position.
type timeline struct {
	id  uint32
	end LSN
}

type walHook struct {
	at   LSN
	run  Hook
	once bool
}

// NewWAL makes a log of timeline 1 that reaches from start, before which WAL
// has been removed, to the flush position end.
func NewWAL(start, end LSN) *WAL {
	return &WAL{timelines: []timeline{{1, end}}, removed: start, changed: make(chan struct{})}
}

// End is the flush position and the newest timeline.
func (w *WAL) End() Position {
	w.mu.Lock()
	defer w.mu.Unlock()
	last := w.timelines[len(w.timelines)-1]
	return Position{last.end, last.id}
}

// Advance moves the flush position on. Clients that stream get the new WAL.
func (w *WAL) Advance(end LSN) {
	w.change(func() { w.timelines[len(w.timelines)-1].end = end })
}

// Promote ends the newest timeline at the LSN at, which may lie before the
// flush position, and begins another that reaches to end. Clients that stream
// get to the end of their timeline.
func (w *WAL) Promote(at LSN, id uint32, end LSN) {
	w.change(func() {
		w.timelines[len(w.timelines)-1].end = at
		w.timelines = append(w.timelines, timeline{id, end})
	})
}

// Remove forgets the segments that lie wholly before l. Whoever needs them
// gets the error that they have been removed.
func (w *WAL) Remove(l LSN) { w.change(func() { w.removed = l }) }

// At runs a Hook once, when a stream has reached l: the message before ends
// there. Stop ends the stream's answer; otherwise it goes on behind the hook.
// A client that starts behind l does not reach it.
func (w *WAL) At(l LSN, run Hook) {
	w.change(func() { w.hooks = append(w.hooks, walHook{l, run, true}) })
}

// AtEvery is At for all streams.
func (w *WAL) AtEvery(l LSN, run Hook) {
	w.change(func() { w.hooks = append(w.hooks, walHook{l, run, false}) })
}

func (w *WAL) change(do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	do()
	close(w.changed)
	w.changed = make(chan struct{})
}

// takeHooks returns the hooks for positions from from to to, both included;
// again is for a place where those for all streams have run.
func (w *WAL) takeHooks(from, to LSN, again bool) []Hook {
	w.mu.Lock()
	defer w.mu.Unlock()
	var due []Hook
	w.hooks = slices.DeleteFunc(w.hooks, func(h walHook) bool {
		hit := from <= h.at && h.at <= to && (h.once || !again)
		if hit {
			due = append(due, h.run)
		}
		return hit && h.once
	})
	return due
}

// view is what a stream of one timeline can see.
type view struct {
	end      LSN // where its WAL ends
	fork     LSN // of a historic timeline
	next     uint32
	historic bool
	flush    LSN // of the server
	removed  LSN
	hook     LSN // the first hook behind the position, or 0
	changed  chan struct{}
}

// look returns false for a timeline that the log does not have.
func (w *WAL) look(id uint32, pos LSN) (view, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := w.index(id)
	if i < 0 {
		return view{}, false
	}
	v := view{end: w.timelines[i].end, removed: w.removed, changed: w.changed}
	v.flush = w.timelines[len(w.timelines)-1].end
	if i+1 < len(w.timelines) {
		v.historic, v.fork, v.next = true, v.end, w.timelines[i+1].id
		v.end += LSN(w.Overrun)
	}
	for _, h := range w.hooks {
		if h.at > pos && (v.hook == 0 || h.at < v.hook) {
			v.hook = h.at
		}
	}
	return v, true
}

// index needs w.mu.
func (w *WAL) index(id uint32) int {
	return slices.IndexFunc(w.timelines, func(t timeline) bool { return t.id == id })
}

// Bytes is the log from one LSN to another as the given timeline has it: what
// lies before a fork was written on the timeline before.
func (w *WAL) Bytes(id uint32, from, to LSN) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	fill := w.Fill
	if fill == nil {
		fill = madeUp
	}
	p := make([]byte, max(from, to)-from)
	for at := from; at < to; {
		owner, end := id, to
		for _, t := range w.timelines {
			if t.id == id {
				break
			}
			if at < t.end {
				owner, end = t.id, min(to, t.end)
				break
			}
		}
		fill(owner, at, p[at-from:end-from])
		at = end
	}
	return p
}

// Segment is the whole segment that holds the byte at l, of size bytes. What
// lies behind the end of the timeline is zero.
func (w *WAL) Segment(id uint32, l LSN, size int64) []byte {
	start := l - l%LSN(size)
	p := make([]byte, size)
	if v, ok := w.look(id, 0); ok && v.end > start {
		copy(p, w.Bytes(id, start, min(v.end, start+LSN(size))))
	}
	return p
}

// madeUp hashes eight bytes at once.
func madeUp(timeline uint32, at LSN, p []byte) {
	var word uint64
	for i := range p {
		l := uint64(at) + uint64(i)
		if i == 0 || l%8 == 0 {
			word = (l/8 + 1) ^ uint64(timeline)<<48
			word = (word ^ word>>30) * 0xBF58476D1CE4E5B9
			word = (word ^ word>>27) * 0x94D049BB133111EB
			word ^= word >> 31
		}
		p[i] = byte(word >> (l % 8 * 8))
	}
}

// History is the content of a timeline's history file, nil if it has none.
func (w *WAL) History(id uint32) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := w.index(id)
	if i < 1 {
		return nil
	}
	var b bytes.Buffer
	for _, t := range w.timelines[:i] {
		fmt.Fprintf(&b, "%d\t%s\tno recovery target specified\n", t.id, t.end)
	}
	return b.Bytes()
}
