package dropin

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/internal/pgtest"
)

func TestThatSlotsAreMadeAndDroppedAlike(t *testing.T) {
	t.Parallel()
	c := distribution(t)
	b := newBed(t, "pg_receivewal").at(c)
	lines := []string{
		"--create-slot -S one -v", "--create-slot -S one -v", "--create-slot -S one -v --if-not-exists", "--create-slot -S one -D missing",
		"--drop-slot -S one -v", "--drop-slot -S one -v", "--create-slot -S Bad", "--create-slot --slot=", "--create-slot -S two", "--drop-slot -S two --if-not-exists",
	}
	run := func(program string) (all []outcome) {
		for _, line := range lines {
			all = append(all, b.run(t, program, t.TempDir(), words(line)...))
		}
		return all
	}
	ours, stock := run(b.ours), run(b.stock)
	for i, line := range lines {
		sameLines(t, line, ours[i], stock[i])
	}
}

// TestThatALogIsReceivedAlike lets both tools take the same log, and compares
// what they say and what they leave.
func TestThatALogIsReceivedAlike(t *testing.T) {
	t.Parallel()
	c := distribution(t)
	b := newBed(t, "pg_receivewal").at(c)
	c.SQL(t, "SELECT pg_create_physical_replication_slot('ours', true), pg_create_physical_replication_slot('stock', true)")
	var end string
	for range 2 {
		c.SwitchWAL(t)
		c.SQL(t, "CREATE TABLE IF NOT EXISTS t (n int); INSERT INTO t SELECT generate_series(1, 1000)")
		end = c.CurrentLSN(t)
	}
	// The end position must be passed.
	c.SQL(t, "INSERT INTO t SELECT generate_series(1, 1000)")
	for _, more := range []string{"-v", "", "-v --no-sync -n", "-v --synchronous", "-v -Z gzip:1"} {
		dirs := map[string]string{}
		said := map[string]outcome{}
		for slot, program := range map[string]string{"ours": b.ours, "stock": b.stock} {
			dirs[slot] = t.TempDir()
			said[slot] = b.run(t, program, dirs[slot], append([]string{"-D", ".", "-E", end, "-S", slot}, strings.Fields(more)...)...)
			// For the next time.
			c.SQL(t, "SELECT pg_drop_replication_slot('"+slot+"')")
			c.SQL(t, "SELECT pg_create_physical_replication_slot('"+slot+"', true)")
		}
		if said["stock"].code != 0 {
			t.Errorf("%s: the tool itself failed: %s", more, said["stock"].errors)
		}
		for slot, o := range said {
			o.errors = told(o.errors)
			said[slot] = o
		}
		sameLines(t, more, said["ours"], said["stock"])
		if ours, stock := kept(t, dirs["ours"]), kept(t, dirs["stock"]); len(ours) < 3 || !slices.Equal(ours, stock) {
			t.Errorf("%s: left %q and %q", more, ours, stock)
		}
	}
}

// told is what a tool said, without what the distribution's tells a second time
// when the stream has ended. It compresses the last segment as it comes, where
// ours is as it is until it is complete.
func told(text string) string {
	var lines []string
	for _, l := range normalized(strings.ReplaceAll(text, ".gz.partial", ".partial")) {
		again := strings.Contains(l, "stopped log streaming") || strings.Contains(l, "received interrupt signal")
		if !again || !slices.Contains(lines, l) {
			lines = append(lines, l)
		}
	}
	return strings.Join(lines, "\n")
}

// kept are the names of a directory, but for our lock.
func kept(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			names = append(names, strings.Replace(e.Name(), ".gz.partial", ".partial", 1))
		}
	}
	return names
}

// running is a tool that goes on until it is told to end.
type running struct {
	cmd  *exec.Cmd
	said pgtest.Output
}

func (b *bed) start(t *testing.T, program, dir string, args ...string) *running {
	t.Helper()
	r := &running{cmd: exec.Command(program, args...)}
	r.cmd.Dir, r.cmd.Env, r.cmd.Stderr = dir, b.env, &r.said
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill() // it has ended, unless the test failed
		_ = r.cmd.Wait()
	})
	return r
}

