package basebackup

import (
	"errors"
	"io"
	"sync/atomic"

	"github.com/pgbraid/pgbraid/internal/compress"
)

// compressStage compresses in goroutines of the library's own: what goes in is
// only gathered here, and the writer behind it is called from there.
type compressStage struct {
	io.WriteCloser
	out *stoppable
}

func newCompressStage(z compress.Spec, to io.Writer) (*compressStage, error) {
	out := &stoppable{Writer: to}
	w, err := z.NewWriter(out)
	if err != nil {
		return nil, err
	}
	return &compressStage{w, out}, nil
}

// abort ends the stream in its middle. When it returns the writer behind is
// not called any more.
func (c *compressStage) abort() {
	c.out.stop()
	_ = c.Close() // the stream is not whole, and its output stopped
}

var errStopped = errors.New("stopped")

// stoppable is a writer that can be told to take no more. It may be written to
// from another goroutine than the one that stops it.
type stoppable struct {
	io.Writer
	stopped atomic.Bool
}

func (s *stoppable) stop() { s.stopped.Store(true) }

func (s *stoppable) Write(p []byte) (int, error) {
	if s.stopped.Load() {
		return 0, errStopped
	}
	return s.Writer.Write(p)
}
