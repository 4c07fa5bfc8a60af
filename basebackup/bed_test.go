package basebackup_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pgbraid/pgbraid/basebackup"
	"github.com/pgbraid/pgbraid/internal/conninfo"
	"github.com/pgbraid/pgbraid/internal/pgtest"
	"github.com/pgbraid/pgbraid/internal/progress"
)

// cloneTimeout is far more than any clone of these tests needs: one that is
// still running then hangs.
const cloneTimeout = 90 * time.Second

var errCloneHangs = errors.New("time limit of the test")

// clone is one run against a real server.
type clone struct {
	t       *testing.T
	config  *pgconn.Config
	options basebackup.Options
	root    string // holds everything that the run may make
	// onProgress, if set, sees each snapshot.
	onProgress func(basebackup.Progress)

	mu     sync.Mutex
	last   basebackup.Progress
	cancel context.CancelCauseFunc
	done   chan struct{}
	result *basebackup.Result
	err    error
}

// newClone prepares a clone of the server that connString leads to. Its
// walsenders are called clone.
func newClone(t *testing.T, connString string) *clone {
	t.Helper()
	info, err := conninfo.Parse(conninfo.Flags{ConnString: connString}, "clone")
	if err != nil {
		t.Fatal(err)
	}
	config, err := info.Config()
	if err != nil {
		t.Fatal(err)
	}
	c := &clone{t: t, config: config, root: pgtest.TempDir(t), done: make(chan struct{})}
	c.options = basebackup.Options{
		Directory:       filepath.Join(c.root, "data"),
		Standby:         true,
		FastCheckpoint:  true,
		PrimaryConnInfo: info.PrimaryConnInfo(),
		NoSync:          true,
		Logger:          slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelDebug})),
		OnProgress: func(p basebackup.Progress) {
			c.mu.Lock()
			c.last = p
			c.mu.Unlock()
			if c.onProgress != nil {
				c.onProgress(p)
			}
		},
	}
	return c
}

// start begins the run, which ends with the test at the latest.
func (c *clone) start() {
	ctx, cancel := context.WithCancelCause(context.Background())
	ctx, stop := context.WithTimeoutCause(ctx, cloneTimeout, errCloneHangs)
	c.cancel = cancel
	go func() {
		defer close(c.done)
		c.result, c.err = basebackup.Run(ctx, c.config, c.options)
	}()
	c.t.Cleanup(func() {
		stop()
		<-c.done
	})
}

// wait returns the error that the run ended with.
func (c *clone) wait() error {
	c.t.Helper()
	<-c.done
	if errors.Is(c.err, errCloneHangs) {
		c.t.Fatalf("the clone hangs: %v", c.err)
	}
	return c.err
}

// run is start and wait.
func (c *clone) run() error {
	c.t.Helper()
	c.start()
	return c.wait()
}

// must is wait for a run that has to succeed.
func (c *clone) must() *basebackup.Result {
	c.t.Helper()
	if err := c.wait(); err != nil {
		c.t.Fatalf("clone: %v", err)
	}
	return c.result
}

