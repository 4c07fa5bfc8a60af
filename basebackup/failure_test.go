//go:build linux

package basebackup_test

import (
	"bytes"
	"errors"

	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/internal/cli"
	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// With this variable the test's program is pgbraid, with the arguments of its
// command line: so failures are seen as a person sees them. Its value is the
// largest file that may be written, in bytes, or 0 for no limit.
const failureMain = "PGBRAID_FAILURE_TEST_MAIN"

func init() {
	text, ok := os.LookupEnv(failureMain)
	if !ok {
		return
	}
	if limit, _ := strconv.ParseUint(text, 10, 64); limit > 0 {
		signal.Ignore(syscall.SIGXFSZ)
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: limit, Max: limit}); err != nil {
			panic(err)
		}
	}
	os.Exit(cli.Main(os.Args[1:]))
}

// failureServers are the releases with other messages or another form of base
// backups than the one before.
func failureServers(t *testing.T, f func(t *testing.T, s pgtest.Server)) {
	for _, major := range []int{14, 15, 18} {
		s := pgtest.Require(t, major)
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			f(t, s)
		})
	}
}

// failureRun is pgbraid clone on its way, or ended.
type failureRun struct {
	t        *testing.T
	cmd      *exec.Cmd
	out, err bytes.Buffer
}

// failureStart starts pgbraid with an environment that has nothing of the
// person's who runs the test.
func failureStart(t *testing.T, program string, env []string, args ...string) *failureRun {
	t.Helper()
	if program == "" {
		program = os.Args[0]
	}
	r := &failureRun{t: t, cmd: exec.Command(program, args...)}
	r.cmd.Env = append([]string{failureMain + "=0", "HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH"), "GORACE=" + os.Getenv("GORACE")}, env...)
	r.cmd.Stdout, r.cmd.Stderr = &r.out, &r.err
	return r
}

func (r *failureRun) start() *failureRun {
	r.t.Helper()
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = r.cmd.Process.Kill() })
	return r
}

// wait gives the exit code, -1 for the end by a signal.
func (r *failureRun) wait() int {
	r.t.Helper()
	timer := time.AfterFunc(60*time.Second, func() {
		r.t.Error("it does not end")
		_ = r.cmd.Process.Kill()
	})
	defer timer.Stop()
	err := r.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		r.t.Fatal(err)
	}
	return r.cmd.ProcessState.ExitCode()
}

// check wants a failure with one line that holds message, and a second one
// with the hint if there is any, and nothing else.
func (r *failureRun) check(code int, message, hint string) {
	r.t.Helper()
	if r.cmd.Process == nil {
		r.start()
	}
	if got := r.wait(); got != code {
		r.t.Errorf("exit code %d, want %d", got, code)
	}
	if r.out.Len() != 0 {
		r.t.Errorf("standard output: %q", r.out.String())
	}
	lines := strings.Split(strings.TrimSuffix(r.err.String(), "\n"), "\n")
	// Warnings may come before.
	for len(lines) > 1 && strings.HasPrefix(lines[0], "pgbraid: warning: ") {
		lines = lines[1:]
	}
	if !strings.HasPrefix(lines[0], "pgbraid: error: ") || !strings.Contains(lines[0], message) {
		r.t.Errorf("want an error with %q, got\n%s", message, r.err.String())
	}
	switch {
	case hint == "" && len(lines) != 1, hint != "" && len(lines) != 2:
		r.t.Errorf("%d lines, hint wanted: %q\n%s", len(lines), hint, r.err.String())
	case hint != "" && (!strings.HasPrefix(lines[1], "pgbraid: hint: ") || !strings.Contains(lines[1], hint)):
		r.t.Errorf("want a hint with %q, got\n%s", hint, r.err.String())
	}
}

// failureCluster is a server with a tablespace, some roles, and no more
// walsenders than a clone needs.
type failureCluster struct {
	*pgtest.Cluster
	space string
	env   []string
}

const failurePassword = "sesame-secret"

