package logstream

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"

	"github.com/pgbraid/pgbraid/internal/compress"
	"github.com/pgbraid/pgbraid/internal/durable"
)

// PartialSuffix marks a segment that is not complete. PostgreSQL's recovery
// does not take such a file for the segment.
const PartialSuffix = ".partial"

// DirOptions say how a DirStore keeps its files.
type DirOptions struct {
	// Mode of the files: 0600 if zero.
	Mode fs.FileMode
	// NoSync leaves out every fsync.
	NoSync bool
	// DataDirectory says that the directory is the pg_wal of a data
	// directory: what is complete is marked as archived in archive_status,
	// so that the server which starts there does not archive it again; and
	// the last segment of each timeline gets its final name although it is
	// not full, since recovery has to read it.
	DataDirectory bool
	// ZeroFill writes zeros over the whole of a new segment first, instead of
	// only reserving its room. That is slower at first, but each fdatasync
	// afterwards is cheaper, since the file system has nothing of its own to
	// write: for a synchronous standby.
	ZeroFill bool
	// Compression of complete segments; the zero value is none. Partial ones
	// and history files are never compressed.
	Compression compress.Spec
	// SealFirst gives a full segment its last name, durably, before it is
	// compressed, and has the compressed one take its place later: a synchronous
	// commit should not wait for the compressor. After a crash in between the
	// segment stays as it is.
	SealFirst bool
}

// DirStore is a Store in a directory, which must exist. Segments lie there
// under the names that PostgreSQL gives them, .partial until they are whole.
type DirStore struct {
	dir     string
	size    SegmentSize
	options DirOptions
	packing chan struct{} // holds one element for each compression that runs

	// next will bring a file that is ready to become the next segment, or
	// nil; it is nil itself where none is being made.
	next chan *durable.File
}

// NewDirStore makes a DirStore for segments of the given size.
func NewDirStore(dir string, size SegmentSize, o DirOptions) *DirStore {
	if o.Mode == 0 {
		o.Mode = 0o600
	}
	workers := o.Compression.Workers
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	// The workers are there for several segments, each of which one of them
	// compresses.
	o.Compression.Workers = 1
	return &DirStore{dir: dir, size: size, options: o, packing: make(chan struct{}, workers)}
}

// OpenSegment implements Store. The name of a new segment becomes durable with
// its first Sync.
func (d *DirStore) OpenSegment(t TimelineID, n SegmentNumber) (Segment, error) {
	name := d.size.FileName(t, n)
	path := filepath.Join(d.dir, name+PartialSuffix)
	f, err := durable.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = d.newSegment(path)
	}
	if err != nil {
		return nil, err
	}
	err = d.cutExcess(f, name+PartialSuffix)
	if err == nil {
		err = d.giveRoom(f)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	d.prepareNext()
	return &dirSegment{store: d, name: name, file: f, fresh: true}, nil
}

// newSegment makes the file of a segment, or takes the one that was made ready.
func (d *DirStore) newSegment(path string) (*durable.File, error) {
	if d.next != nil {
		f := <-d.next
		d.next = nil
		if f != nil {
			if err := durable.Link(f, path); err == nil {
				return f, nil
			}
			_ = f.Close() // it has no name
		}
	}
	return durable.OpenFile(path, os.O_RDWR|os.O_CREATE, d.options.Mode)
}

// prepareNext begins to make the next segment, without a name, where that takes
// long: a synchronous commit should not wait for it.
func (d *DirStore) prepareNext() {
	if !d.options.ZeroFill || d.next != nil {
		return
	}
	next := make(chan *durable.File, 1)
	d.next = next
	go func() {
		f, err := durable.Unnamed(d.dir, d.options.Mode)
		if err != nil {
			next <- nil // it is made when it is needed
			return
		}
		err = durable.ZeroFill(f, int64(d.size))
		if err == nil && !d.options.NoSync {
			err = f.Sync()
		}
		if err != nil {
			_ = f.Close() // the same error shows again when it is needed
			f = nil
		}
		next <- f
	}()
}

// Close lets go of what was made ready for a segment that did not come. The
// DirStore can be used again.
func (d *DirStore) Close() error {
	if d.next == nil {
		return nil
	}
	f := <-d.next
	d.next = nil
	if f == nil {
		return nil
	}
	return f.Close() // it has no name
}

// LengthError says that a file is longer than a segment, or not as long as a
// complete one must be: it is not what its name says.
type LengthError struct {
	File      string
	Has, Want int64 // bytes
}

func (e *LengthError) Error() string {
	return fmt.Sprintf("%s: it has %d bytes, a segment has %d", e.File, e.Has, e.Want)
}

// Hint is advice for the person who sees the error.
func (e *LengthError) Hint() string {
	return "Move the file away, after a look at where it came from: the segment is then received anew."
}

