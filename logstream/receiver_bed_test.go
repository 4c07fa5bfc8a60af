package logstream_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pgbraid/pgbraid/internal/pgtest/walsender"
	"github.com/pgbraid/pgbraid/logstream"
)

const mib1 = logstream.SegmentSize(1 << 20)

// The scripted log that most tests stream begins here and has segments of
// 1 MB: the segment numbers are 0x20 and up.
const origin logstream.LSN = 0x2000000

// scripted is a Receiver, a directory for it and a scripted walsender.
type scripted struct {
	t      testing.TB
	server *walsender.Server
	wal    *walsender.WAL
	dir    string
	size   logstream.SegmentSize
	store  *watchedStore
	*logstream.Receiver
}

// script makes a bed for a log of n MB from origin on. setUp, if not nil,
// changes the options.
func script(t testing.TB, n int, setUp func(*walsender.Options, *logstream.DirOptions, *logstream.Options)) *scripted {
	t.Helper()
	return scriptRange(t, origin, origin+logstream.LSN(n)<<20, setUp)
}

func scriptRange(t testing.TB, start, end logstream.LSN, setUp func(*walsender.Options, *logstream.DirOptions, *logstream.Options)) *scripted {
	t.Helper()
	so := walsender.Options{SegmentSize: "1MB", Timeout: 20 * time.Second}
	do := logstream.DirOptions{NoSync: true}
	ro := logstream.Options{
		GiveUpAfter: -1,
		Logger:      slog.New(slog.NewTextHandler(scriptLog{t}, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if setUp != nil {
		setUp(&so, &do, &ro)
	}
	b := &scripted{t: t, server: walsender.New(t, so), dir: t.TempDir()}
	b.size = logstream.SegmentSize(b.server.SegmentSize())
	b.wal = walsender.NewWAL(walsender.LSN(start), walsender.LSN(end))
	b.server.ServeWAL(b.wal)
	if do.DataDirectory {
		if err := os.Mkdir(filepath.Join(b.dir, "archive_status"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	b.store = &watchedStore{DirStore: logstream.NewDirStore(b.dir, b.size, do), size: b.size}
	t.Cleanup(func() { b.store.check(t) })
	ro.SegmentSize = b.size
	if ro.Store == nil {
		ro.Store = b.store
	}
	b.Receiver = logstream.NewReceiver(b.config(), ro)
	return b
}

func (b *scripted) config() *pgconn.Config {
	b.t.Helper()
	config, err := pgconn.ParseConfig(b.server.ConnString() + " replication=true")
	if err != nil {
		b.t.Fatal(err)
	}
	return config
}

// start begins Run; the channel gets its result.
func (b *scripted) start(ctx context.Context, t logstream.TimelineID, l logstream.LSN) <-chan error {
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx, logstream.Position{Timeline: t, LSN: l}) }()
	return done
}

// result waits for Run.
func (b *scripted) result(done <-chan error) error {
	b.t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(30 * time.Second):
		stacks := make([]byte, 1<<20)
		b.t.Errorf("Run does not return: %+v, commands %q\n%s", b.Status(), b.server.Queries(), stacks[:runtime.Stack(stacks, true)])
		return errors.New("run does not return")
	}
}

// receive streams from one position to another.
func (b *scripted) receive(from, to logstream.Position) error {
	b.t.Helper()
	b.StopAt(to)
	return b.result(b.start(context.Background(), from.Timeline, from.LSN))
}

func (b *scripted) mustReceive(from, to logstream.Position) {
	b.t.Helper()
	if err := b.receive(from, to); err != nil {
		b.t.Errorf("receiving: %v", err)
	}
}

// await waits until a byte position is written.
func (b *scripted) await(timeline logstream.TimelineID, l logstream.LSN) {
	b.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		s := b.Status()
		if s.Written.Timeline >= timeline && s.Written.LSN >= l {
			return
		}
		if s.State == logstream.Stopped || time.Now().After(deadline) {
			b.t.Fatalf("not at %s on timeline %d: %+v", l, timeline, s)
		}
	}
}

func at(t logstream.TimelineID, l logstream.LSN) logstream.Position {
	return logstream.Position{Timeline: t, LSN: l}
}

// holds checks that the log of a timeline from one LSN to another lies in
// files: byte for byte, zero behind it, and each under its right name. sealed
// tells whether the last segment has its final name although it is not full.
func (b *scripted) holds(t logstream.TimelineID, from, to logstream.LSN, sealed bool) {
	b.t.Helper()
	for l := b.size.Floor(from); l < to; l += logstream.LSN(b.size) {
		name := b.size.FileName(t, b.size.Segment(l))
		end := l + logstream.LSN(b.size)
		other := name + logstream.PartialSuffix
		if end > to && !sealed {
			name, other = other, name
		}
		if _, err := os.Stat(filepath.Join(b.dir, other)); !errors.Is(err, fs.ErrNotExist) {
			b.t.Errorf("%s is there, want only %s", other, name)
		}
		got, err := os.ReadFile(filepath.Join(b.dir, name))
		if err != nil {
			b.t.Error(err)
			continue
		}
		want := make([]byte, b.size)
		copy(want, b.wal.Bytes(uint32(t), walsender.LSN(l), walsender.LSN(min(end, to))))
		if !bytes.Equal(got, want) {
			b.t.Errorf("%s differs from the server's from byte %d on", name, differ(got, want))
		}
	}
}

func differ(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// none checks that no file has a name that a pattern matches.
func (b *scripted) none(pattern string) {
	b.t.Helper()
	if list, _ := filepath.Glob(filepath.Join(b.dir, pattern)); len(list) > 0 {
		b.t.Errorf("there are files %q", list)
	}
}

// asked counts the commands that begin so.
func (b *scripted) asked(command string) int {
	n := 0
	for _, q := range b.server.Queries() {
		if len(q) >= len(command) && q[:len(command)] == command {
			n++
		}
	}
	return n
}

type scriptLog struct{ t testing.TB }

func (w scriptLog) Write(p []byte) (int, error) {
	w.t.Logf("%s", bytes.TrimSpace(p))
	return len(p), nil
}

// watchedStore is a DirStore that notes what is durable when, that each
// segment is ended once and not used afterwards, and that can be told to
// stall or fail.
type watchedStore struct {
	*logstream.DirStore
	size logstream.SegmentSize

	// before, if set, is run before "open", "write", "sync", "seal", "finish"
	// and "leave". Its error is the operation's.
	before func(what string) error

	mu      sync.Mutex
	open    int
	faults  []string
	durable []durableAt
	failed  bool // something was not kept: nothing behind it counts as durable
}

type durableAt struct {
	at  time.Time
	end logstream.LSN
}

func (w *watchedStore) run(what string) error {
	if w.before == nil {
		return nil
	}
	return w.before(what)
}

func (w *watchedStore) OpenSegment(t logstream.TimelineID, n logstream.SegmentNumber) (logstream.Segment, error) {
	if err := w.run("open"); err != nil {
		return nil, err
	}
	s, err := w.DirStore.OpenSegment(t, n)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open++
	return &watchedSegment{Segment: s, store: w, start: w.size.Start(n)}, nil
}

// durableBy is the highest LSN that was durable at a moment.
func (w *watchedStore) durableBy(t time.Time) logstream.LSN {
	w.mu.Lock()
	defer w.mu.Unlock()
	var end logstream.LSN
	for _, d := range w.durable {
		if !d.at.After(t) {
			end = max(end, d.end)
		}
	}
	return end
}

func (w *watchedStore) check(t testing.TB) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open != 0 {
		t.Errorf("%d segments were not ended", w.open)
	}
	for _, f := range w.faults {
		t.Error(f)
	}
}

type watchedSegment struct {
	logstream.Segment
	store *watchedStore
	start logstream.LSN

	mu    sync.Mutex
	end   logstream.LSN
	ended bool
}

func (s *watchedSegment) WriteAt(p []byte, offset int64) (int, error) {
	s.use("write", false)
	if err := s.store.run("write"); err != nil {
		return 0, err
	}
	n, err := s.Segment.WriteAt(p, offset)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end = max(s.end, s.start+logstream.LSN(offset)+logstream.LSN(n))
	return n, err
}

func (s *watchedSegment) use(what string, last bool) logstream.LSN {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	if s.ended {
		s.store.faults = append(s.store.faults, what+" after the end of the segment at "+s.start.String())
	}
	if last {
		s.ended = true
		s.store.open--
	}
	return s.end
}

func (s *watchedSegment) Sync() error   { return s.flush("sync", s.Segment.Sync) }
func (s *watchedSegment) Seal() error   { return s.flush("seal", s.Segment.Seal) }
func (s *watchedSegment) Finish() error { return s.flush("finish", s.Segment.Finish) }
func (s *watchedSegment) Leave() error  { return s.flush("leave", s.Segment.Leave) }

func (s *watchedSegment) flush(what string, do func() error) error {
	end := s.use(what, what != "sync")
	if err := s.store.run(what); err != nil {
		s.store.mu.Lock()
		s.store.failed = true
		s.store.mu.Unlock()
		if what != "sync" {
			_ = s.Segment.Leave() // only to close the file
		}
		return err
	}
	if err := do(); err != nil {
		return err
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	if !s.store.failed {
		s.store.durable = append(s.store.durable, durableAt{time.Now(), end})
	}
	return nil
}

// What a segment of a DirStore can do beyond a Segment.
func (s *watchedSegment) PackLater() bool {
	p, ok := s.Segment.(interface{ PackLater() bool })
	return ok && p.PackLater()
}
func (s *watchedSegment) Pack() error { return s.Segment.(interface{ Pack() error }).Pack() }
func (s *watchedSegment) LeavePlain() error {
	return s.Segment.(interface{ LeavePlain() error }).LeavePlain()
}