func newFailureCluster(t *testing.T, s pgtest.Server) *failureCluster {
	t.Helper()
	c := &failureCluster{Cluster: s.Init(t, pgtest.Password(failurePassword),
		pgtest.HBA("host replication postgres,clerk 127.0.0.1/32 scram-sha-256", "host all all 127.0.0.1/32 scram-sha-256"),
		pgtest.Config("max_wal_senders = 2"))}
	c.Start(t)
	c.space = c.CreateTablespace(t, "space")
	c.SQL(t, "CREATE ROLE clerk LOGIN PASSWORD '"+failurePassword+"'; CREATE ROLE outsider LOGIN REPLICATION PASSWORD '"+failurePassword+"'")
	c.SQL(t, "SELECT pg_create_physical_replication_slot('taken')")
	c.env = []string{"PGHOST=" + c.Host, "PGPORT=" + strconv.Itoa(c.Port), "PGUSER=postgres", "PGPASSWORD=" + failurePassword}
	return c
}

// idle waits until the last clone's walsenders and temporary slots are gone.
func (c *failureCluster) idle(t *testing.T) {
	t.Helper()
	c.WaitFor(t, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'", "0", 20*time.Second)
	c.WaitFor(t, "SELECT string_agg(slot_name, ',') FROM pg_replication_slots", "taken", 20*time.Second)
}

func TestFailureSaysWhyAndLeavesNothing(t *testing.T) {
	t.Parallel()
	failureServers(t, func(t *testing.T, s pgtest.Server) {
		c := newFailureCluster(t, s)
		root := pgtest.TempDir(t)
		at := func(name string) string { return filepath.Join(root, filepath.FromSlash(name)) }
		for _, name := range []string{"full/file", "empty/../file"} {
			if err := errors.Join(os.MkdirAll(filepath.Dir(at(name)), 0o755), os.WriteFile(at(name), []byte("somebody's"), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Mkdir(at("empty"), 0o755); err != nil {
			t.Fatal(err)
		}
		mapped := "-T" + c.space + "=" + at("new/space")
		occupy := func(n int) func(t *testing.T) {
			return func(t *testing.T) {
				for range n {
					cmd := failureWalsender(t, c)
					t.Cleanup(cmd)
				}
			}
		}
		for _, test := range []struct {
			name          string
			env           string
			args          []string // besides -D and -c fast
			dir           string   // instead of new/data
			before        func(t *testing.T)
			message, hint string
		}{
			{name: "wrong password", env: "PGPASSWORD=wrong-guess", message: "password authentication failed", hint: "password is wrong"},
			{name: "no password", env: "PGPASSWORD=", args: []string{"-w"}, message: "password", hint: "passfile"},
			{name: "no password and no terminal", env: "PGPASSWORD=", message: "no terminal to ask on"},
			{name: "no REPLICATION", env: "PGUSER=clerk", message: "SQLSTATE 42501", hint: "ALTER ROLE clerk REPLICATION"},
			{name: "no entry in pg_hba.conf", env: "PGUSER=outsider", message: "no pg_hba.conf entry", hint: "host replication outsider"},
			{name: "no server", env: "PGPORT=1", message: "127.0.0.1", hint: "Is the server running"},
			{name: "no walsender left", before: occupy(2), message: "SQLSTATE 53300", hint: "max_wal_senders"},
			{name: "no second walsender", before: occupy(1), message: "SQLSTATE 53300", hint: "max_wal_senders"},
			{name: "slot that is none", args: []string{"-S", "nosuch", mapped}, message: `replication slot "nosuch" does not exist`, hint: "-C"},
			{name: "slot that exists", args: []string{"-S", "taken", "-C", mapped}, message: `replication slot "taken" already exists`, hint: "Leave out -C"},
			{name: "full directory", dir: "full", message: "exists but is not empty", hint: "Nothing in it was touched"},
			{name: "file", dir: "file", message: "not a directory"},
			{name: "below a file", dir: "file/data", message: "not a directory"},
			{name: "full WAL directory", args: []string{"--waldir", at("full"), mapped}, message: `WAL directory "` + at("full") + `" exists but is not empty`, hint: "Remove or empty it"},
			{name: "full tablespace", message: `"` + c.space + `" exists but is not empty`, hint: "empty"},
			{name: "full tablespace, mapped", args: []string{"-T" + c.space + "=" + at("full")}, message: "exists but is not empty", hint: "empty"},
			{name: "full tablespace, all else made", dir: "empty", args: []string{"-S", "made", "-C", "--waldir", at("new/wal"), "-T" + c.space + "=" + at("full")}, message: "exists but is not empty", hint: "empty"},
		} {
			t.Run(test.name, func(t *testing.T) {
				c.idle(t)
				if test.before != nil {
					test.before(t)
				}
				before, source := trapTree(t, root), failureNames(t, c.space)
				dir := "new/data"
				if test.dir != "" {
					dir = test.dir
				}
				args := append([]string{"clone", "-D", at(dir), "-c", "fast"}, test.args...)
				r := failureStart(t, "", append(c.env, test.env), args...)
				if test.name == "no password and no terminal" {
					r.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
				}
				r.check(1, test.message, test.hint)
				for _, secret := range []string{failurePassword, "wrong-guess"} {
					if strings.Contains(r.err.String()+r.out.String(), secret) {
						t.Errorf("the password is shown:\n%s", r.err.String())
					}
				}
				failureSame(t, before, trapTree(t, root))
				failureSame(t, source, failureNames(t, c.space))
			})
		}
		c.idle(t)
	})
}

// failureWalsender holds a walsender, until the function returned is called.
func failureWalsender(t *testing.T, c *failureCluster) (free func()) {
	t.Helper()
	conn := failureConnect(t, c)
	return func() { _ = conn.Close() }
}

func failureSame(t *testing.T, before, after map[string]string) {
	t.Helper()
	for name, was := range before {
		if is, there := after[name]; !there || is != was {
			t.Errorf("%s was changed or removed", name)
		}
	}
	for name := range after {
		if _, there := before[name]; !there {
			t.Errorf("left behind: %s", name)
		}
	}
}

// failureNames is the tree of a directory that a server writes in: what its
// files hold may change, but not which there are.
func failureNames(t *testing.T, dir string) map[string]string {
	t.Helper()
	tree := trapTree(t, dir)
	for name, is := range tree {
		tree[name] = is[:10]
	}
	return tree
}

// Pages whose checksums are wrong are found by the server, which says so at
// the end of the backup.
func TestFailureOfChecksumsInTheSource(t *testing.T) {
	t.Parallel()
	failureServers(t, func(t *testing.T, s pgtest.Server) {
		c := newFailureCluster(t, s)
		c.SQL(t, "CREATE TABLE damaged AS SELECT repeat('x', 500) FROM generate_series(1, 1000)")
		file := filepath.Join(c.DataDir, c.Query(t, "SELECT pg_relation_filepath('damaged')"))
		c.Stop(t, pgtest.Fast)
		f, err := os.OpenFile(file, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteAt([]byte("flipped"), 2*8192+5000)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		c.Start(t)
		root := pgtest.TempDir(t)
		args := []string{"clone", "-D", filepath.Join(root, "data"), "--waldir", filepath.Join(root, "wal"), "-c", "fast", "-T" + c.space + "=" + filepath.Join(root, "space")}

		r := failureStart(t, "", c.env, args...)
		r.check(1, "checksum verification failure during base backup", "--no-verify-checksums")
		if !strings.Contains(r.err.String(), "warning: server: checksum verification failed in file") {
			t.Errorf("the file is not named:\n%s", r.err.String())
		}
		failureSame(t, map[string]string{root: trapTree(t, root)[root]}, trapTree(t, root))

		c.idle(t)
		r = failureStart(t, "", c.env, append(args, "-n")...)
		if code := r.start().wait(); code != 1 || !strings.Contains(r.err.String(), "not removed") {
			t.Errorf("exit code %d\n%s", code, r.err.String())
		}
		failureNoCluster(t, filepath.Join(root, "data"))
		for _, name := range []string{"data/PG_VERSION", "wal/archive_status", "space"} {
			if _, err := os.Stat(filepath.Join(root, name)); err != nil {
				t.Errorf("with -n it is gone: %v", err)
			}
		}

		c.idle(t)
		r = failureStart(t, "", c.env, "clone", "-D", filepath.Join(root, "as-it-is"), "-c", "fast", "--no-verify-checksums", "-q", "-T"+c.space+"="+filepath.Join(root, "space2"))
		if code := r.start().wait(); code != 0 || r.err.Len() != 0 {
			t.Errorf("exit code %d without verification\n%s", code, r.err.String())
		}
	})
}

// failureNoCluster makes sure that nobody takes the directory for a cluster.
func failureNoCluster(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{"backup_manifest", "global/pg_control"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func failureSettings(c *failureCluster, root string) []string {
	return []string{"clone", "-D", filepath.Join(root, "data"), "--waldir", filepath.Join(root, "deep", "wal"),
		"-T" + c.space + "=" + filepath.Join(root, "space"), "-S", "made", "-C"}
}
