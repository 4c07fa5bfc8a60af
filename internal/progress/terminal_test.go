package progress

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

// screen replays what a terminal was sent: text, newline, return, erase to
// end of line. Anything else that controls it is an error.
type screen struct {
	t     *testing.T
	rows  []string // finished by a newline
	line  []rune
	col   int
	width int // longest line ever, in columns
}

var wrapping = regexp.MustCompile(`\x1b\[\?7[hl]`)

func replay(t *testing.T, sent string) *screen {
	t.Helper()
	s := &screen{t: t}
	sent = wrapping.ReplaceAllString(sent, "")
	for len(sent) > 0 {
		switch {
		case sent[0] == '\r':
			s.measure()
			s.col, sent = 0, sent[1:]
		case sent[0] == '\n':
			s.measure()
			s.rows = append(s.rows, string(s.line))
			s.line, s.col, sent = nil, 0, sent[1:]
		case strings.HasPrefix(sent, "\x1b[K"):
			s.line, sent = s.line[:s.col], sent[3:]
		case strings.HasPrefix(sent, "\x1b[0K"):
			s.line, sent = s.line[:s.col], sent[4:]
		case sent[0] < ' ':
			t.Fatalf("control character in %q", sent[:min(20, len(sent))])
		default:
			r, size := utf8.DecodeRuneInString(sent)
			s.line = append(s.line[:s.col], append([]rune{r}, s.line[min(len(s.line), s.col+1):]...)...)
			s.col++
			sent = sent[size:]
		}
	}
	s.measure()
	return s
}

// measure notes a line's width before the cursor leaves its end, where it is
// widest.
func (s *screen) measure() { s.width = max(s.width, columns(string(s.line))) }

func (s *screen) last() string { return strings.TrimRight(string(s.line), " ") }

func newTestTerminal(w io.Writer, width int) (*terminal, *clock) {
	c := newClock()
	r := NewTerminal(w, func() int { return width }).(*terminal)
	r.now = c.now
	return r, c
}

// wholeRun plays every phase with hostile and long values, and calls check
// after each phase.
func wholeRun(r Renderer, c *clock, check func(Phase)) {
	s := Snapshot{Started: c.at}
	for p := Connecting; p <= Done; p++ {
		if p == Copying {
			s.Total, s.Tablespace, s.Tablespaces = 900*mega, 2, 13
			s.WALTimeline, s.WALPosition, s.WALState = 4294967295, 0xFFFFFFFF_FFFFFFFF, "reconnecting"
			s.File = "base/\x1b[2J\u202e表表表表/" + strings.Repeat("größe", 300) + "/pg_internal.init"
		}
		c.play(r, &s, p, 12, func(s *Snapshot) {
			if p.measured() {
				s.Done += 17*mega + 333
			}
		})
		check(p)
	}
}

func TestNoLineIsWiderThanTheTerminal(t *testing.T) {
	t.Parallel()
	for _, width := range []int{1, 2, 5, 6, 9, 20, 32, 33, 34, 40, 47, 60, 79, 80, 81, 100, 133, 200} {
		var out bytes.Buffer
		r, c := newTestTerminal(&out, width)
		wholeRun(r, c, func(Phase) {})
		if got := replay(t, out.String()); got.width >= max(width, 2) || len(got.rows) > 0 {
			t.Fatalf("width %d: a line of %d columns, %d newlines", width, got.width, len(got.rows))
		}
		r.Finish()
		if got := replay(t, out.String()); string(got.line) != "" || got.col != 0 {
			t.Fatalf("width %d: Finish left %q", width, string(got.line))
		}
	}
}

