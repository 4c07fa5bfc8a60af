package logstream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pgbraid/pgbraid/internal/conninfo"
	"github.com/pgbraid/pgbraid/internal/pgtest"
	"github.com/pgbraid/pgbraid/logstream"
)

// The test binary is also a receiver that can be killed: with this variable in
// its environment it runs one, on the connection string and the directory in
// its arguments.
const receiverEnv = "PGBRAID_TEST_RECEIVER"

func TestMain(m *testing.M) {
	if os.Getenv(receiverEnv) != "" {
		os.Exit(receiverMain(os.Args[1], os.Args[2], os.Args[3], os.Args[4] == "synchronous"))
	}
	code := m.Run()
	if programDir != "" {
		_ = os.RemoveAll(programDir) // a temporary directory
	}
	os.Exit(code)
}

func receiverMain(connString, dir, slot string, synchronous bool) int {
	config, err := pgconn.ParseConfig(connString + " replication=true application_name=archive")
	if err == nil {
		a := logstream.NewArchiver(config, logstream.ArchiveOptions{
			Directory: dir, Slot: slot, Synchronous: synchronous, StatusInterval: time.Second,
			Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		})
		err = a.Run(context.Background())
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// startReceiver starts a receiver as a process of its own.
func startReceiver(t *testing.T, connString, dir, slot, mode string) *exec.Cmd {
	t.Helper()
	c := exec.Command(os.Args[0], connString, dir, slot, mode)
	c.Env = append(os.Environ(), receiverEnv+"=1")
	log, err := os.OpenFile(filepath.Join(dir, ".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	_ = log.Close() // the child has its own
	t.Cleanup(func() {
		_ = c.Process.Kill() // it may have ended
		_ = c.Wait()
		if t.Failed() && c.ProcessState != nil && c.ProcessState.Exited() {
			content, _ := os.ReadFile(filepath.Join(dir, ".log"))
			t.Logf("receiver's log, its end:\n%s", content[max(0, len(content)-6000):])
		}
	})
	return c
}

func killReceiver(c *exec.Cmd) {
	_ = c.Process.Signal(syscall.SIGKILL) // it may have ended
	_ = c.Wait()
}

// archiver is one that runs in the test's process.
type archiver struct {
	*logstream.Archiver
	done chan error
	t    *testing.T
}

func archive(t *testing.T, connString string, o logstream.ArchiveOptions) *archiver {
	t.Helper()
	info, err := conninfo.Parse(conninfo.Flags{ConnString: connString}, "archive")
	if err != nil {
		t.Fatal(err)
	}
	config, err := info.Config()
	if err != nil {
		t.Fatal(err)
	}
	return runArchiver(t, config, o)
}

func testLogger(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// runArchiver is archive with a configuration that is ready.
func runArchiver(t *testing.T, config *pgconn.Config, o logstream.ArchiveOptions) *archiver {
	t.Helper()
	o.Logger = testLogger(t)
	if o.StatusInterval == 0 {
		o.StatusInterval = time.Second
	}
	a := &archiver{logstream.NewArchiver(config, o), make(chan error, 1), t}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { a.done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case <-a.done:
		case <-time.After(20 * time.Second):
			t.Error("the archiver does not end")
		}
	})
	return a
}

// stop ends the archiver in good order.
func (a *archiver) stop() {
	a.t.Helper()
	a.Stop()
	if err := a.end(); err != nil {
		a.t.Fatalf("stopping: %v", err)
	}
}

// end waits for the archiver's end.
func (a *archiver) end() error {
	a.t.Helper()
	select {
	case err := <-a.done:
		a.done <- err // for the cleanup
		return err
	case <-time.After(60 * time.Second):
		a.t.Fatalf("the archiver does not end: %+v", a.Status())
		return nil
	}
}

// await waits until the archive is at least at a position.
func (a *archiver) await(timeline logstream.TimelineID, lsn string) {
	a.t.Helper()
	want := parseLSN(a.t, lsn)
	for deadline := time.Now().Add(60 * time.Second); ; {
		if s := a.Status(); s.Written.Timeline >= timeline && s.Written.LSN >= want {
			return
		}
		select {
		case err := <-a.done:
			a.done <- err
			a.t.Fatalf("the archiver ended before %s on timeline %d: %v", lsn, timeline, err)
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			a.t.Fatalf("not at %s on timeline %d: %+v", lsn, timeline, a.Status())
		}
	}
}

func parseLSN(t *testing.T, text string) logstream.LSN {
	t.Helper()
	l, err := logstream.ParseLSN(text)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	defer func() { _ = recover() }() // a log line after the test's end is no fault
	w.t.Logf("%s", bytes.TrimSpace(p))
	return len(p), nil
}

// nextSegment switches to a new segment and returns its start.
func nextSegment(t *testing.T, c *pgtest.Cluster, size logstream.SegmentSize) string {
	t.Helper()
	end := parseLSN(t, c.SwitchWAL(t))
	return size.Start(size.Segment(end-1) + 1).String()
}

const mib16 = logstream.SegmentSize(16 << 20)

// compareWithServer holds every complete segment of the archive against the
// server's, and reports holes between the first and the last. It returns the
// number of segments and of bytes that were compared.
func compareWithServer(t *testing.T, dir string, size logstream.SegmentSize, dataDir string) (segments int, compared int64) {
	t.Helper()
	list, err := logstream.ListSegments(dir, size)
	if err != nil {
		t.Fatal(err)
	}
	var before logstream.SegmentNumber
	for _, f := range list { // the newest first
		if f.Partial {
			continue
		}
		if before != 0 && f.Number+1 != before && f.Number != before {
			t.Errorf("hole between %s and segment %d", f.Name, before)
		}
		before = f.Number
		r, err := f.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join(dataDir, "pg_wal", size.FileName(f.Timeline, f.Number)))
		if errors.Is(err, os.ErrNotExist) {
			continue // recycled on the server
		}
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs from the server's", f.Name)
		}
		segments++
		compared += int64(len(got))
	}
	return segments, compared
}

// names lists the directory's files of WAL.
func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			list = append(list, e.Name())
		}
	}
	return strings.Join(list, " ")
}

// keepAll has a server keep its WAL, so that it can be compared.
var keepAll = pgtest.Config("wal_keep_size = '8GB'", "max_wal_size = '8GB'", "checkpoint_timeout = '1h'")
