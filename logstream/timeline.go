package logstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pgbraid/pgbraid/internal/replconn"
)

// HistoryEntry tells where a timeline was left: WAL of Timeline is part of the
// history up to Switch.
type HistoryEntry struct {
	Timeline TimelineID
	Switch   LSN
	Reason   string
}

// History is the content of a timeline's history file: the timelines that it
// descends from, the oldest first.
type History []HistoryEntry

// maxHistory caps a history file, in bytes. A line has about 60.
const maxHistory = 4 << 20

// ParseHistory reads a history file: lines of timeline, switch LSN and reason,
// divided by blanks; empty lines and lines that begin with # are passed over
// (PostgreSQL manual, "Streaming Replication Protocol"). Timelines must grow from line to line. LSNs may fall: a
// server writes that when a recovery ended before its target timeline began.
func ParseHistory(content []byte) (History, error) {
	if len(content) > maxHistory {
		return nil, fmt.Errorf("timeline history: %d bytes are too many", len(content))
	}
	var h History
	for number, line := range bytes.Split(content, []byte{'\n'}) {
		fields := bytes.Fields(line)
		if len(fields) == 0 || fields[0][0] == '#' {
			continue
		}
		if len(fields) < 2 {
			return nil, fmt.Errorf("timeline history: line %d: want a timeline and an LSN", number+1)
		}
		t, err := ParseTimelineID(string(fields[0]))
		if err != nil {
			return nil, fmt.Errorf("timeline history: line %d: %w", number+1, err)
		}
		l, err := ParseLSN(string(fields[1]))
		if err != nil {
			return nil, fmt.Errorf("timeline history: line %d: %w", number+1, err)
		}
		if n := len(h); n > 0 && t <= h[n-1].Timeline {
			return nil, fmt.Errorf("timeline history: line %d: out of order", number+1)
		}
		h = append(h, HistoryEntry{t, l, string(bytes.Join(fields[2:], []byte{' '}))})
	}
	return h, nil
}

// SwitchPoint is where timeline t was left in this history. ok is false if t
// is not part of it.
func (h History) SwitchPoint(t TimelineID) (l LSN, ok bool) {
	for _, e := range h {
		if e.Timeline == t {
			return e.Switch, true
		}
	}
	return 0, false
}

// After is the timeline that follows t in the history of timeline last.
func (h History) After(t, last TimelineID) TimelineID {
	for i, e := range h {
		if e.Timeline == t && i+1 < len(h) {
			return h[i+1].Timeline
		}
	}
	return last
}

// before is the part of the history that timeline t has as its own.
func (h History) before(t TimelineID) History {
	for i, e := range h {
		if e.Timeline >= t {
			return h[:i]
		}
	}
	return h
}

// same tells whether two histories are the same: timelines and LSNs, whatever
// the reasons are.
func (h History) same(other History) bool {
	return slices.EqualFunc(h, other, func(a, b HistoryEntry) bool {
		return a.Timeline == b.Timeline && a.Switch == b.Switch
	})
}

// forks shows where the history's timelines were left.
func (h History) forks() string {
	var list []string
	for _, e := range h {
		list = append(list, fmt.Sprintf("timeline %d at %s", e.Timeline, e.Switch))
	}
	return strings.Join(list, ", ")
}

// fetchHistory asks the server for the history file of a timeline over 1 and
// checks that it is that file and can be read.
func fetchHistory(ctx context.Context, c *replconn.Conn, t TimelineID) ([]byte, History, error) {
	command := "TIMELINE_HISTORY " + strconv.FormatUint(uint64(t), 10)
	result, err := c.Query(ctx, command)
	if err != nil {
		return nil, nil, &CommandError{command, fmt.Sprintf("fetching the history of timeline %d", t), err}
	}
	row, err := result.Row(2)
	if err != nil {
		return nil, nil, fmt.Errorf("fetching the history of timeline %d: %w", t, err)
	}
	if name := string(row[0]); name != t.HistoryFileName() {
		return nil, nil, fmt.Errorf("%w: server reported unexpected history file name for timeline %d: %q", replconn.ErrMalformed, t, name)
	}
	h, err := ParseHistory(row[1])
	if err != nil {
		return nil, nil, fmt.Errorf("history of timeline %d: %w", t, err)
	}
	if n := len(h); n == 0 || h[n-1].Timeline >= t {
		return nil, nil, fmt.Errorf("history of timeline %d: %w", t, errNoParent)
	}
	return row[1], h, nil
}

var errNoParent = errors.New("it does not descend from an older timeline")
