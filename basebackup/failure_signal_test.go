//go:build linux

package basebackup_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/internal/pgtest"
	"github.com/pgbraid/pgbraid/internal/pgtest/walsender"
	"golang.org/x/sys/unix"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pgbraid/pgbraid/internal/replconn"
)

func failureConnect(t *testing.T, c *failureCluster) *replconn.Conn {
	t.Helper()
	config, err := pgconn.ParseConfig(c.ConnString("replication=true"))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := replconn.Connect(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// failureWait waits until ok is true.
func failureWait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 30 s", what)
		}
	}
}

func failureSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return -1
	}
	return info.Size()
}

// failureCopying tells whether the clone has begun to copy the data directory.
func failureCopying(root string) func() bool {
	return func() bool { return failureSize(filepath.Join(root, "data", "backup_label")) >= 0 }
}

func TestFailureBySignalLeavesNothing(t *testing.T) {
	t.Parallel()
	failureServers(t, func(t *testing.T, s pgtest.Server) {
		c := newFailureCluster(t, s)
		for _, test := range []struct {
			name   string
			signal syscall.Signal
			code   int
			copy   bool
		}{
			{"SIGINT in the checkpoint", syscall.SIGINT, 130, false},
			{"SIGTERM in the checkpoint", syscall.SIGTERM, 143, false},
			{"SIGINT in the copy", syscall.SIGINT, 130, true},
			{"SIGTERM in the copy", syscall.SIGTERM, 143, true},
		} {
			t.Run(test.name, func(t *testing.T) {
				c.idle(t)
				root := pgtest.TempDir(t)
				before := trapTree(t, root)
				args := failureSettings(c, root)
				if test.copy {
					args = append(args, "-c", "fast", "-r", "32")
				} else {
					c.Fill(t, "dirty"+strconv.Itoa(int(test.signal)), 4) // what the checkpoint spreads over minutes
				}
				r := failureStart(t, "", c.env, args...).start()
				if test.copy {
					failureWait(t, "copy", failureCopying(root))
				} else {
					failureWait(t, "checkpoint", func() bool {
						return c.Query(t, "SELECT count(*) FROM pg_stat_progress_basebackup WHERE phase = 'waiting for checkpoint to finish'") == "1"
					})
				}
				begun := time.Now()
				if err := r.cmd.Process.Signal(test.signal); err != nil {
					t.Fatal(err)
				}
				r.check(test.code, "signal", "")
				if took := time.Since(begun); took > 10*time.Second {
					t.Errorf("it took %v to end", took)
				}
				failureSame(t, before, trapTree(t, root))
				c.idle(t) // the slot, and both walsenders
			})
		}
	})
}

// The first signal has it clean up; who cannot wait for that sends another.
func TestFailureBySecondSignalIsAtOnce(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		second syscall.Signal
		code   int
	}{{syscall.SIGINT, 130}, {syscall.SIGTERM, 143}} {
		p := newTrap(t, "18.4")
		p.backup.Before[walsender.StepStart] = walsender.Hang
		p.server.Handle("DROP_REPLICATION_SLOT", walsender.Hang)
		p.server.ServeBackup(p.backup)
		host, port, _ := strings.Cut(p.server.Addr(), ":")
		r := failureStart(t, "", []string{"PGHOST=" + host, "PGPORT=" + port, "PGSSLMODE=disable"},
			"clone", "-D", p.options.Directory, "-S", "made", "-C").start()
		p.server.WaitQuery("BASE_BACKUP", 1)
		if err := r.cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		p.server.WaitQuery("DROP_REPLICATION_SLOT", 1)
		begun := time.Now()
		if err := r.cmd.Process.Signal(test.second); err != nil {
			t.Fatal(err)
		}
		if code := r.wait(); code != test.code {
			t.Errorf("exit code %d, want %d", code, test.code)
		}
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("it took %v to end", took)
		}
		if p.server.Cancels() != 1 {
			t.Errorf("%d requests to cancel the checkpoint's wait", p.server.Cancels())
		}
	}
}

