package progress

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

const (
	defaultEvery = 5 * time.Second
	// hintAfter is how long a checkpoint may take before lines explain it.
	hintAfter = 2 * time.Second
)

// NewLines draws plain lines, for logs and for terminals that cannot move
// their cursor: one at each phase change, and one every so often (5 seconds
// when every is not positive). A line goes to w in a single Write.
func NewLines(w io.Writer, every time.Duration) Renderer {
	if every <= 0 {
		every = defaultEvery
	}
	return &lines{w: w, every: every, now: time.Now}
}

type lines struct {
	w     io.Writer
	every time.Duration
	now   func() time.Time

	mu       sync.Mutex
	view     view
	printed  time.Time
	hinted   bool
	finished bool
}

func (l *lines) Update(s Snapshot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.finished {
		return
	}
	now := l.now()
	before, phaseBefore := l.view.Snapshot, l.view.phase
	newPhase := l.view.update(s, now)
	switch {
	case newPhase:
		// The last line of a counted phase is up to a few seconds old.
		if before.Phase.measured() && s.Phase > before.Phase {
			l.print(now, summary(before.Phase, max(before.Done, s.Done), l.view.phase.Sub(phaseBefore)))
		}
		l.print(now, l.line())
	case l.hintDue():
		l.hinted = true
		l.print(now, l.line()+": "+checkpointHint)
	case now.Sub(l.printed) >= l.every:
		l.print(now, l.line())
	}
}

func (l *lines) hintDue() bool {
	return l.view.Phase == WaitingForCheckpoint && !l.view.CheckpointFast && !l.hinted &&
		l.view.now.Sub(l.view.phase) >= hintAfter
}

// Finish ends the drawing. Every line is complete already.
func (l *lines) Finish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.finished = true
}

func (l *lines) print(now time.Time, text string) {
	l.printed = now
	_, _ = io.WriteString(l.w, text+"\n")
}

func (l *lines) line() string {
	v := &l.view
	if v.Phase == Done {
		return "done in " + Duration(v.now.Sub(v.started))
	}
	var parts []string
	if v.Phase.measured() {
		amount := Bytes(v.Done)
		if total := v.total(); total > 0 {
			amount = fmt.Sprintf("%s (%d%%)", bytesOf(v.Done, total, " of "), v.percent())
		}
		parts = append(parts, v.title()+": "+amount, v.rate(), v.left(), v.tablespace())
	} else {
		parts = append(parts, v.title()+v.elapsed())
	}
	line := parts[0]
	for _, p := range append(parts[1:], v.wal()) {
		if p != "" {
			line += partSeparator + p
		}
	}
	return line
}

// summary tells what a counted phase did.
func summary(p Phase, done int64, took time.Duration) string {
	verb := "copied"
	if p == Verifying {
		verb = "verified"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s in %s", verb, Bytes(done), Duration(took))
	if took >= rateMinimum {
		fmt.Fprintf(&b, " (%s/s)", Bytes(int64(float64(done)/took.Seconds())))
	}
	return b.String()
}
