package compress

import (
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// frameSize is how many bytes become one zstd frame: enough for the compressor
// to find what repeats, and few enough to hold some for each processor.
const frameSize = 2 << 20

// frameWriter compresses stretches of a stream beside each other. Each becomes
// a frame of its own; frames behind each other are one zstd stream (RFC 8878,
// 3).
type frameWriter struct {
	encoder *zstd.Encoder
	to      io.Writer
	buf     []byte
	begun   bool // there is a frame
	closed  bool
	free    chan *frame // those that are not under way
	order   chan *frame // those that are, in the order of the stream
	ended   chan struct{}

	mu  sync.Mutex
	err error // of to, the first
}

// frame is a stretch of the stream.
type frame struct {
	plain, packed []byte
	done          chan struct{} // gets something when packed is there
}

func newFrameWriter(w io.Writer, workers int, options []zstd.EOption) (*frameWriter, error) {
	// An encoder keeps what each of its workers needs.
	encoder, err := zstd.NewWriter(nil, append(options, zstd.WithEncoderConcurrency(workers), zstd.WithZeroFrames(true))...)
	if err != nil {
		return nil, err
	}
	f := &frameWriter{
		encoder: encoder, to: w, buf: make([]byte, 0, frameSize),
		free: make(chan *frame, workers), order: make(chan *frame, workers), ended: make(chan struct{}),
	}
	for range workers {
		f.free <- &frame{done: make(chan struct{}, 1)}
	}
	go f.write()
	return f, nil
}

// Write implements io.Writer. The error may be that of an earlier stretch.
func (f *frameWriter) Write(p []byte) (int, error) {
	taken := len(p)
	for len(p) > 0 {
		n := min(len(p), frameSize-len(f.buf))
		f.buf = append(f.buf, p[:n]...)
		p = p[n:]
		if len(f.buf) == frameSize {
			if err := f.pack(); err != nil {
				return 0, err
			}
		}
	}
	return taken, nil
}

// pack begins to compress what was gathered.
func (f *frameWriter) pack() error {
	f.begun = true
	next := <-f.free
	if next.plain == nil {
		next.plain = make([]byte, 0, frameSize)
	}
	next.plain, f.buf = f.buf, next.plain[:0]
	f.order <- next
	go func() {
		next.packed = f.encoder.EncodeAll(next.plain, next.packed[:0])
		next.done <- struct{}{}
	}()
	return f.failed()
}

// write hands on what is compressed.
func (f *frameWriter) write() {
	defer close(f.ended)
	for next := range f.order {
		<-next.done
		if f.failed() == nil {
			if _, err := f.to.Write(next.packed); err != nil {
				f.mu.Lock()
				f.err = err
				f.mu.Unlock()
			}
		}
		f.free <- next
	}
}

func (f *frameWriter) failed() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// Close ends the stream. An empty one is an empty frame.
func (f *frameWriter) Close() error {
	if f.closed {
		return f.failed()
	}
	f.closed = true
	if len(f.buf) > 0 || !f.begun {
		_ = f.pack() // the error shows below
	}
	close(f.order)
	<-f.ended
	return f.failed()
}