// What a killed clone leaves must be of no use to any server.
func TestFailureBySIGKILLLeavesNoCluster(t *testing.T) {
	t.Parallel()
	failureServers(t, func(t *testing.T, s pgtest.Server) {
		c := newFailureCluster(t, s)
		c.Fill(t, "large", 8)
		root := pgtest.TempDir(t)
		r := failureStart(t, "", c.env, append(failureSettings(c, root), "-c", "fast", "-r", "4096")...).start()
		failureWait(t, "copy", func() bool {
			return failureSize(filepath.Join(root, "data", "base", "1", "PG_VERSION")) >= 0
		})
		if err := r.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if code := r.wait(); code != -1 {
			t.Fatalf("it ended with code %d before", code)
		}
		dir := filepath.Join(root, "data")
		failureNoCluster(t, dir)
		ctx, done := context.WithTimeout(context.Background(), 20*time.Second)
		defer done()
		left := pgtest.OpenDataDir(t, s, dir)
		if err := left.TryStart(ctx); err == nil {
			t.Error("a server starts in it")
		} else if !strings.Contains(left.Log(), "control file") && !strings.Contains(left.Log(), "database system") {
			t.Logf("the server's reason: %s", left.Log())
		}
		// The next clone takes the directory only when it is emptied.
		c.WaitFor(t, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'", "0", 20*time.Second)
		failureStart(t, "", c.env, "clone", "-D", dir).check(1, "exists but is not empty", "Remove or empty it")
	})
}

// A file that cannot grow fails as one on a full disk does, with or without
// the right to mount a file system.
func TestFailureOfAFileThatCannotGrow(t *testing.T) {
	t.Parallel()
	failureServers(t, func(t *testing.T, s pgtest.Server) {
		c := newFailureCluster(t, s)
		root := pgtest.TempDir(t)
		before := trapTree(t, root)
		for _, limit := range []string{"1000", "300000", "1048576"} {
			c.idle(t)
			r := failureStart(t, "", append(c.env, failureMain+"="+limit), append(failureSettings(c, root), "-c", "fast")...)
			r.check(1, "file too large", "")
			failureSame(t, before, trapTree(t, root))
		}
		c.idle(t)
	})
}

func TestFailureOfAFullDisk(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Log("not root: a full disk is played by TestFailureOfAFileThatCannotGrow alone")
		return
	}
	failureServers(t, func(t *testing.T, s pgtest.Server) {
		c := newFailureCluster(t, s)
		for _, test := range []struct {
			name string
			size string
			args func(disk, root string) []string
		}{
			{"all", "20m", func(disk, _ string) []string { return failureSettings(c, disk) }},
			{"data", "8m", func(disk, root string) []string {
				return []string{"clone", "-D", filepath.Join(disk, "data"), "--waldir", filepath.Join(root, "wal"), "-T" + c.space + "=" + filepath.Join(root, "space"), "-S", "made", "-C"}
			}},
			{"log", "4m", func(disk, root string) []string {
				return []string{"clone", "-D", filepath.Join(root, "data"), "--waldir", filepath.Join(disk, "wal"), "-T" + c.space + "=" + filepath.Join(root, "space"), "-S", "made", "-C"}
			}},
		} {
			t.Run(test.name, func(t *testing.T) {
				c.idle(t)
				root, disk := pgtest.TempDir(t), pgtest.TempDir(t)
				if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size="+test.size); err != nil {
					if errors.Is(err, unix.EPERM) {
						t.Log("no right to mount: played by TestFailureOfAFileThatCannotGrow alone")
						return
					}
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := unix.Unmount(disk, 0); err != nil {
						t.Error(err)
					}
				})
				// With an estimate it is found before, without one when it is full.
				for _, way := range []struct {
					command       []string
					message, hint string
				}{
					{[]string{"clone"}, "not enough space for", "Nothing was copied yet"},
					{[]string{"backup", "-R", "--no-estimate-size", "-q"}, "no space left on device", ""},
				} {
					before, beside := trapTree(t, disk), trapTree(t, root)
					r := failureStart(t, "", c.env, append(way.command, append(test.args(disk, root)[1:], "-c", "fast")...)...)
					r.check(1, way.message, way.hint)
					failureSame(t, before, trapTree(t, disk))
					failureSame(t, beside, trapTree(t, root))
					c.idle(t)
				}
			})
		}
	})
}

// A parent that may not be written in is found out before the checkpoint.
func TestFailureOfAParentThatMayNotBeWritten(t *testing.T) {
	t.Parallel()
	p := newTrap(t, "18.4")
	p.server.ServeBackup(p.backup)
	host, port, _ := strings.Cut(p.server.Addr(), ":")
	root := pgtest.TempDir(t)
	program := filepath.Join(root, "pgbraid")
	content, err := os.ReadFile(os.Args[0])
	if err := errors.Join(err, os.WriteFile(program, content, 0o755), os.Chmod(program, 0o755), os.Mkdir(filepath.Join(root, "locked"), 0o555)); err != nil {
		t.Fatal(err)
	}
	before := trapTree(t, filepath.Join(root, "locked"))
	r := failureStart(t, program, []string{"PGHOST=" + host, "PGPORT=" + port, "PGUSER=me", "PGSSLMODE=disable"}, "clone", "-D", filepath.Join(root, "locked", "a", "data"))
	if os.Geteuid() == 0 {
		r.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	r.check(1, "permission denied", "")
	failureSame(t, before, trapTree(t, filepath.Join(root, "locked")))
	for _, q := range p.server.Queries() {
		if strings.HasPrefix(q, "BASE_BACKUP") {
			t.Error("the server was put to work")
		}
	}
}

// Everybody on the machine can read a command line: the password of the
// environment must not get there, nor into the environment's other readers.
func TestFailureShowsNoPassword(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Log("command lines are looked at on Linux only")
		return
	}
	c := newFailureCluster(t, pgtest.Newest(t))
	root := pgtest.TempDir(t)
	r := failureStart(t, "", c.env, append(failureSettings(c, root), "-c", "fast", "-r", "32", "-v", "-P")...).start()
	failureWait(t, "copy", failureCopying(root))
	line, err := os.ReadFile("/proc/" + strconv.Itoa(r.cmd.Process.Pid) + "/cmdline")
	if err != nil || strings.Contains(string(line), failurePassword) || !strings.Contains(string(line), "clone") {
		t.Errorf("command line %q, %v", line, err)
	}
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := r.wait(); code != 143 {
		t.Errorf("exit code %d", code)
	}
	if strings.Contains(r.err.String()+r.out.String(), failurePassword) {
		t.Errorf("the password is shown:\n%s", r.err.String())
	}
	if _, err := os.Lstat(filepath.Join(root, "data")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
