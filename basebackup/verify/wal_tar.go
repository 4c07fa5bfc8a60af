package verify

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/pgbraid/pgbraid/internal/compress"
	"github.com/pgbraid/pgbraid/internal/walread"
	"github.com/pgbraid/pgbraid/logstream"
)

// memberName is a segment's name in an archive of segments; those of base.tar
// have the prefix pg_wal/.
func memberName(h *tar.Header, prefix string) (string, bool) {
	name, ok := strings.CutPrefix(path.Clean(h.Name), prefix)
	return name, ok && h.Typeflag == tar.TypeReg && logstream.IsSegmentName(name)
}

// tarStream is a compressed tar file of segments, which is read forwards. The
// one segment that is open is held in memory. Archives have their segments in
// order, so going back to the beginning is rare.
type tarStream struct {
	name   string
	method compress.Method
	prefix string // of the members' names
	found

	file    *os.File
	z       io.ReadCloser
	in      *tar.Reader
	passed  map[string]bool // segments that lie behind since the beginning
	damaged error           // why it cannot be read further
}

func (s *tarStream) open(size logstream.SegmentSize, t logstream.TimelineID, n logstream.SegmentNumber) (walread.SegmentFile, error) {
	name := size.FileName(t, n)
	if s.passed[name] {
		s.close()
	}
	found, err := s.seek(func(segment string) bool { return segment == name })
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, fs.ErrNotExist
	}
	content, err := io.ReadAll(io.LimitReader(s.in, int64(size)))
	if err != nil {
		s.damaged = err // what there is of the segment is walked
	}
	return held{bytes.NewReader(content)}, nil
}

// held is a segment in memory.
type held struct{ *bytes.Reader }

func (held) Close() error { return nil }

// seek goes forwards to a segment that is wanted. found is false at the end.
func (s *tarStream) seek(wanted func(string) bool) (found bool, err error) {
	if s.in == nil {
		if err := s.begin(); err != nil {
			return false, err
		}
	}
	for s.damaged == nil {
		h, err := s.in.Next()
		if err == io.EOF {
			return false, nil
		}
		if err != nil {
			s.damaged = err
			break
		}
		if segment, ok := memberName(h, s.prefix); ok {
			s.passed[segment] = true
			if wanted(segment) {
				return true, nil
			}
		}
	}
	return false, fmt.Errorf("%s: %w", filepath.Base(s.name), s.damaged)
}

func (s *tarStream) begin() error {
	f, err := os.Open(s.name)
	if err != nil {
		return err
	}
	z, err := s.method.NewReader(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	s.file, s.z, s.in, s.passed, s.damaged = f, z, tar.NewReader(z), map[string]bool{}, nil
	return nil
}

func (s *tarStream) anyHead() ([]byte, error) {
	found, err := s.seek(func(string) bool { return true })
	if err != nil || !found {
		return nil, errors.Join(err, errNoSegment)
	}
	head := make([]byte, headSize)
	_, err = io.ReadFull(s.in, head)
	return head, err
}

// close goes back to the beginning.
func (s *tarStream) close() {
	if s.in == nil {
		return
	}
	_, _ = s.z.Close(), s.file.Close() // only read from
	s.in, s.passed = nil, nil
}