func TestBarTextAtSeveralWidths(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		width int
		want  map[Phase]string
	}{
		{40, map[Phase]string{
			WaitingForCheckpoint: `| waiting for checkpoint (12s)`,
			Copying:              `  50% [=>...]  500/1000 MB, 5s left`,
			Syncing:              `| syncing data to disk (12s)`,
		}},
		{60, map[Phase]string{
			WaitingForCheckpoint: `| waiting for checkpoint (12s); try -c fast`,
			Copying:              `  50% [===>....]  500/1000 MB, 100 MB/s, 5s left`,
		}},
		{80, map[Phase]string{
			WaitingForCheckpoint: `| waiting for the server's checkpoint (12s); -c fast makes it immediate`,
			Copying:              `  50% [====>......]  500/1000 MB, 100 MB/s, 5s left, WAL 0/3000060 tl 2`,
		}},
		{100, map[Phase]string{
			WaitingForCheckpoint: `| waiting for the server's checkpoint (12s), slow on purpose; -c fast asks for an immediate one`,
			Copying:              `  50% [======>.......]  500/1000 MB, 100 MB/s, 5s left, tablespace 1/3, WAL 0/3000060 tl 2`,
		}},
		{140, map[Phase]string{
			WaitingForCheckpoint: `| waiting for the server's checkpoint (12s): it is spread over minutes on purpose; -c fast asks for an immediate one`,
			Copying:              `  50% [========>..........]  500/1000 MB, 100 MB/s, 5s left, tablespace 1/3, WAL 0/3000060 tl 2, base/5/16384`,
		}},
	} {
		for p, want := range c.want {
			var out bytes.Buffer
			r, k := newTestTerminal(&out, c.width)
			s := Snapshot{}
			if p == Copying {
				s = Snapshot{
					Total: 1000 * mega, Tablespace: 1, Tablespaces: 3, File: "base/5/16384",
					WALTimeline: 2, WALPosition: 0x3000060, WALState: "streaming",
				}
				k.play(r, &s, p, 5, func(s *Snapshot) { s.Done += 20 * mega })
			} else {
				k.play(r, &s, p, 12, nil)
			}
			got := regexp.MustCompile(`^[-/\\|]`).ReplaceAllString(replay(t, out.String()).last(), "|")
			if got != want {
				t.Errorf("width %d, %v:\ngot  %s\nwant %s", c.width, p, got, want)
			}
		}
	}
}

func TestTroubleOfTheLogStreamIsShownBeforeTheRate(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	r, c := newTestTerminal(&out, 60)
	s := Snapshot{Total: 1000 * mega, WALState: "reconnecting"}
	c.play(r, &s, Copying, 5, func(s *Snapshot) { s.Done += 20 * mega })
	if got := replay(t, out.String()).last(); !strings.HasSuffix(got, "500/1000 MB, WAL reconnecting") &&
		!strings.HasSuffix(got, "500/1000 MB, 5s left, WAL reconnecting") {
		t.Error(got)
	}
}

func TestBarGoesOnWhenTheEstimateIsExceeded(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	r, c := newTestTerminal(&out, 100)
	s := Snapshot{Total: 100 * mega}
	c.play(r, &s, Copying, 5, func(s *Snapshot) { s.Done += 10 * mega })
	if got := replay(t, out.String()).last(); !strings.Contains(got, "100% [==============]  250/250 MB, 50.0 MB/s") {
		t.Error(got)
	}
	s.Total = 500 * mega
	c.play(r, &s, Copying, 0, nil)
	if got := replay(t, out.String()).last(); !strings.HasPrefix(got, "  50% [======>.......]  250/500 MB") {
		t.Error(got)
	}
}

func TestUnknownTotalHasNoPercentage(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	r, c := newTestTerminal(&out, 80)
	c.play(r, &Snapshot{Done: 5 * mega}, Copying, 3, func(s *Snapshot) { s.Done += mega })
	if got := replay(t, out.String()).last(); !strings.HasSuffix(got, " copying 20.0 MB, 5.00 MB/s") {
		t.Error(got)
	}
}

