package metrics_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pgbraid/pgbraid/internal/metrics"
	"github.com/pgbraid/pgbraid/internal/pgtest"
	"github.com/pgbraid/pgbraid/logstream"
)

// A server that is away is no reason to end the receiver; what hangs for long is.
func TestAliveWhileNothingHangs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		state   logstream.State
		stalled time.Duration
		want    int
	}{
		{logstream.Waiting, 0, 200},
		{logstream.Connecting, 0, 200},
		{logstream.Connecting, 10 * time.Minute, 503},
		{logstream.Streaming, time.Minute, 200},
		{logstream.Streaming, 6 * time.Minute, 503},
		{logstream.Stopped, 0, 503},
	} {
		address := fixed(t, logstream.Status{State: c.state, Stalled: c.stalled})
		if code, body := get(t, address, "/healthz"); code != c.want || !strings.Contains(body, fmt.Sprintf(`"stalled_seconds":%v`, c.stalled.Seconds())) {
			t.Errorf("%s, stalled for %s: %d %s", c.state, c.stalled, code, body)
		}
		if got := scrape(t, address)["pgbraid_receive_stalled_seconds"]; got != c.stalled.Seconds() {
			t.Errorf("%s, stalled for %s: the metric says %v", c.state, c.stalled, got)
		}
	}
}

// frozen is a file system on which every write hangs until thaw is called.
func frozen(t *testing.T) (dir string, freeze, thaw func()) {
	t.Helper()
	root := pgtest.TempDir(t)
	dir = filepath.Join(root, "disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	pgtest.MountImage(t, dir, filepath.Join(root, "image"), 256<<20, "mkfs.ext4", "-q")
	state := func(option string) error {
		if out, err := exec.Command("fsfreeze", option, dir).CombinedOutput(); err != nil {
			return fmt.Errorf("fsfreeze %s: %w: %s", option, err, out)
		}
		return nil
	}
	isFrozen := false
	thaw = func() {
		if !isFrozen {
			return
		}
		isFrozen = false
		if err := state("-u"); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(thaw) // before it is unmounted
	freeze = func() {
		if err := state("-f"); err != nil {
			t.Skip(err)
		}
		isFrozen = true
	}
	return dir, freeze, thaw
}

// TestDiskThatHangsShows freezes the archive's file system under a receiver.
func TestDiskThatHangsShows(t *testing.T) {
	t.Parallel()
	for _, synchronous := range []bool{false, true} {
		t.Run(fmt.Sprintf("synchronous %t", synchronous), func(t *testing.T) {
			t.Parallel()
			c := pgtest.Newest(t).Init(t)
			c.Start(t)
			config, err := pgconn.ParseConfig(c.ConnString() + " replication=true application_name=watched")
			if err != nil {
				t.Fatal(err)
			}
			dir, freeze, thaw := frozen(t)
			var a *logstream.Archiver
			m := metrics.NewReceive(func() logstream.Status { return a.Status() })
			a = logstream.NewArchiver(config, logstream.ArchiveOptions{
				Directory: dir, Synchronous: synchronous, StatusInterval: time.Second, OnFlush: m.ObserveFlush,
			})
			address := serve(t, m)
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- a.Run(ctx) }()
			t.Cleanup(func() {
				thaw()
				cancel()
				<-done
			})
			streams := func(what string) {
				t.Helper()
				eventually(t, what, func() (bool, string) {
					s := scrape(t, address)
					end, _ := logstream.ParseLSN(c.Query(t, "SELECT pg_current_wal_flush_lsn()"))
					return s["pgbraid_receive_flushed_lsn_bytes"] >= float64(end) && s["pgbraid_receive_ready"] == 1 &&
						s["pgbraid_receive_stalled_seconds"] < 1, fmt.Sprint(s)
				})
			}
			c.SQL(t, "CREATE TABLE t (x text)")
			streams("the stream")
			freeze()
			c.SQL(t, "INSERT INTO t SELECT repeat('x', 1000) FROM generate_series(1, 12000)")
			eventually(t, "the stall to show", func() (bool, string) {
				s := scrape(t, address)
				return s["pgbraid_receive_stalled_seconds"] > 3 && s[`pgbraid_receive_lag_bytes{position="flushed"}`] > 0 &&
					s[`pgbraid_receive_lag_seconds{position="flushed"}`] > 2, fmt.Sprint(s)
			})
			thaw()
			streams("the stream, after the stall")
			if s := a.Status(); s.Lost != 0 {
				t.Errorf("%d connections lost: %v", s.Lost, s.LastError)
			}
		})
	}
}
