package progress

// Terminal manners:
//
//   - The bar owns the last line of the screen and nothing else. It is one
//     line: text is cut to the terminal's width, one column stays free, and
//     automatic wrapping is off while the line is written, since a width may
//     be stale and a character wider than believed.
//   - The width is asked for anew with every frame.
//   - A frame is one Write, so that nothing gets in between.
//   - Whoever writes to the same terminal goes through Writer, which takes the
//     bar away, writes whole, and puts the bar back. A line that is not yet
//     ended (a prompt) keeps the bar away until it is.
//   - Finish leaves the line empty and the cursor at its beginning. What a
//     person should keep is for the program to print after that.
//   - No colours, no cursor tricks besides return, "erase to end of line" and
//     the wrapping mode; ASCII only, save for file names. A terminal that
//     cannot do these gets lines instead (New).
//   - Nothing that the server sent reaches the screen unsanitized.

import (
	"io"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
)

const (
	clearLine = "\r\x1b[K"
	wrapOff   = "\x1b[?7l"
	wrapOn    = "\x1b[?7h"

	defaultWidth = 80
	// barOverhead is what progressbar puts around bar and text: the percentage,
	// two brackets and four blanks.
	barOverhead = 11
	// spinnerOverhead is the spinner and three blanks.
	spinnerOverhead = 4
	// narrowest is the least line, in columns, that has room for a bar.
	narrowest = 32
	// longestFile bounds, in bytes, what is looked at of a file's name.
	longestFile = 1024
)

// NewTerminal draws a bar on a terminal: percentage, bytes of the total, rate,
// time left, tablespace, and the position of the log stream, as far as there
// is room. width gives the terminal's columns and is called for every frame;
// when it is nil or gives 0 or less, 80 are assumed.
func NewTerminal(w io.Writer, width func() int) Renderer {
	if width == nil {
		width = func() int { return 0 }
	}
	// Neither bar writes anywhere: String gives the frame. The rate and the
	// time left are not progressbar's own, which counts in powers of 1000 and
	// has no answer for a stall.
	common := []progressbar.Option{
		progressbar.OptionSetWriter(io.Discard),
		progressbar.OptionUseANSICodes(true),
		progressbar.OptionSetTheme(progressbar.ThemeASCII),
		progressbar.OptionSetPredictTime(false),
		progressbar.OptionSetElapsedTime(false),
	}
	return &terminal{
		w:     w,
		width: width,
		now:   time.Now,
		bar: progressbar.NewOptions64(1, append(common,
			progressbar.OptionShowDescriptionAtLineEnd())...),
		// An interval of 0 turns the spinner with each frame. Any other makes
		// progressbar start a goroutine that it never joins.
		spinner: progressbar.NewOptions64(-1, append(common,
			progressbar.OptionSpinnerType(9),
			progressbar.OptionSetSpinnerChangeInterval(0))...),
	}
}

type terminal struct {
	w     io.Writer
	width func() int
	now   func() time.Time

	// mu guards all below, and w: Writer takes it too.
	mu       sync.Mutex
	bar      *progressbar.ProgressBar
	spinner  *progressbar.ProgressBar
	view     view
	frame    string // what is, or should be, on the line
	midLine  bool   // somebody else's line is not yet ended
	finished bool
}

func (t *terminal) Update(s Snapshot) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.finished {
		return
	}
	t.view.update(s, t.now())
	frame := t.render()
	if frame == "" {
		t.erase()
	}
	t.frame = frame
	t.draw()
}

// Finish clears the line.
func (t *terminal) Finish() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.finished {
		return
	}
	t.finished = true
	t.erase()
	t.frame = ""
}

// draw and erase need mu.
func (t *terminal) draw() {
	if t.frame != "" && !t.midLine {
		_, _ = io.WriteString(t.w, wrapOff+t.frame+wrapOn)
	}
}

func (t *terminal) erase() {
	if t.frame != "" && !t.midLine {
		_, _ = io.WriteString(t.w, clearLine)
	}
}

func (t *terminal) render() string {
	width := t.width()
	if width <= 0 {
		width = defaultWidth
	}
	limit := width - 1
	if limit <= spinnerOverhead {
		return ""
	}
	if t.view.Phase.measured() && t.view.total() > 0 && limit >= narrowest {
		return t.renderBar(limit)
	}
	return t.renderSpinner(t.text(limit - spinnerOverhead))
}

func (t *terminal) renderBar(limit int) string {
	barWidth := min(limit/7, 30)
	text := t.counted("", limit-barOverhead-barWidth)
	// A bar that reached its maximum draws itself never again; Reset forgets
	// that, and an estimated total is reached long before the end.
	t.bar.Reset()
	progressbar.OptionSetWidth(barWidth)(t.bar)
	progressbar.OptionSetDescription(text)(t.bar)
	t.bar.ChangeMax64(t.view.total())
	_ = t.bar.Set64(max(0, t.view.Done))
	_ = t.bar.RenderBlank()
	return t.bar.String()
}

func (t *terminal) renderSpinner(text string) string {
	progressbar.OptionSetDescription(text)(t.spinner)
	_ = t.spinner.RenderBlank()
	return t.spinner.String()
}

// text describes what has no bar, in width columns.
func (t *terminal) text(width int) string {
	v := &t.view
	switch {
	case v.Phase.measured():
		return t.counted(v.title()+" ", width)
	case v.Phase == WaitingForCheckpoint:
		return t.checkpoint(width)
	}
	return fit([]part{{v.title() + v.elapsed(), 0}, {v.wal(), 1}}, "", width)
}

func (t *terminal) checkpoint(width int) string {
	wordings := t.view.checkpoint()
	for _, wording := range wordings {
		if columns(wording) <= width {
			return wording
		}
	}
	return head(wordings[len(wordings)-1], width)
}

// counted describes a phase that counts bytes, in width columns.
func (t *terminal) counted(prefix string, width int) string {
	v := &t.view
	amount := Bytes(v.Done)
	if total := v.total(); total > 0 {
		amount = bytesOf(v.Done, total, "/")
	}
	file := v.File[max(0, len(v.File)-longestFile):]
	walRank := 4
	if v.walTroubled() {
		walRank = 1
	}
	return fit([]part{
		{prefix + amount, 0},
		{v.rate(), 3},
		{v.left(), 2},
		{v.tablespace(), 5},
		{v.wal(), walRank},
	}, Sanitize(file), width)
}