// cutExcess cuts off what a file has over the length of a segment, if that is
// zeros. Otherwise somebody else put it there, and it is not touched.
func (d *DirStore) cutExcess(f *durable.File, name string) error {
	info, err := f.Stat()
	if err != nil || info.Size() <= int64(d.size) {
		return err
	}
	excess := io.NewSectionReader(f, int64(d.size), info.Size()-int64(d.size))
	buffer := make([]byte, packBuffer)
	for {
		n, err := excess.Read(buffer)
		if !allZero(buffer[:n]) {
			return &LengthError{name, info.Size(), int64(d.size)}
		}
		if errors.Is(err, io.EOF) {
			return f.Truncate(int64(d.size))
		}
		if err != nil {
			return err
		}
	}
}

// checkLength makes sure that a segment is as long as one before it gets its
// final name.
func (s *dirSegment) checkLength() error {
	info, err := s.file.Stat()
	if err == nil && info.Size() != int64(s.store.size) {
		err = &LengthError{s.name + PartialSuffix, info.Size(), int64(s.store.size)}
	}
	return err
}

// giveRoom gives a file that is not as long as a segment its room on the disk.
func (d *DirStore) giveRoom(f *durable.File) error {
	info, err := f.Stat()
	if err != nil || info.Size() == int64(d.size) {
		return err
	}
	if d.options.ZeroFill {
		return durable.ZeroFill(f, int64(d.size))
	}
	return durable.Allocate(f, int64(d.size))
}

// HasHistory implements Store.
func (d *DirStore) HasHistory(t TimelineID) (bool, error) {
	_, err := os.Stat(filepath.Join(d.dir, t.HistoryFileName()))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// WriteHistory implements Store.
func (d *DirStore) WriteHistory(t TimelineID, content []byte) error {
	name := t.HistoryFileName()
	if err := durable.WriteFile(filepath.Join(d.dir, name), content, d.options.Mode, !d.options.NoSync); err != nil {
		return err
	}
	return d.markArchived(name)
}

// markArchived makes the server that starts in this data directory take a file
// for archived. The mark itself need not be durable: without it the server
// archives the file once more.
func (d *DirStore) markArchived(name string) error {
	if !d.options.DataDirectory {
		return nil
	}
	f, err := durable.OpenFile(filepath.Join(d.dir, "archive_status", name+".done"), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, d.options.Mode)
	if err != nil {
		return err
	}
	return f.Close()
}

type dirSegment struct {
	store  *DirStore
	name   string
	file   *durable.File
	packed chan error // gets the result of compressing; nil: it is not compressed
	// packing says that Seal waits for that.
	packing atomic.Bool
	// fresh says that name and length may not be durable yet.
	fresh bool
}

func (s *dirSegment) WriteAt(p []byte, offset int64) (int, error) {
	return s.file.WriteAt(p, offset)
}

func (s *dirSegment) Sync() error {
	if s.store.options.NoSync {
		return nil
	}
	if !s.fresh {
		return durable.SyncData(s.file)
	}
	if err := s.file.Sync(); err != nil {
		return err
	}
	// What is in the file must not be reported as durable before its name is.
	if err := durable.SyncDir(s.store.dir); err != nil {
		return err
	}
	s.fresh = false
	return nil
}

func (s *dirSegment) Full() {
	if s.store.options.Compression.Method != compress.None {
		s.packed = make(chan error, 1)
		go func() { s.packed <- s.pack() }()
	}
}

func (s *dirSegment) Seal() error {
	if err := s.checkLength(); err != nil {
		return errors.Join(err, s.close())
	}
	switch {
	case s.PackLater():
		return s.sealFirst()
	case s.packed != nil:
		return s.sealPacked()
	}
	if err := s.rename(); err != nil {
		return err
	}
	s.store.dropPartials(s.name)
	return s.store.markArchived(s.name)
}

func (s *dirSegment) Finish() error { return s.Leave() }

func (s *dirSegment) Leave() error {
	if s.store.options.DataDirectory {
		return s.rename()
	}
	return s.close()
}

// close makes durable what was written, and closes the file.
func (s *dirSegment) close() error {
	var err error
	if s.packed != nil {
		err = errors.Join(<-s.packed, durable.Remove(s.packedPath()+temporarySuffix))
		s.packed = nil
	}
	return errors.Join(err, s.Sync(), s.file.Close())
}

// rename gives the file its last name.
func (s *dirSegment) rename() error {
	if err := s.close(); err != nil {
		return err
	}
	last := filepath.Join(s.store.dir, s.name)
	return s.store.rename(last+PartialSuffix, last)
}

func (d *DirStore) rename(from, to string) error {
	if d.options.NoSync {
		return durable.RenameOnly(from, to)
	}
	return durable.Rename(from, to)
}