func TestLogLinesStayWholeBesideTheBar(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	r, c := newTestTerminal(&out, 60)
	log := NewWriter(&out, r)
	var want []string
	wholeRun(r, c, func(p Phase) {
		line := fmt.Sprintf("level=WARN msg=%q phase=%v", "a line that is longer than the terminal has columns", p)
		want = append(want, line)
		if n, err := log.Write([]byte(line + "\n")); n != len(line)+1 || err != nil {
			t.Errorf("Write = %d, %v", n, err)
		}
		if replay(t, out.String()).last() == "" {
			t.Errorf("%v: no bar after a log line", p)
		}
	})
	r.Finish()
	_, _ = io.WriteString(log, "last\n")
	want = append(want, "last")
	got := replay(t, out.String())
	if strings.Join(got.rows, "\n") != strings.Join(want, "\n") || len(got.line) > 0 {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got.rows, "\n"), strings.Join(want, "\n"))
	}
}

func TestBarWaitsForTheEndOfAPrompt(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	r, c := newTestTerminal(&out, 60)
	log := NewWriter(&out, r)
	c.play(r, &Snapshot{}, Connecting, 1, nil)
	_, _ = io.WriteString(log, "Password: ")
	c.play(r, &Snapshot{}, Connecting, 1, nil)
	if got := string(replay(t, out.String()).line); got != "Password: " {
		t.Errorf("line is %q", got)
	}
	_, _ = io.WriteString(log, "\n")
	got := replay(t, out.String())
	if len(got.rows) != 1 || got.rows[0] != "Password: " || !strings.Contains(got.last(), "connecting") {
		t.Errorf("rows %q, line %q", got.rows, got.last())
	}
}

func TestWriterBesideLinesPassesThrough(t *testing.T) {
	t.Parallel()
	for _, r := range []Renderer{Discard, NewLines(io.Discard, 0)} {
		var out bytes.Buffer
		_, _ = io.WriteString(NewWriter(&out, r), "text")
		if out.String() != "text" {
			t.Errorf("got %q", out.String())
		}
	}
}

// Not parallel: it counts the goroutines of the whole test binary.
func TestNoGoroutineOutlivesARenderer(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 20 {
		r, c := newTestTerminal(io.Discard, 80)
		wholeRun(r, c, func(Phase) {})
		if during := runtime.NumGoroutine(); during > before {
			t.Fatalf("%d goroutines before, %d while drawing", before, during)
		}
		r.Finish()
	}
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("%d goroutines before, %d after", before, after)
	}
}

func TestBarAndLogMayBeWrittenAtOnce(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	r := NewTerminal(&out, nil)
	log := NewWriter(&out, r)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for range 200 {
				_, _ = io.WriteString(log, "level=INFO msg=whole\n")
			}
		})
	}
	wg.Go(func() {
		for i := range 400 {
			r.Update(Snapshot{Phase: Copying, Done: int64(i), Total: 400})
		}
	})
	wg.Wait()
	r.Finish()
	r.Finish()
	r.Update(Snapshot{})
	got := replay(t, out.String())
	for _, row := range got.rows {
		if row != "level=INFO msg=whole" {
			t.Fatalf("garbled: %q", row)
		}
	}
	if len(got.rows) != 600 || len(got.line) > 0 {
		t.Errorf("%d lines, %q left", len(got.rows), string(got.line))
	}
}

func TestOnlyACapableTerminalIsInteractive(t *testing.T) {
	t.Parallel()
	if capable("dumb") || !capable("xterm-256color") {
		t.Error("TERM is misjudged")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if Interactive(w) {
		t.Error("a pipe is taken for a terminal")
	}
	if _, ok := New(w).(*lines); !ok {
		t.Error("a pipe does not get lines")
	}
}

func TestFileNameReachesTheTerminalSanitized(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	r, c := newTestTerminal(&out, 100)
	s := Snapshot{Total: 1000, File: strings.Repeat("long/", 500) + "evil\x1b[2J\u202e\n\xff"}
	c.play(r, &s, Copying, 1, nil)
	if got := replay(t, out.String()).last(); !strings.HasSuffix(got, `/evil\x1b[2J\u202e\x0a\xff`) {
		t.Errorf("got %q", got)
	}
}
