package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/pgbraid/pgbraid/internal/compress"
	"github.com/pgbraid/pgbraid/internal/walread"
	"github.com/pgbraid/pgbraid/logstream"
)

// headSize is how much of a segment tells its size, in bytes.
const headSize = 40

// errNoSegment says that there is nothing to learn the segment size from.
var errNoSegment = errors.New("no WAL is there")

// walPlace is where the log of a backup is. One goroutine uses it.
type walPlace interface {
	// open opens a segment, or says fs.ErrNotExist.
	open(size logstream.SegmentSize, t logstream.TimelineID, n logstream.SegmentNumber) (walread.SegmentFile, error)
	// history gives the content of a history file, or fs.ErrNotExist.
	history(name string) ([]byte, error)
	// anyHead gives the beginning of some segment.
	anyHead() ([]byte, error)
	close()
}

// walPath is what the place is called in problems.
func (r *run) walPath() string {
	if r.o.WAL != "" {
		return r.o.WAL
	}
	return walName
}

// openWAL finds the log: where the options say, else in the backup.
func (r *run) openWAL(ctx context.Context) (walPlace, error) {
	name := r.o.WAL
	if name == "" && r.report.Format == FormatTar {
		return openArchive(r.wal), nil
	}
	plain := name == "" || r.o.AsPgVerifybackup
	if name == "" {
		name = filepath.Join(r.o.Directory, walName)
	}
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return walDir{name, plain}, nil
	case plain:
		return nil, &os.PathError{Op: "open", Path: name, Err: errNotDirectory}
	}
	method, _ := compress.BySuffix(name)
	a := &archive{name: r.o.WAL, path: name, method: method, size: info.Size(), log: true}
	r.total.Add(a.size)
	r.readArchive(ctx, a)
	return openArchive(a), nil
}

// openArchive gives the log in an archive that was read; nil is none.
func openArchive(a *archive) walPlace {
	switch {
	case a == nil:
		return &tarMembers{}
	case a.method == compress.None:
		return &tarMembers{a.found}
	}
	prefix := walName + "/" // as -X fetch puts it into base.tar
	if a.log {
		prefix = ""
	}
	return &tarStream{name: a.path, method: a.method, prefix: prefix, found: a.found}
}

// walDir is a directory of segments: pg_wal, or an archive, where they may be
// compressed or partial.
type walDir struct {
	name string
	// plain says that only what a server reads counts: complete segments that
	// are not compressed.
	plain bool
}

func (d walDir) open(size logstream.SegmentSize, t logstream.TimelineID, n logstream.SegmentNumber) (walread.SegmentFile, error) {
	if !d.plain {
		return logstream.OpenSegmentFile(d.name, size, t, n)
	}
	name := size.FileName(t, n)
	f, err := os.Open(filepath.Join(d.name, name))
	if err == nil {
		return f, nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		for _, suffix := range []string{logstream.PartialSuffix, ".gz", ".lz4", ".zst"} {
			for _, form := range []string{name + suffix, name + suffix + logstream.PartialSuffix} {
				if _, err := os.Stat(filepath.Join(d.name, form)); err == nil {
					return nil, &otherForm{form}
				}
			}
		}
	}
	return nil, err
}

// otherForm says that a segment is there only as no server reads it.
type otherForm struct{ name string }

func (e *otherForm) Error() string { return "there is only " + e.name + ", which no server reads" }

// Unwrap gives fs.ErrNotExist.
func (*otherForm) Unwrap() error { return fs.ErrNotExist }

func (d walDir) history(name string) ([]byte, error) { return readHistory(filepath.Join(d.name, name)) }

func (d walDir) anyHead() ([]byte, error) {
	// The smallest size allows every name that any does.
	list, err := logstream.ListSegments(d.name, logstream.MinSegmentSize)
	if err != nil {
		return nil, err
	}
	// The oldest is the likeliest to be full; a new one may be zeros.
	last := errNoSegment
	for _, s := range slices.Backward(list) {
		if d.plain && (s.Partial || s.Method != compress.None) {
			continue
		}
		f, err := s.Open(d.name)
		if err != nil {
			last = err
			continue
		}
		head := make([]byte, headSize)
		_, err = io.ReadFull(f, head)
		if err := errors.Join(err, f.Close()); err != nil {
			last = fmt.Errorf("%s: %w", s.Name, err)
			continue
		}
		if _, err := sizeFromHead(head); err != nil {
			last = fmt.Errorf("%s: %w", s.Name, err)
			continue
		}
		return head, nil
	}
	return nil, last
}

func (walDir) close() {}

// span is where a member's content is in a tar file.
type span struct {
	path         string
	offset, size int64
}

// tarMembers are the segments in a tar file that is not compressed.
type tarMembers struct{ found }

func (f *found) history(name string) ([]byte, error) {
	content, ok := f.histories[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return content, nil
}

func (m *tarMembers) open(size logstream.SegmentSize, t logstream.TimelineID, n logstream.SegmentNumber) (walread.SegmentFile, error) {
	s, ok := m.segments[size.FileName(t, n)]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return m.openSpan(s)
}

func (m *tarMembers) openSpan(s span) (walread.SegmentFile, error) {
	f, err := os.Open(s.path)
	if err != nil {
		return nil, err
	}
	return &section{io.NewSectionReader(f, s.offset, s.size), f}, nil
}

// section is a part of a file.
type section struct {
	*io.SectionReader
	io.Closer
}

func (m *tarMembers) anyHead() ([]byte, error) {
	for _, s := range m.segments {
		f, err := m.openSpan(s)
		if err != nil {
			return nil, err
		}
		head := make([]byte, headSize)
		_, err = f.ReadAt(head, 0)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Base(s.path), err)
		}
		return head, nil
	}
	return nil, errNoSegment
}

func (*tarMembers) close() {}
