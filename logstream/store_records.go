package logstream

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/pgbraid/pgbraid/internal/compress"
	"github.com/pgbraid/pgbraid/internal/durable"
	"github.com/pgbraid/pgbraid/internal/walread"
)

// forms are the files in which a segment may lie in a directory, the one to be
// preferred first.
func forms(name string) []SegmentFile {
	var list []SegmentFile
	for _, suffix := range []string{"", PartialSuffix} {
		for _, m := range []compress.Method{compress.None, compress.Zstd, compress.LZ4, compress.Gzip} {
			list = append(list, SegmentFile{Name: name + m.Suffix() + suffix, Method: m, Partial: suffix != ""})
		}
	}
	return list
}

// OpenSegmentFile opens a segment of a directory for reading at any place, in
// whatever form it is there: complete before partial, plain before compressed.
// A compressed one is held in memory. The error is fs.ErrNotExist where there
// is none.
func OpenSegmentFile(dir string, size SegmentSize, t TimelineID, n SegmentNumber) (walread.SegmentFile, error) {
	for _, f := range forms(size.FileName(t, n)) {
		if f.Method == compress.None {
			file, err := os.Open(filepath.Join(dir, f.Name))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			return file, nil
		}
		r, err := f.Open(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(io.LimitReader(r, int64(size)))
		if err := errors.Join(err, r.Close()); err != nil && !f.Partial {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
		return memoryFile{bytes.NewReader(content)}, nil
	}
	return nil, fs.ErrNotExist
}

type memoryFile struct{ *bytes.Reader }

func (memoryFile) Close() error { return nil }

// ReadSegment implements ReadableStore.
func (d *DirStore) ReadSegment(t TimelineID, n SegmentNumber) (io.ReadCloser, string, error) {
	name := d.size.FileName(t, n)
	// One that is sealed between the looks at its names is under none of them:
	// hence once more.
	for range 2 {
		for _, f := range forms(name) {
			r, err := f.Open(d.dir)
			switch {
			case errors.Is(err, fs.ErrNotExist), f.Partial && torn(err):
				continue
			case err != nil:
				return nil, "", err
			}
			return r, f.Name, nil
		}
	}
	return nil, "", fs.ErrNotExist
}

// ReadHistory implements ReadableStore.
func (d *DirStore) ReadHistory(t TimelineID) ([]byte, error) {
	return readAll(d.dir, SegmentFile{Name: t.HistoryFileName()}, maxHistory+1)
}

// RecordsEnd implements RecordStore.
func (d *DirStore) RecordsEnd(t TimelineID, from LSN) (LSN, error) {
	segments, err := walread.NewSegments(uint32(d.size), func(n uint64) (walread.SegmentFile, error) {
		return OpenSegmentFile(d.dir, d.size, t, SegmentNumber(n))
	})
	if err != nil {
		return 0, err
	}
	reach, err := walread.EndOfWAL(segments, uint64(d.size.Floor(from)), walread.Options{SegmentSize: uint32(d.size)})
	if err := errors.Join(err, segments.Close()); err != nil {
		return 0, err
	}
	return max(from, LSN(reach.End)), nil
}

// Import implements ImportStore.
func (d *DirStore) Import(t TimelineID, n SegmentNumber, system uint64, fetch func(name, path string) (bool, error)) (found bool, err error) {
	name := d.size.FileName(t, n)
	path := filepath.Join(d.dir, name+".import"+temporarySuffix)
	_ = durable.Remove(path) // of a run that was killed
	defer func() { _ = durable.Remove(path) }()
	if found, err := fetch(name, path); !found || err != nil {
		return false, cmp.Or(d.room(path), err)
	}
	err = d.checkImported(path, t, n, system)
	if err == nil {
		err = d.checkContinues(path, t, n, system)
	}
	if err != nil {
		return false, cmp.Or(d.room(path), fmt.Errorf("segment %s from the archive: %w", name, err))
	}
	s := &dirSegment{store: d, name: name}
	if s.file, err = durable.OpenFile(path, os.O_RDWR, 0); err != nil {
		return false, err
	}
	if err := errors.Join(s.file.Chmod(d.options.Mode), s.Sync()); err != nil {
		return false, errors.Join(err, s.file.Close())
	}
	if err := d.rename(path, filepath.Join(d.dir, name+PartialSuffix)); err != nil {
		return false, errors.Join(err, s.file.Close())
	}
	s.Full()
	return true, s.Seal()
}

// room is the error of a disk that has no room for a whole segment in a file,
// nil otherwise: whatever was to fetch the segment can only have failed then.
func (d *DirStore) room(path string) error {
	f, err := durable.OpenFile(path, os.O_RDWR|os.O_CREATE, d.options.Mode)
	if err == nil {
		err = errors.Join(durable.Allocate(f, int64(d.size)), f.Close())
	}
	if noRoom(err) {
		return err
	}
	return nil
}

// checkImported makes sure that a file is the segment that was asked for: of
// the right length, of this cluster, of this place in the log, and full. An
// archive may hand out the last segment that it has, padded.
func (d *DirStore) checkImported(path string, t TimelineID, n SegmentNumber, system uint64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read from
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() != int64(d.size) {
		return fmt.Errorf("it has %d bytes, want %d", info.Size(), d.size)
	}
	var page [40]byte
	if _, err := io.ReadFull(f, page[:]); err != nil {
		return err
	}
	header, err := walread.ParsePageHeader(page[:])
	if err != nil {
		return err
	}
	switch {
	case !header.Long():
		return errors.New("its first page has no segment header")
	case header.Address != uint64(d.size.Start(n)):
		return fmt.Errorf("it begins at %s", LSN(header.Address))
	case system != 0 && header.SystemID != system:
		return &SystemMismatchError{Want: system, Got: header.SystemID}
	}
	full, err := reachesEnd(d.size, t, n, func(number SegmentNumber) (walread.SegmentFile, error) {
		if number != n {
			return nil, fs.ErrNotExist
		}
		return os.Open(path)
	})
	if err == nil && !full {
		err = errors.New("its WAL ends before the segment does")
	}
	return err
}

// checkContinues holds a segment from elsewhere against what is kept of it, and
// of the one before, as a stream is: it takes the place of a partial one.
func (d *DirStore) checkContinues(path string, t TimelineID, n SegmentNumber, system uint64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read from
	c := &continuity{store: d, size: d.size, system: system, log: slog.New(slog.DiscardHandler)}
	defer c.leave()
	buffer := make([]byte, packBuffer)
	for at := (Position{t, d.size.Start(n)}); ; {
		read, err := io.ReadFull(f, buffer)
		for data := buffer[:read]; len(data) > 0; {
			took, err := c.take(at, data)
			if err != nil {
				return err
			}
			at.LSN += LSN(took)
			data = data[took:]
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
