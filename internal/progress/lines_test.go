package progress

import (
	"bytes"
	"testing"
	"time"
)

// clock is a clock that stands still unless it is told.
type clock struct{ at time.Time }

func newClock() *clock { return &clock{time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *clock) now() time.Time { return c.at }

// play steps the clock through seconds of a phase, five updates each, and
// changes the snapshot before every update.
func (c *clock) play(r Renderer, s *Snapshot, p Phase, seconds int, change func(*Snapshot)) {
	s.Phase, s.PhaseStarted = p, c.at
	r.Update(*s)
	for range seconds * 5 {
		c.at = c.at.Add(200 * time.Millisecond)
		if change != nil {
			change(s)
		}
		r.Update(*s)
	}
}

const mega = 1 << 20

func TestLinesTellAWholeRun(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := newClock()
	l := &lines{w: &out, every: 5 * time.Second, now: c.now}
	s := Snapshot{Started: c.at}
	c.play(l, &s, Connecting, 1, nil)
	c.play(l, &s, WaitingForCheckpoint, 13, nil)
	s.Total, s.Tablespaces, s.Tablespace, s.WALTimeline = 1000*mega, 3, 1, 2
	s.WALPosition, s.WALState = 0x3000060, "streaming"
	c.play(l, &s, Copying, 11, func(s *Snapshot) { s.Done += 20 * mega })
	s.WALEnd, s.WALState = 0x30001A8, "reconnecting\x1b[2J"
	c.play(l, &s, FinishingWAL, 2, nil)
	s.WALState, s.WALPosition = "", 0
	c.play(l, &s, Syncing, 6, nil)
	c.play(l, &s, CheckingManifest, 0, nil)
	c.play(l, &s, Done, 0, nil)
	l.Finish()
	l.Update(s)
	want := `connecting to the server
waiting for the server's checkpoint
waiting for the server's checkpoint (2s): it is spread over minutes on purpose; -c fast asks for an immediate one
waiting for the server's checkpoint (7s)
waiting for the server's checkpoint (12s)
copying: 0 B of 1000 MB (0%), tablespace 1/3, WAL 0/3000060 tl 2
copying: 500 of 1000 MB (50%), 100 MB/s, 5s left, tablespace 1/3, WAL 0/3000060 tl 2
copying: 1000 of 1000 MB (100%), 100 MB/s, tablespace 1/3, WAL 0/3000060 tl 2
copied 1.07 GB in 11s (100 MB/s)
waiting for the log up to the backup's end, WAL 0/3000060 of 0/30001A8 tl 2 reconnecting\x1b[2J
syncing data to disk
syncing data to disk (5s)
checking the manifest
done in 33s
`
	if got := out.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestNoHintWhenTheCheckpointIsFast(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := newClock()
	l := &lines{w: &out, every: 5 * time.Second, now: c.now}
	c.play(l, &Snapshot{CheckpointFast: true}, WaitingForCheckpoint, 6, nil)
	want := "waiting for the server's checkpoint\nwaiting for the server's checkpoint (5s)\n"
	if got := out.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestLinesWithoutATotalAndTimesCountFromTheFirstUpdate(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := newClock()
	l := &lines{w: &out, every: 2 * time.Second, now: c.now}
	for range 21 {
		l.Update(Snapshot{Phase: Copying, Done: 3 * mega})
		c.at = c.at.Add(100 * time.Millisecond)
	}
	l.Update(Snapshot{Phase: Done, Done: 4 * mega})
	want := "copying: 3.00 MB\ncopying: 3.00 MB, 0 B/s\ncopied 4.00 MB in 2s (1.90 MB/s)\ndone in 2s\n"
	if got := out.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
