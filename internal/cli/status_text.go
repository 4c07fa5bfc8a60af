package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/pgbraid/pgbraid/internal/progress"
	"github.com/pgbraid/pgbraid/logstream"
)

func count[N int | uint64](n N, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// statusText is the text form of an inventory.
func statusText(dir string, i *logstream.Inventory, now time.Time) string {
	w := &statusWriter{Inventory: i}
	w.line(0, "log in %s%s", progress.Sanitize(dir), w.origin())
	known := map[logstream.TimelineID]bool{}
	for _, t := range i.Timelines {
		known[t.Timeline] = true
	}
	for _, t := range i.Timelines {
		if !known[t.Parent] {
			w.timeline(t, 0)
		}
	}
	w.newest(now)
	w.files()
	w.lost()
	w.faults()
	return w.String()
}

type statusWriter struct {
	strings.Builder
	*logstream.Inventory
}

func (w *statusWriter) line(depth int, format string, args ...any) {
	fmt.Fprintf(w, "%s%s\n", strings.Repeat("  ", depth), fmt.Sprintf(format, args...))
}

// origin tells of the cluster that the log is of.
func (w *statusWriter) origin() string {
	var parts []string
	if w.Major != 0 {
		parts = append(parts, fmt.Sprintf("PostgreSQL %d", w.Major))
	}
	if w.SystemID != 0 {
		parts = append(parts, fmt.Sprintf("system identifier %d", w.SystemID))
	}
	if w.SegmentSize != 0 {
		parts = append(parts, fmt.Sprintf("segments of %d MB", w.SegmentSize>>20))
	}
	if len(parts) == 0 {
		return ""
	}
	return ": " + strings.Join(parts, ", ")
}

// timeline shows a timeline, and below it those that left it.
func (w *statusWriter) timeline(t logstream.TimelineInventory, depth int) {
	text := ""
	if t.Parent != 0 {
		text = fmt.Sprintf(", forked from timeline %d at %s", t.Parent, t.Fork)
	}
	if len(t.Ranges)+len(t.Partials) == 0 {
		text += ": no segment"
	}
	w.line(depth, "timeline %d%s", t.Timeline, text)
	for _, r := range t.Ranges {
		w.line(depth+1, "%s", w.segments(r))
	}
	for _, f := range t.Partials {
		w.line(depth+1, "%s", f.Name)
	}
	for _, child := range w.Timelines {
		if child.Parent == t.Timeline {
			w.timeline(child, depth+1)
		}
	}
}

// segments shows a run of segments.
func (w *statusWriter) segments(r logstream.SegmentRange) string {
	s := newStatusRange(w.SegmentSize, r)
	names := s.First
	if r.Count() > 1 {
		names += " to " + s.Last
	}
	return fmt.Sprintf("%s  %s, %s to %s", names, count(r.Count(), "segment"), s.From, s.To)
}

func (w *statusWriter) newest(now time.Time) {
	if w.Newest.LSN == 0 {
		w.line(0, "newest: no complete record")
		return
	}
	text := ""
	if !w.LastCommit.IsZero() {
		text = ", last commit " + w.LastCommit.UTC().Format("2006-01-02 15:04:05 MST")
		if age := now.Sub(w.LastCommit); age >= 0 {
			text += " (" + progress.Duration(age) + " ago)"
		}
	}
	w.line(0, "newest: %s%s", w.Newest, text)
}

func (w *statusWriter) files() {
	var parts []string
	for _, c := range []struct {
		logstream.FileCount
		kind string
	}{{w.Plain, "plain"}, {w.Compressed, "compressed"}, {w.Partial, "partial"}} {
		if c.Files > 0 {
			parts = append(parts, fmt.Sprintf("%d %s (%s)", c.Files, c.kind, progress.Bytes(c.Bytes)))
		}
	}
	if w.Other > 0 {
		parts = append(parts, fmt.Sprintf("%d other", w.Other))
	}
	if len(parts) == 0 {
		parts = []string{"none"}
	}
	w.line(0, "files: %s", strings.Join(parts, ", "))
}

// lost shows what a failover lost, which is no fault of the archive.
func (w *statusWriter) lost() {
	for n, f := range w.Lost {
		if n == shownFaults {
			w.line(0, "lost in a failover: and %d more", len(w.Lost)-n)
			break
		}
		w.line(0, "lost in a failover: %s to %s (%s), kept in %s",
			f.From, logstream.Position{Timeline: f.Timeline, LSN: f.To}, progress.Bytes(int64(f.To-f.From)), f.Name)
	}
}

// shownFaults is how many holes, and how many bad files, the text names. JSON
// has them all.
const shownFaults = 20

func (w *statusWriter) faults() {
	if len(w.Holes) == 0 {
		w.line(0, "holes: none")
	}
	for n, h := range w.Holes {
		if n == shownFaults {
			w.line(0, "hole: and %d more", len(w.Holes)-n)
			break
		}
		w.line(0, "hole: %s", w.segments(h))
	}
	for n, b := range w.Bad {
		if n == shownFaults {
			w.line(0, "bad: and %d more", len(w.Bad)-n)
			break
		}
		w.line(0, "bad: %s: %s", progress.Sanitize(b.Name), progress.Sanitize(oneLine(b.Err.Error())))
	}
}
