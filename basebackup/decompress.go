package basebackup

import (
	"errors"
	"io"

	"github.com/pgbraid/pgbraid/internal/compress"
)

// decompressor hands on what a compressed stream holds that is pushed into it.
// Its library reads, so that it has a goroutine of its own, and the writer
// behind it is called from there.
type decompressor struct {
	pipe    *io.PipeWriter
	done    chan error
	written bool // anything
}

// decompress starts a decompressor for one stream. Close or abort must follow.
func decompress(m compress.Method, to io.Writer) *decompressor {
	reader, writer := io.Pipe()
	d := &decompressor{pipe: writer, done: make(chan error, 1)}
	go func() {
		err := copyDecompressed(m, to, reader)
		// What is still written ends with this error.
		_ = reader.CloseWithError(err)
		d.done <- err
	}()
	return d
}

func copyDecompressed(m compress.Method, to io.Writer, from io.Reader) error {
	z, err := m.NewReader(from)
	if err != nil {
		return err
	}
	// The libraries' WriteTo, which io.Copy calls, hands on their own buffers.
	_, err = io.Copy(struct{ io.Writer }{to}, z)
	return errors.Join(err, z.Close())
}

// Write takes the next bytes of the compressed stream. The error is the one
// that decompressing met, or the writer behind it.
func (d *decompressor) Write(p []byte) (int, error) {
	d.written = true
	n, err := d.pipe.Write(p)
	if errors.Is(err, io.ErrClosedPipe) {
		// It ended without an error before its input did.
		err = errors.New("data behind the end of the compressed archive")
	}
	return n, err
}

// Close tells that the stream has ended, and returns when all that it holds
// has been handed on.
func (d *decompressor) Close() error {
	_ = d.pipe.Close() // never fails
	err := <-d.done
	if err == nil && !d.written {
		// Some libraries take nothing for a stream.
		return io.ErrUnexpectedEOF
	}
	return err
}

var errAborted = errors.New("aborted")

// abort ends it in the middle of the stream, and returns when the writer
// behind it is not called any more.
func (d *decompressor) abort() {
	_ = d.pipe.CloseWithError(errAborted) // never fails
	<-d.done
}
