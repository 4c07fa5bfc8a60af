package logstream_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/internal/pgtest"
	"github.com/pgbraid/pgbraid/logstream"
)

// kills is how often the receiver is killed; the count of the issue that asked
// for it is 30.
const kills = 30

func TestKilledReceiverLosesNothing(t *testing.T) {
	c := pgtest.Newest(t).Init(t, keepAll, pgtest.SegmentSize(1))
	c.Start(t)
	c.SQL(t, "SELECT pg_create_physical_replication_slot('archive', true)")
	w := pgtest.StartWriter(t, c, pgtest.WriterOptions{RowBytes: 1000, Rows: 50})
	dir := pgtest.TempDir(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range kills {
		r := startReceiver(t, c.ConnString(), dir, "archive", "")
		time.Sleep(time.Duration(50+random.IntN(250)) * time.Millisecond)
		killReceiver(r)
	}
	w.Stop(t)
	end := nextSegment(t, c, 1<<20)
	a := archive(t, c.ConnString(), logstream.ArchiveOptions{Directory: dir, Slot: "archive"})
	a.await(1, end)
	a.stop()
	c.Stop(t, pgtest.Fast)
	segments, bytes := compareWithServer(t, dir, 1<<20, c.DataDir)
	t.Logf("%d kills, %d segments and %d bytes are equal", kills, segments, bytes)
	if segments < 10 {
		t.Errorf("only %d segments: the test proves little", segments)
	}
}

func TestCutConnectionsAndServerRestartsLoseNothing(t *testing.T) {
	c := pgtest.Newest(t).Init(t, keepAll, pgtest.SegmentSize(1))
	c.Start(t)
	w := pgtest.StartWriter(t, c, pgtest.WriterOptions{RowBytes: 1000, Rows: 50})
	p := c.Proxy(t)
	dir := pgtest.TempDir(t)
	a := archive(t, c.ProxyConnString(p.Addr()), logstream.ArchiveOptions{Directory: dir})
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 20 {
		hit := p.InjectAfter(random.Int64N(1<<20), pgtest.Reset, pgtest.LogConn)
		select {
		case <-hit:
		case <-time.After(20 * time.Second):
			t.Fatalf("the proxy cut nothing: %+v", a.Status())
		}
	}
	c.Restart(t, pgtest.Fast)
	time.Sleep(300 * time.Millisecond)
	c.Restart(t, pgtest.Immediate)
	time.Sleep(300 * time.Millisecond)
	w.Stop(t)
	a.await(1, nextSegment(t, c, 1<<20))
	a.stop()
	if s := a.Status(); s.Lost < 20 {
		t.Errorf("%d connections lost, want 20 or more", s.Lost)
	}
	c.Stop(t, pgtest.Fast)
	segments, bytes := compareWithServer(t, dir, 1<<20, c.DataDir)
	t.Logf("%d segments and %d bytes are equal", segments, bytes)
	if segments < 10 {
		t.Errorf("only %d segments: the test proves little", segments)
	}
}

func TestControlledShutdownWaitsForTheArchiveAndIsWhole(t *testing.T) {
	for _, slot := range []string{"", "archive"} {
		c := pgtest.Newest(t).Init(t, keepAll)
		c.Start(t)
		if slot != "" {
			c.SQL(t, "SELECT pg_create_physical_replication_slot('archive', true)")
		}
		dir := pgtest.TempDir(t)
		// No status unless it is asked for: the answer must come then.
		a := archive(t, c.ConnString(), logstream.ArchiveOptions{Directory: dir, Slot: slot, StatusInterval: time.Hour})
		c.SQL(t, "CREATE TABLE t AS SELECT generate_series(1, 10000)")
		a.await(1, c.CurrentLSN(t))
		begin := time.Now()
		c.Stop(t, pgtest.Fast)
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("slot %q: the shutdown took %s", slot, took)
		}
		a.stop()
		// The shutdown checkpoint is the last record; the archive must hold it.
		end := a.Status().Written.LSN
		store := logstream.NewDirStore(dir, mib16, logstream.DirOptions{})
		got, err := store.RecordsEnd(1, mib16.Floor(end))
		if err != nil {
			t.Fatal(err)
		}
		want, err := logstream.NewDirStore(filepath.Join(c.DataDir, "pg_wal"), mib16, logstream.DirOptions{}).RecordsEnd(1, mib16.Floor(end))
		if err != nil || got != want {
			t.Errorf("slot %q: records end at %s in the archive and at %s on the server, %v", slot, got, want, err)
		}
	}
}

