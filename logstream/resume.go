package logstream

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pgbraid/pgbraid/internal/compress"
)

// SegmentFile is a file in a directory of WAL, by what its name says.
type SegmentFile struct {
	Name     string // with its suffixes
	Timeline TimelineID
	Number   SegmentNumber
	Method   compress.Method // none for a plain one
	Partial  bool
}

// ListSegments finds the segments in a directory, the newest first: the
// highest segment, then the highest timeline, complete ones before partial
// ones (src/bin/pg_basebackup/pg_receivewal.c, FindStreamingStart). Segment 0 is never taken. Nothing is read but names.
func ListSegments(dir string, size SegmentSize) ([]SegmentFile, error) {
	names, err := fileNames(dir)
	if err != nil {
		return nil, err
	}
	var list []SegmentFile
	for _, name := range names {
		if f, ok := parseSegmentFile(name, size); ok {
			list = append(list, f)
		}
	}
	slices.SortFunc(list, func(a, b SegmentFile) int {
		return cmp.Or(
			cmp.Compare(b.Number, a.Number),
			cmp.Compare(b.Timeline, a.Timeline),
			boolCompare(a.Partial, b.Partial),
			cmp.Compare(a.Name, b.Name))
	})
	return list, nil
}

// fileNames lists what is in a directory, in no order.
func fileNames(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Close() }() // only read from
	return d.Readdirnames(-1)
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func parseSegmentFile(name string, size SegmentSize) (SegmentFile, bool) {
	rest, partial := strings.CutSuffix(name, PartialSuffix)
	method, rest := compress.BySuffix(rest)
	t, n, ok := size.ParseFileName(rest)
	return SegmentFile{Name: name, Timeline: t, Number: n, Method: method, Partial: partial}, ok && n > 0
}

// Open opens the segment for reading, decompressed.
func (f *SegmentFile) Open(dir string) (io.ReadCloser, error) {
	file, err := os.Open(filepath.Join(dir, f.Name))
	if err != nil || f.Method == compress.None {
		return file, err
	}
	z, err := f.Method.NewReader(file)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", f.Name, err), file.Close())
	}
	return &unpacked{z, file}, nil
}

// unpacked closes the file below with the decompressor.
type unpacked struct {
	io.ReadCloser
	file *os.File
}

func (u *unpacked) Close() error { return errors.Join(u.ReadCloser.Close(), u.file.Close()) }

// Length is the number of bytes of WAL in the file. That of a compressed one
// is counted by decompressing it.
func (f *SegmentFile) Length(dir string) (int64, error) {
	if f.Method == compress.None {
		info, err := os.Stat(filepath.Join(dir, f.Name))
		if err != nil {
			return 0, err
		}
		return info.Size(), nil
	}
	r, err := f.Open(dir)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(io.Discard, io.LimitReader(r, int64(MaxSegmentSize)+1))
	return n, errors.Join(err, r.Close())
}

// BadSegment is a complete segment that is not as long as a segment must be.
// Nothing is built upon it.
type BadSegment struct {
	Name string
	Err  error
}

// FindStart tells where a stream into the directory goes on: at the start of
// the newest segment if it is partial, behind it if it is complete. found is
// false if there is none. Segments that are passed over because of their size
// are returned as bad.
//
// Segments are sealed beside the stream, so a receiver that was killed may
// leave several partial ones behind each other: it goes on from the first of
// these, or the others would never become complete. A partial segment of an
// older timeline is where that timeline was left, and stays.
func FindStart(dir string, size SegmentSize) (start Position, found bool, bad []BadSegment, err error) {
	list, err := ListSegments(dir, size)
	if err != nil {
		return Position{}, false, nil, err
	}
	for _, f := range list {
		if f.Partial {
			return Position{f.Timeline, size.Start(firstPartial(list, f))}, true, bad, nil
		}
		n, err := f.Length(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since the directory was listed
		}
		if err == nil && n != int64(size) {
			err = fmt.Errorf("it holds %d bytes, want %d", n, size)
		}
		if err != nil {
			bad = append(bad, BadSegment{f.Name, err})
			continue
		}
		return Position{f.Timeline, size.Start(f.Number + 1)}, true, bad, nil
	}
	return Position{}, false, bad, nil
}

// firstPartial is the first of the partial segments that lead up to last
// without a complete one between. list has the newest first.
func firstPartial(list []SegmentFile, last SegmentFile) SegmentNumber {
	first := last.Number
	complete := map[SegmentNumber]bool{}
	for _, f := range list {
		if f.Timeline == last.Timeline && !f.Partial {
			complete[f.Number] = true
		}
	}
	for _, f := range list {
		if f.Timeline == last.Timeline && f.Partial && f.Number == first-1 && !complete[f.Number] {
			first = f.Number
		}
	}
	return first
}