func (r *running) waitFor(t *testing.T, text string, times int) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); strings.Count(r.said.String(), text) < times; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %q, but:\n%s", text, r.said.String())
		}
	}
}

// wait is the exit code, or minus the number of the signal that ended it.
func (r *running) wait(t *testing.T) int {
	t.Helper()
	_ = r.cmd.Wait() // the state says more
	status, ok := r.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok {
		t.Fatal("no wait status")
	}
	if status.Signaled() {
		return -int(status.Signal())
	}
	return status.ExitStatus()
}

func TestThatSignalsEndTheReceiverInGoodOrder(t *testing.T) {
	t.Parallel()
	c := distribution(t)
	b := newBed(t, "pg_receivewal").at(c)
	end := func(program string, s syscall.Signal) outcome {
		dir := t.TempDir()
		r := b.start(t, program, dir, "-D", dir, "-v")
		r.waitFor(t, "starting log streaming", 1)
		waitForFile(t, filepath.Join(dir, "*.partial"))
		if err := r.cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		return outcome{code: r.wait(t), errors: told(r.said.String())}
	}
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		ours := end(b.ours, s)
		sameLines(t, s.String(), ours, end(b.stock, s))
		if ours.code != 0 {
			t.Errorf("%s: exit code %d:\n%s", s, ours.code, ours.errors)
		}
	}
}

func waitForFile(t *testing.T, pattern string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			if info, err := os.Stat(n); err == nil && info.Size() > 0 {
				return
			}
		}
		if time.Now().After(end) {
			t.Fatal("no file ", pattern)
		}
	}
}

func TestThatALostConnectionIsToldAsTheToolDoes(t *testing.T) {
	t.Parallel()
	c := distribution(t)
	b := newBed(t, "pg_receivewal").at(c)
	streaming := func(t *testing.T) {
		t.Helper()
		c.WaitFor(t, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "1", 30*time.Second)
	}
	t.Run("no loop", func(t *testing.T) {
		var said []outcome
		for _, program := range []string{b.ours, b.stock} {
			dir := t.TempDir()
			r := b.start(t, program, dir, "-D", dir, "-n")
			streaming(t)
			c.TerminateWalsenders(t, "true")
			code := r.wait(t)
			lines := strings.Split(strings.TrimSpace(r.said.String()), "\n")
			said = append(said, outcome{code: code, errors: lines[len(lines)-1]})
		}
		sameLines(t, "-n", said[0], said[1])
	})
	t.Run("loop", func(t *testing.T) {
		dir := t.TempDir()
		r := b.start(t, b.ours, dir, "-D", dir, "-v")
		streaming(t)
		c.TerminateWalsenders(t, "true")
		r.waitFor(t, "pg_receivewal: disconnected; waiting 5 seconds to try again\n", 1)
		r.waitFor(t, "starting log streaming", 2)
		streaming(t)
		if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if code := r.wait(t); code != 0 {
			t.Errorf("exit code %d:\n%s", code, r.said.String())
		}
		if !strings.Contains(r.said.String(), "pg_receivewal: error: ") {
			t.Errorf("it does not say why:\n%s", r.said.String())
		}
	})
}

// TestThatASignalEndsABackupAsOneThatIsNotCaught shows that whoever started the
// tool sees the signal, and that nothing is left, which the tool itself leaves.
func TestThatASignalEndsABackupAsOneThatIsNotCaught(t *testing.T) {
	t.Parallel()
	c := distribution(t, pgtest.Config("checkpoint_timeout = 1h"))
	b := newBed(t, "pg_basebackup").at(c)
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		dir := filepath.Join(t.TempDir(), "d")
		r := b.start(t, b.ours, "/", "-D", dir, "-v", "-r", "32", "-cfast")
		r.waitFor(t, "starting background WAL receiver", 1)
		if err := r.cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		if code := r.wait(t); code != -int(s) {
			t.Errorf("%s: ended by %d:\n%s", s, code, r.said.String())
		}
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s: %s is left: %v", s, dir, err)
		}
	}
}
