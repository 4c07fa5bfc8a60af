package logstream

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// journal is what was asked of a fakeStore and its segments, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) note(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

// want compares with lines divided by ", ", and forgets them.
func (j *journal) want(t *testing.T, when, lines string) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if got := strings.Join(j.lines, ", "); got != lines {
		t.Errorf("%s: %s\nwant %s", when, got, lines)
	}
	j.lines = nil
}

// fakeStore keeps segments in memory. The segments are named by their number.
type fakeStore struct {
	journal
	size     SegmentSize
	segments map[string]*fakeSegment
	openErr  error
}

func newFakeStore(size SegmentSize) *fakeStore {
	return &fakeStore{size: size, segments: map[string]*fakeSegment{}}
}

func (s *fakeStore) OpenSegment(t TimelineID, n SegmentNumber) (Segment, error) {
	if s.openErr != nil {
		return nil, s.openErr
	}
	name := fmt.Sprintf("%d/%d", t, n)
	s.note("open %s", name)
	s.segments[name] = &fakeSegment{journal: &s.journal, name: name, data: make([]byte, s.size)}
	return s.segments[name], nil
}

func (s *fakeStore) HasHistory(TimelineID) (bool, error)   { return true, nil }
func (s *fakeStore) WriteHistory(TimelineID, []byte) error { return nil }

type fakeSegment struct {
	*journal
	name  string
	data  []byte
	wrote []bool        // for each byte of data, where that is looked at
	gate  chan struct{} // if set, each flush takes an element first
	takes time.Duration // of each flush
	err   error         // of each flush and write
}

func (s *fakeSegment) WriteAt(p []byte, offset int64) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	if offset < 0 || offset+int64(len(p)) > int64(len(s.data)) || len(p) == 0 {
		return 0, fmt.Errorf("%d bytes at %d do not fit into a segment of %d", len(p), offset, len(s.data))
	}
	if s.wrote == nil {
		s.wrote = make([]bool, len(s.data))
	}
	for i := range p {
		if s.wrote[int(offset)+i] {
			return 0, fmt.Errorf("byte %d is written twice", int(offset)+i)
		}
		s.wrote[int(offset)+i] = true
	}
	return copy(s.data[offset:], p), nil
}

func (s *fakeSegment) whole() bool { return s.wrote != nil && !slices.Contains(s.wrote, false) }

func (s *fakeSegment) do(what string) error {
	if s.gate != nil {
		<-s.gate
	}
	time.Sleep(s.takes)
	s.note("%s %s", what, s.name)
	return s.err
}

func (s *fakeSegment) Full()         { s.note("full %s", s.name) }
func (s *fakeSegment) Sync() error   { return s.do("sync") }
func (s *fakeSegment) Seal() error   { return s.do("seal") }
func (s *fakeSegment) Finish() error { return s.do("finish") }
func (s *fakeSegment) Leave() error  { return s.do("leave") }
