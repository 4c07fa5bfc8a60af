package verify

import (
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
func (r *run) openWAL() (walPlace, error) {
	name := r.o.WAL
	if name == "" && r.report.Format == FormatTar {
		return r.openMembers(), nil
	}
	if name == "" {
		name = filepath.Join(r.o.Directory, walName)
	}
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return walDir(name), nil
	}
	method, _ := compress.BySuffix(name)
	if method == compress.None {
		return indexTar(name, "")
	}
	return &tarStream{name: name, method: method}, nil
}

// openMembers gives the log that -X fetch put into base.tar.
func (r *run) openMembers() walPlace {
	if a := r.packedWAL; a != nil {
		return &tarStream{name: filepath.Join(r.o.Directory, a.name), method: a.method, prefix: walName + "/"}
	}
	return r.members
}

// walDir is a directory of segments: pg_wal, or an archive, where they may be
// compressed or partial.
type walDir string

func (d walDir) open(size logstream.SegmentSize, t logstream.TimelineID, n logstream.SegmentNumber) (walread.SegmentFile, error) {
	return logstream.OpenSegmentFile(string(d), size, t, n)
}

func (d walDir) anyHead() ([]byte, error) {
	// The smallest size allows every name that any does.
	list, err := logstream.ListSegments(string(d), logstream.MinSegmentSize)
	if err != nil {
		return nil, err
	}
	// The oldest is the likeliest to be full; a new one may be zeros.
	last := errNoSegment
	for _, s := range slices.Backward(list) {
		f, err := s.Open(string(d))
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
	archive      string
	offset, size int64
}

// tarMembers are the segments in tar files that are not compressed.
type tarMembers struct {
	dir   string
	spans map[string]span
}

func newTarMembers(dir string) *tarMembers { return &tarMembers{dir, map[string]span{}} }

func (m *tarMembers) add(archive, name string, offset, size int64) {
	if logstream.IsSegmentName(name) {
		m.spans[name] = span{archive, offset, size}
	}
}

func (m *tarMembers) open(size logstream.SegmentSize, t logstream.TimelineID, n logstream.SegmentNumber) (walread.SegmentFile, error) {
	s, ok := m.spans[size.FileName(t, n)]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return m.openSpan(s)
}

func (m *tarMembers) openSpan(s span) (walread.SegmentFile, error) {
	f, err := os.Open(filepath.Join(m.dir, s.archive))
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
	for _, s := range m.spans {
		f, err := m.openSpan(s)
		if err != nil {
			return nil, err
		}
		head := make([]byte, headSize)
		_, err = f.ReadAt(head, 0)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("%s: %w", s.archive, err)
		}
		return head, nil
	}
	return nil, errNoSegment
}

func (*tarMembers) close() {}
