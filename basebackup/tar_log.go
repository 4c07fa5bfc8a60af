package basebackup

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/pgbraid/pgbraid/internal/durable"
	"github.com/pgbraid/pgbraid/logstream"
	"github.com/pgbraid/pgbraid/tarx"
)

// tarLog is a logstream.Store that keeps the log in pg_wal.tar. The segment
// that is being received is a file in a directory of its own, since it may
// have to be gone on with after a lost connection; when it has ended it goes
// to the archive, padded to a segment's size, and the file away.
//
// What the stream reports as durable is so only when the archive is: that is
// good enough, for if the machine crashes before, there is no backup and none
// of its log is missed.
type tarLog struct {
	*logstream.DirStore
	size    logstream.SegmentSize
	staging string
	archive *archiveWriter
	noSync  bool
	mode    fs.FileMode

	mu        sync.Mutex // segments end in another goroutine than histories come
	tar       *tarx.Writer
	histories map[logstream.TimelineID]bool
}

func newTarLog(archive *archiveWriter, staging string, server logstream.Server, noSync bool) (*tarLog, error) {
	l := &tarLog{
		DirStore: logstream.NewDirStore(staging, server.SegmentSize, logstream.DirOptions{
			Mode: server.FileMode, NoSync: true,
		}),
		size:      server.SegmentSize,
		staging:   staging,
		archive:   archive,
		noSync:    noSync,
		tar:       tarx.NewWriter(archive),
		mode:      server.FileMode,
		histories: map[logstream.TimelineID]bool{},
	}
	return l, durable.Mkdir(staging, 0o700)
}

// OpenSegment implements logstream.Store.
func (l *tarLog) OpenSegment(t logstream.TimelineID, n logstream.SegmentNumber) (logstream.Segment, error) {
	segment, err := l.DirStore.OpenSegment(t, n)
	if err != nil {
		return nil, err
	}
	return &tarLogSegment{segment, l, l.size.FileName(t, n)}, nil
}

// HasHistory implements logstream.Store.
func (l *tarLog) HasHistory(t logstream.TimelineID) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.histories[t], nil
}

// WriteHistory implements logstream.Store.
func (l *tarLog) WriteHistory(t logstream.TimelineID, content []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	name := t.HistoryFileName()
	if err := l.tar.WriteFile(memberHeader(name, l.mode, int64(len(content))), content); err != nil {
		return err
	}
	l.histories[t] = true
	return l.markArchived(name)
}

// markArchived makes the server that is restored from this take a file for
// archived.
func (l *tarLog) markArchived(name string) error {
	return l.tar.WriteFile(memberHeader("archive_status/"+name+".done", l.mode, 0), nil)
}

// finish ends the archive and makes it durable.
func (l *tarLog) finish() error {
	if err := l.tar.Close(); err != nil {
		return err
	}
	f, err := l.archive.finish()
	if err == nil && !l.noSync {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	// It is empty now.
	return durable.RemoveAll(l.staging)
}

// close lets go of everything, whatever state the log is in.
func (l *tarLog) close() error {
	l.archive.abandon()
	return nil
}

// tarLogSegment is a segment that goes to the archive when it has ended.
type tarLogSegment struct {
	logstream.Segment
	log  *tarLog
	name string
}

// Seal implements logstream.Segment.
func (s *tarLogSegment) Seal() error { return s.pack(true) }

// Finish implements logstream.Segment.
func (s *tarLogSegment) Finish() error { return s.pack(false) }

// Leave implements logstream.Segment.
func (s *tarLogSegment) Leave() error { return s.pack(false) }

func (s *tarLogSegment) pack(full bool) error {
	if err := s.Segment.Leave(); err != nil {
		return err
	}
	l := s.log
	path := filepath.Join(l.staging, s.name+logstream.PartialSuffix)
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read from
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.tar.BeginMember(memberHeader(s.name, l.mode, int64(l.size))); err != nil {
		return err
	}
	n, err := io.CopyBuffer(contentWriter{l.tar}, struct{ io.Reader }{f}, make([]byte, 256<<10))
	if err != nil {
		return err
	}
	if n != int64(l.size) {
		return fmt.Errorf("%s has %d bytes, want %d", path, n, l.size)
	}
	if err := l.tar.EndMember(); err != nil {
		return err
	}
	if full {
		if err := l.markArchived(s.name); err != nil {
			return err
		}
	}
	return durable.Remove(path)
}
