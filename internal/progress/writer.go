package progress

import "io"

// Writer is an io.Writer for what shares the bar's terminal, such as the log
// on standard error. It takes the bar away, writes, and puts the bar back.
type Writer struct {
	w io.Writer
	t *terminal
}

// NewWriter gives a Writer to w beside the renderer r. With a renderer that is
// no bar, text goes straight through. Text that does not end with a newline
// keeps the bar away until the rest was written. It is as safe to call from
// several goroutines as the bar is; without a bar, as w is.
func NewWriter(w io.Writer, r Renderer) *Writer {
	t, _ := r.(*terminal)
	return &Writer{w: w, t: t}
}

// Write gives w the whole of p, and what w answered.
func (w *Writer) Write(p []byte) (int, error) {
	if w.t == nil || len(p) == 0 {
		return w.w.Write(p)
	}
	w.t.mu.Lock()
	defer w.t.mu.Unlock()
	w.t.erase()
	n, err := w.w.Write(p)
	if n > 0 {
		w.t.midLine = p[min(n, len(p))-1] != '\n'
	}
	w.t.draw()
	return n, err
}
