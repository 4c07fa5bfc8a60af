package logstream

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/pgbraid/pgbraid/internal/compress"
	"github.com/pgbraid/pgbraid/internal/durable"
)

// A compressed archive: the segment that is being received is a plain .partial
// file, which a restart goes on from and which is durable as far as any other;
// once it is full, a worker writes the compressed file beside it, which takes
// its place when it is durable. So no torn compressed file is ever there under
// a name that means something.

const temporarySuffix = ".tmp"

// packBuffer is how much of a segment is handed to the compressor at once.
const packBuffer = 256 << 10

// packError says that a segment could not be compressed. It is still there as
// it was received.
type packError struct{ error }

func (e *packError) Unwrap() error { return e.error }

// noRoomToPack tells whether err is that of a packError, for lack of room.
func noRoomToPack(err error) bool {
	var packing *packError
	return errors.As(err, &packing) && noRoom(packing)
}

// Packing tells whether Seal waits for the compressor. It may be called from any
// goroutine.
func (s *dirSegment) Packing() bool { return s.packing.Load() }

func (s *dirSegment) packedPath() string {
	return filepath.Join(s.store.dir, s.name+s.store.options.Compression.Method.Suffix())
}

// pack writes the compressed segment under a temporary name.
func (s *dirSegment) pack() (err error) {
	d := s.store
	d.packing <- struct{}{}
	defer func() { <-d.packing }()
	f, err := durable.OpenFile(s.packedPath()+temporarySuffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, d.options.Mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buffered := bufio.NewWriterSize(f, packBuffer)
	z, err := d.options.Compression.NewWriter(buffered)
	if err != nil {
		return err
	}
	source := io.NewSectionReader(s.file, 0, int64(d.size))
	if _, err := io.CopyBuffer(struct{ io.Writer }{z}, source, make([]byte, packBuffer)); err != nil {
		return err
	}
	if err := errors.Join(z.Close(), buffered.Flush()); err != nil {
		return err
	}
	if d.options.NoSync {
		return nil
	}
	return f.Sync()
}

// sealPacked puts the compressed segment into the place of the partial one,
// whose bytes need no fsync of their own then.
func (s *dirSegment) sealPacked() error {
	s.packing.Store(true)
	err := <-s.packed
	s.packing.Store(false)
	s.packed = nil
	last := s.packedPath()
	if err != nil {
		_ = durable.Remove(last + temporarySuffix)
		_ = s.file.Close() // it is written anew
		return &packError{err}
	}
	if err := errors.Join(s.store.rename(last+temporarySuffix, last), s.file.Close()); err != nil {
		return err
	}
	s.store.dropPartials(s.name)
	return s.store.markArchived(s.name)
}

// sealFirst gives the segment its last name and leaves its file open, from which
// the compressor reads. Pack or LeavePlain follows.
func (s *dirSegment) sealFirst() error {
	if err := s.Sync(); err != nil {
		return errors.Join(err, s.LeavePlain())
	}
	last := filepath.Join(s.store.dir, s.name)
	if err := s.store.rename(last+PartialSuffix, last); err != nil {
		return errors.Join(err, s.LeavePlain())
	}
	s.store.dropPartials(s.name)
	return s.store.markArchived(s.name)
}

// PackLater tells whether Seal leaves compressing for Pack.
func (s *dirSegment) PackLater() bool {
	return s.store.options.SealFirst && s.store.options.Compression.Method != compress.None
}

// Pack puts the compressed segment into the place of the one that Seal made.
// After an error, which is one of packError, it can be called again.
func (s *dirSegment) Pack() error {
	if s.packed == nil { // it failed before
		s.Full()
	}
	err := <-s.packed
	s.packed = nil
	last := s.packedPath()
	if err == nil {
		err = s.store.rename(last+temporarySuffix, last)
	}
	if err != nil {
		_ = durable.Remove(last + temporarySuffix)
		return &packError{err}
	}
	err = errors.Join(durable.Remove(filepath.Join(s.store.dir, s.name)), s.file.Close())
	if s.store.options.NoSync {
		return err
	}
	// A crash must not bring the plain one back beside the compressed one.
	return errors.Join(err, durable.SyncDir(s.store.dir))
}

// LeavePlain ends a segment that is not compressed after all.
func (s *dirSegment) LeavePlain() error {
	if s.packed != nil {
		<-s.packed
		s.packed = nil
		_ = durable.Remove(s.packedPath() + temporarySuffix)
	}
	return s.file.Close()
}

// dropPartials removes what was left of a segment that is complete now, in
// whatever form an earlier run or another tool began it. What cannot be
// removed does no harm: complete ones come first everywhere.
func (d *DirStore) dropPartials(name string) {
	for _, m := range []compress.Method{compress.None, compress.Gzip, compress.LZ4, compress.Zstd} {
		_ = durable.Remove(filepath.Join(d.dir, name+m.Suffix()+PartialSuffix))
	}
}