func TestSynchronousReceiverHasEveryAcknowledgedCommit(t *testing.T) {
	c := pgtest.Newest(t).Init(t, keepAll, pgtest.Config("synchronous_standby_names = ''"))
	c.Start(t)
	base := pgtest.NewStandby(t, c) // the base backup to restore from
	dir := pgtest.TempDir(t)
	r := startReceiver(t, c.ConnString(), dir, "", "synchronous")
	c.WaitFor(t, "SELECT count(*) FROM pg_stat_replication WHERE application_name = 'archive'", "1", 20*time.Second)
	w := pgtest.StartWriter(t, c, pgtest.WriterOptions{Rows: 1})
	c.Configure(t, "synchronous_standby_names = 'archive'")
	c.Reload(t)
	c.WaitFor(t, "SELECT sync_state FROM pg_stat_replication WHERE application_name = 'archive'", "sync", 20*time.Second)
	before := w.Committed()
	time.Sleep(2 * time.Second)
	c.Stop(t, pgtest.Immediate)
	killReceiver(r)
	acknowledged := w.Committed()
	t.Logf("%d commits acknowledged, %d of them while synchronous", acknowledged, acknowledged-before)
	if acknowledged-before < 50 {
		t.Errorf("too few commits for a proof")
	}
	restore(t, base, dir)
	base.WaitFor(t, "SELECT pg_is_in_recovery()", "f", 60*time.Second)
	w.AssertContains(t, base, acknowledged)
}

// restore starts a standby as a point-in-time recovery to the end of an
// archive, by the program's own restore_command.
func restore(t *testing.T, base *pgtest.Cluster, dir string) {
	t.Helper()
	recoverTo(t, base, dir, "latest")
}

// recoverTo is restore along a timeline.
func recoverTo(t *testing.T, base *pgtest.Cluster, dir, timeline string) {
	t.Helper()
	pgtest.GiveToServer(t, dir)
	if err := os.Remove(filepath.Join(base.DataDir, "standby.signal")); err != nil {
		t.Fatal(err)
	}
	base.SetRecovery(t, pgtest.Recovery{
		RestoreCommand: program(t) + " restore-wal --partial -D " + dir + " %f %p",
		Settings:       []string{"primary_conninfo = ''", "recovery_target_timeline = '" + timeline + "'", "synchronous_standby_names = ''"},
	})
	base.Start(t)
}

// program builds pgbraid where the server's user can run it, once.
func program(t *testing.T) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "pgbraid-program-")
	if err != nil {
		return "", err
	}
	programDir = dir
	path := filepath.Join(dir, "pgbraid")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", path, "github.com/pgbraid/pgbraid/cmd/pgbraid").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, errors.Join(os.Chmod(dir, 0o755), os.Chmod(path, 0o755))
})

// programDir is where build has put the program, for TestMain to remove.
var programDir string

func TestSecondReceiverOfADirectoryIsRefused(t *testing.T) {
	c := pgtest.Newest(t).Init(t, keepAll)
	c.Start(t)
	dir := pgtest.TempDir(t)
	a := archive(t, c.ConnString(), logstream.ArchiveOptions{Directory: dir})
	a.await(1, c.CurrentLSN(t))
	b := archive(t, c.ConnString(), logstream.ArchiveOptions{Directory: dir})
	if err := b.end(); err == nil || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Errorf("got %v, want that this process has the directory", err)
	}
	a.await(1, nextSegment(t, c, mib16))
	a.stop()
	// The lock ends with its holder.
	d := archive(t, c.ConnString(), logstream.ArchiveOptions{Directory: dir})
	d.await(1, nextSegment(t, c, mib16))
	d.stop()
}
