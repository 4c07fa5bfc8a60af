package progress

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

const streaming = "streaming"

// view is a snapshot with what the clock adds to it. Both renderers keep one
// and describe it in their own length.
type view struct {
	Snapshot
	seen    bool
	now     time.Time
	started time.Time // of the run
	phase   time.Time // start of the present phase
	meter   meter
}

// update takes in the next snapshot and tells whether it begins a phase.
func (v *view) update(s Snapshot, now time.Time) (newPhase bool) {
	newPhase = !v.seen || s.Phase != v.Phase
	if !v.seen {
		v.started = now
	}
	if !s.Started.IsZero() {
		v.started = s.Started
	}
	if newPhase {
		v.phase = now
		v.meter.reset()
	}
	if !s.PhaseStarted.IsZero() {
		v.phase = s.PhaseStarted
	}
	v.seen, v.now, v.Snapshot = true, now, s
	if s.Phase.measured() {
		v.meter.add(now, s.Done)
	}
	return newPhase
}

// elapsed is how long the present phase lasts, in brackets, or nothing in its
// first second.
func (v *view) elapsed() string {
	d := v.now.Sub(v.phase)
	if d < time.Second {
		return ""
	}
	return " (" + Duration(d) + ")"
}

func (v *view) rate() string {
	perSecond, ok := v.meter.rate()
	if !ok {
		return ""
	}
	return Bytes(int64(perSecond)) + "/s"
}

func (v *view) left() string {
	total := v.total()
	if total == 0 || v.Done >= total {
		return ""
	}
	left, ok := v.meter.left(total - v.Done)
	if !ok {
		return ""
	}
	return Duration(left) + " left"
}

func (v *view) tablespace() string {
	if v.Tablespaces <= 1 || v.Tablespace <= 0 {
		return ""
	}
	return fmt.Sprintf("tablespace %d/%d", v.Tablespace, v.Tablespaces)
}

// wal says where the log stream is, and its state unless all is well.
func (v *view) wal() string {
	var words []string
	if v.WALPosition != 0 {
		words = append(words, lsn(v.WALPosition))
		if v.Phase == FinishingWAL && v.WALEnd != 0 {
			words = append(words, "of", lsn(v.WALEnd))
		}
		if v.WALTimeline != 0 {
			words = append(words, fmt.Sprintf("tl %d", v.WALTimeline))
		}
	}
	if v.walTroubled() {
		words = append(words, Sanitize(v.WALState))
	}
	if len(words) == 0 {
		return ""
	}
	return "WAL " + strings.Join(words, " ")
}

func (v *view) walTroubled() bool {
	return v.WALState != "" && v.WALState != streaming
}

// lsn is the text form that servers up to release 18 print.
func lsn(position uint64) string {
	return fmt.Sprintf("%X/%X", uint32(position>>32), uint32(position))
}

const (
	checkpointWait = "waiting for the server's checkpoint"
	checkpointHint = "it is spread over minutes on purpose; -c fast asks for an immediate one"
)

// title names a phase that has no bytes to count.
func (v *view) title() string {
	switch v.Phase {
	case Connecting:
		return "connecting to the server"
	case WaitingForCheckpoint:
		return checkpointWait
	case Copying:
		return "copying"
	case FinishingWAL:
		return "waiting for the log up to the backup's end"
	case Syncing:
		return "syncing data to disk"
	case CheckingManifest:
		return "checking the manifest"
	case Verifying:
		return "verifying"
	case Done:
		return "done"
	}
	return v.Phase.String()
}

// checkpoint gives the wording of the wait for a checkpoint, longest first.
// People take that wait for a hang, so every one says how long it lasts, and
// most of them what shortens it.
func (v *view) checkpoint() []string {
	wait, short := checkpointWait+v.elapsed(), "waiting for checkpoint"+v.elapsed()
	if v.CheckpointFast {
		return []string{wait, short}
	}
	return []string{
		wait + ": " + checkpointHint,
		wait + ", slow on purpose; -c fast asks for an immediate one",
		wait + "; -c fast makes it immediate",
		short + "; try -c fast",
		short,
	}
}

// part is a piece of a status line. The lower its rank, the longer it stays
// when room gets scarce. No two parts of a line have the same rank.
type part struct {
	text string
	rank int
}

const (
	partSeparator = ", "
	// shortestFile is the least of a file name that is worth showing.
	shortestFile = 12
)

// fit joins the parts that have room in width columns, in their order. What
// is left over goes to file, of which the end is kept.
func fit(parts []part, file string, width int) string {
	byRank := slices.Clone(parts)
	slices.SortStableFunc(byRank, func(a, b part) int { return cmp.Compare(a.rank, b.rank) })
	used, limit := -len(partSeparator), 0
	for _, p := range byRank {
		if p.text == "" {
			continue
		}
		need := len(partSeparator) + columns(p.text)
		// What ranks below a part that found no room stays away too, or pieces
		// would come and go with every digit.
		if used+need > width {
			break
		}
		used += need
		limit = p.rank
	}
	if used < 0 {
		return head(byRank[0].text, width)
	}
	var shown []string
	for _, p := range parts {
		if p.text != "" && p.rank <= limit {
			shown = append(shown, p.text)
		}
	}
	if room := width - used - len(partSeparator); file != "" && room >= shortestFile {
		shown = append(shown, tail(file, room))
	}
	return strings.Join(shown, partSeparator)
}