func (c *clone) progress() basebackup.Progress {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// await waits until the run's progress is as wanted, while it runs.
func (c *clone) await(what string, is func(basebackup.Progress) bool) {
	c.t.Helper()
	for deadline := time.Now().Add(cloneTimeout); ; {
		if is(c.progress()) {
			return
		}
		select {
		case <-c.done:
			c.t.Fatalf("%s: the clone ended before: %v", what, c.err)
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s: not within %s: %+v", what, cloneTimeout, c.progress())
		}
	}
}

// awaitPhase waits until the run is in that phase.
func (c *clone) awaitPhase(p progress.Phase) {
	c.t.Helper()
	c.await("phase "+p.String(), func(s basebackup.Progress) bool { return s.Phase == p })
}

// awaitStreams waits until both streams bring data.
func (c *clone) awaitStreams() {
	c.t.Helper()
	c.await("both streams", func(s basebackup.Progress) bool {
		return s.Phase == progress.Copying && s.Done > 0 && s.WALState == "streaming" && s.WALPosition > 0
	})
}

// cluster is the clone as one that can be started.
func (c *clone) cluster(s pgtest.Server, opts ...pgtest.Option) *pgtest.Cluster {
	c.t.Helper()
	return pgtest.OpenDataDir(c.t, s, c.options.Directory, opts...)
}

// settings is the file that the standby's settings are in.
func (c *clone) settings(s pgtest.Server) string {
	if s.Major < 12 {
		return filepath.Join(c.options.Directory, "recovery.conf")
	}
	return filepath.Join(c.options.Directory, "postgresql.auto.conf")
}

// startAlone starts the clone without a server to stream from.
func (c *clone) startAlone(s pgtest.Server) *pgtest.Cluster {
	c.t.Helper()
	var opts []pgtest.Option
	if s.Major >= 12 {
		opts = append(opts, pgtest.Config("primary_conninfo = ''"))
	} else {
		before := readFile(c.settings(s))
		if err := os.WriteFile(c.settings(s), []byte("standby_mode = on\n"), 0o600); err != nil {
			c.t.Fatal(err)
		}
		defer func() {
			if err := os.WriteFile(c.settings(s), []byte(before), 0o600); err != nil {
				c.t.Fatal(err)
			}
		}()
	}
	alone := c.cluster(s, opts...)
	alone.Start(c.t)
	return alone
}

// mustFollow starts the clone, which has to become the same as source and go
// on to follow it.
func (c *clone) mustFollow(source *pgtest.Cluster) *pgtest.Cluster {
	c.t.Helper()
	standby := c.cluster(source.Server)
	standby.Start(c.t)
	source.WaitCatchup(c.t, standby)
	pgtest.AssertSameDigests(c.t, pgtest.Digest(c.t, standby), pgtest.Digest(c.t, source))
	standby.WaitFor(c.t, "SELECT status FROM pg_stat_wal_receiver", "streaming", 30*time.Second)
	return standby
}

// mustHaveLeftNothing checks what a run that failed has to keep: neither
// directories here nor walsenders and temporary slots there.
func (c *clone) mustHaveLeftNothing(source *pgtest.Cluster) {
	c.t.Helper()
	entries, err := os.ReadDir(c.root)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, e := range entries {
		c.t.Errorf("left behind: %s", filepath.Join(c.root, e.Name()))
	}
	noWalsenders(c.t, source)
}

// noWalsenders waits until the source has no walsender of a clone, and no
// temporary slot, any more.
func noWalsenders(t *testing.T, source *pgtest.Cluster) {
	t.Helper()
	source.WaitFor(t, `SELECT (SELECT count(*) FROM pg_stat_replication WHERE application_name = 'clone'),
		(SELECT count(*) FROM pg_replication_slots WHERE temporary)`, "0|0", 10*time.Second)
}

// tree is every file and directory below dir, with those behind its links, by
// path below dir.
func tree(t *testing.T, dir string) map[string]fs.FileInfo {
	t.Helper()
	files := map[string]fs.FileInfo{}
	var walk func(name string)
	walk = func(name string) {
		info, err := os.Stat(filepath.Join(dir, name)) // through links
		if err != nil {
			t.Error(err)
			return
		}
		files[name] = info
		if !info.IsDir() {
			return
		}
		entries, err := os.ReadDir(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		}
		for _, e := range entries {
			walk(filepath.Join(name, e.Name()))
		}
	}
	walk(".")
	return files
}

// edgeServers are the releases between which a base backup differs on the
// wire: the oldest and the newest of those under test, and 15.
func edgeServers(t *testing.T) []pgtest.Server {
	t.Helper()
	all := pgtest.Servers(t)
	return slices.DeleteFunc(slices.Clone(all), func(s pgtest.Server) bool {
		return s.Major != all[0].Major && s.Major != 15 && s.Major != all[len(all)-1].Major
	})
}

// forEdges runs f on edgeServers, two at a time.
func forEdges(t *testing.T, f func(t *testing.T, s pgtest.Server)) {
	t.Helper()
	for _, s := range edgeServers(t) {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			f(t, s)
		})
	}
}

// closedPort is a TCP port on which nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// readFile gives "" for a file that is not there.
func readFile(path string) string {
	content, _ := os.ReadFile(path)
	return string(content)
}

func mustContain(t *testing.T, what, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("%s has no %q: %q", what, want, text)
		}
	}
}

type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Logf("%s", bytes.TrimSpace(p))
	return len(p), nil
}
