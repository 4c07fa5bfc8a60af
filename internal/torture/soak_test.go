//go:build linux

package torture

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// TestSoak keeps a receiver at work for PGBRAID_SOAK, 40 s if that is not set,
// while the primary is written to, is cloned, and hands over to the clone, round
// after round. The receiver must not grow, and in the end a recovery from a first
// backup and the archive must have every row that was ever committed.
func TestSoak(t *testing.T) {
	t.Parallel()
	length, err := time.ParseDuration(cmp.Or(os.Getenv("PGBRAID_SOAK"), "40s"))
	if err != nil {
		t.Fatal(err)
	}
	// A handover a minute, or four if it does not last as long as that.
	each := min(time.Minute, length/4)

	root := pgtest.TempDir(t)
	settings := pgtest.Config("wal_keep_size = '2GB'", "max_wal_size = '256MB'")
	primary := pgtest.Newest(t).Init(t, settings)
	primary.Start(t)
	proxy := primary.Proxy(t)
	connString := primary.ProxyConnString(proxy.Addr())
	writer := pgtest.StartWriter(t, primary, pgtest.WriterOptions{ConnString: connString, Pause: 5 * time.Millisecond})
	writer.WaitCommitted(t, 100)

	archive, base := filepath.Join(root, "archive"), filepath.Join(root, "base")
	if err := os.Mkdir(archive, 0o755); err != nil {
		t.Fatal(err)
	}
	metrics := freePort(t)
	receiver := pgbraid("receive", "-D", archive, "-d", connString, "-Z", "lz4", "--metrics", metrics)
	var said bytes.Buffer
	var uses []use
	receiver.Stderr = &said
	if err := receiver.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = receiver.Process.Kill()
		_ = receiver.Wait()
		if t.Failed() {
			t.Logf("%v; the receiver said:\n%s", uses, said.String())
		}
	})
	must(t, pgbraid("backup", "-D", base, "-d", connString, "-c", "fast", "-X", "none"))

	handovers := 0
	for begun := time.Now(); time.Since(begun) < length; handovers++ {
		round := time.Now()
		dir := filepath.Join(root, "node"+strconv.Itoa(handovers))
		must(t, pgbraid("clone", "-D", dir, "-d", connString, "-c", "fast"))
		next := pgtest.OpenDataDir(t, primary.Server, dir)
		next.Start(t)
		primary.WaitCatchup(t, next)
		for time.Since(round) < each*9/10 {
			time.Sleep(each / 10)
			proxy.Inject(pgtest.Reset, pgtest.LogConn)
		}
		// Both ends may take a broken connection for a good one for a moment.
		time.Sleep(each / 10)
		next.WaitFor(t, "SELECT status FROM pg_stat_wal_receiver", "streaming", 30*time.Second)
		primary.WaitFor(t, "SELECT count(*) FROM pg_stat_replication WHERE application_name = 'walreceiver' AND state = 'streaming'", "1", 30*time.Second)
		// In good order: the primary waits until all have what it wrote.
		primary.Stop(t, pgtest.Fast)
		committed := writer.Committed()
		next.Promote(t)
		proxy.SetTarget(next)
		writer.AssertContains(t, next, committed)
		writer.WaitCommitted(t, 100)
		if err := os.RemoveAll(primary.DataDir); err != nil {
			t.Fatal(err)
		}
		primary = next
		uses = append(uses, useOf(t, receiver.Process.Pid, metrics))
	}
	writer.Stop(t)
	committed := writer.Committed()
	want := primary.SwitchWAL(t)
	for deadline := time.Now().Add(limit); !received(archive, primary, want); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the receiver does not come to %s", want)
		}
	}
	if err := receiver.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := receiver.Wait(); err != nil {
		t.Errorf("the receiver: %v\n%s", err, said.String())
	}
	flat(t, uses)

	program := filepath.Join(root, "pgbraid.test")
	self, err := os.ReadFile("/proc/self/exe")
	if err := errors.Join(err, os.WriteFile(program, self, 0o755)); err != nil {
		t.Fatal(err)
	}
	pgtest.GiveToServer(t, root)
	restored := pgtest.OpenDataDir(t, primary.Server, base)
	restored.SetRecovery(t, pgtest.Recovery{
		RestoreCommand: fmt.Sprintf(`%s='none 0 /nowhere' %s restore-wal --partial -D %s "%%f" "%%p"`, diskVariable, program, archive),
		Settings:       []string{"recovery_target_timeline = 'latest'"},
	})
	restored.Start(t)
	restored.WaitFor(t, "SELECT pg_is_in_recovery()", "f", 5*time.Minute)
	last := writer.AssertContains(t, restored, committed)
	t.Logf("%d handovers; %d rows, all there; the receiver's use: %v", handovers, last, uses)
}

// pgbraid is this program as pgbraid, on a disk that works.
func pgbraid(args ...string) *exec.Cmd {
	c := exec.Command(os.Args[0], args...)
	c.Env = append(os.Environ(), diskVariable+"=none 0 /nowhere")
	return c
}

func must(t *testing.T, c *exec.Cmd) {
	t.Helper()
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", c.Args[1:], err, out)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// received tells whether the archive has the segment that ended at an LSN.
func received(archive string, c *pgtest.Cluster, lsn string) bool {
	name, err := c.TryQuery(context.Background(), "postgres", "SELECT pg_walfile_name('"+lsn+"'::pg_lsn - 1)")
	if err != nil {
		return false
	}
	found, _ := filepath.Glob(filepath.Join(archive, name+".lz4"))
	return len(found) == 1
}

// use is what a process holds.
type use struct{ MB, descriptors, goroutines int }

var goroutines = regexp.MustCompile(`(?m)^go_goroutines (\d+)`)

func useOf(t *testing.T, pid int, metrics string) (u use) {
	t.Helper()
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	status, err := os.ReadFile(filepath.Join(proc, "status"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "\nVmRSS:")
	if _, err := fmt.Sscan(rest, &u.MB); err != nil {
		t.Fatal(err)
	}
	u.MB >>= 10
	open, err := os.ReadDir(filepath.Join(proc, "fd"))
	if err != nil {
		t.Fatal(err)
	}
	u.descriptors = len(open)
	answer, err := http.Get("http://" + metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }() // read to its end
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	found := goroutines.FindSubmatch(text)
	if found == nil {
		t.Fatalf("no go_goroutines in the metrics:\n%s", text)
	}
	u.goroutines, _ = strconv.Atoi(string(found[1])) // digits
	return u
}

// flat checks that the second half of a run held no more than the first.
func flat(t *testing.T, uses []use) {
	t.Helper()
	half := len(uses) / 2
	most := func(of []use) (m use) {
		for _, u := range of {
			m = use{max(m.MB, u.MB), max(m.descriptors, u.descriptors), max(m.goroutines, u.goroutines)}
		}
		return m
	}
	a, b := most(uses[:half]), most(uses[half:])
	if b.MB > a.MB+16 || b.descriptors > a.descriptors+4 || b.goroutines > a.goroutines+6 {
		t.Errorf("the receiver grew from %+v to %+v: %v", a, b, uses)
	}
}
