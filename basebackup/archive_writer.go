package basebackup

import (
	"bufio"
	"errors"
	"io"

	"github.com/pgbraid/pgbraid/internal/compress"
	"github.com/pgbraid/pgbraid/internal/durable"
)

// archiveWriter is an archive of a tar backup that is being written,
// compressed if that was asked for.
type archiveWriter struct {
	io.Writer                  // what the archive's bytes go into
	compressor *compressStage  // nil: they are not compressed
	file       *durable.Writer // nil: the backup goes to an output
	output     interface{ Flush() error }
}

// newArchiveFile makes an archive in a file, which is made here.
func newArchiveFile(f *durable.File, z compress.Spec, gathered *durable.Writer) (*archiveWriter, error) {
	gathered.Start(f)
	a := &archiveWriter{Writer: gathered, file: gathered}
	if err := a.compress(z); err != nil {
		a.abandon()
		return nil, err
	}
	return a, nil
}

func (a *archiveWriter) compress(z compress.Spec) error {
	if z.Method == compress.None {
		return nil
	}
	stage, err := newCompressStage(z, a.Writer)
	if err != nil {
		return err
	}
	a.Writer, a.compressor = stage, stage
	return nil
}

// finish writes what is left. The file, if there is one, is neither synced nor
// closed yet, and the caller's from here on.
func (a *archiveWriter) finish() (*durable.File, error) {
	var err error
	if a.compressor != nil {
		err = a.compressor.Close()
		a.compressor = nil
	}
	if a.file == nil {
		return nil, errors.Join(err, a.output.Flush())
	}
	f, e := a.file.Finish()
	a.file = nil
	return f, errors.Join(err, e)
}

// abandon lets go of an archive that was not finished.
func (a *archiveWriter) abandon() {
	if a.compressor != nil {
		a.compressor.abort()
	}
	if a.file != nil {
		if f := a.file.Abandon(); f != nil {
			_ = f.Close() // the backup has failed already
		}
	}
}

// outputBuffer is how much is gathered before it goes to an output, in bytes.
const outputBuffer = 1 << 20

// newArchiveOutput makes an archive that goes to w.
func newArchiveOutput(w io.Writer, z compress.Spec) (*archiveWriter, error) {
	gathered := bufio.NewWriterSize(w, outputBuffer)
	a := &archiveWriter{Writer: gathered, output: gathered}
	return a, a.compress(z)
}
