//go:build linux

package basebackup_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/basebackup"
	"github.com/pgbraid/pgbraid/basebackup/verify"
	"github.com/pgbraid/pgbraid/internal/durable"
	"github.com/pgbraid/pgbraid/internal/pgtest"
	"github.com/pgbraid/pgbraid/internal/pgtest/walsender"
)

// heldRun is one that stands still before the first name that it makes in a
// directory.
type heldRun struct {
	reached chan struct{}
	release func()
}

// hold has whoever makes the first name in dir wait until release is called.
func hold(t *testing.T, dir string) *heldRun {
	t.Helper()
	h := &heldRun{reached: make(chan struct{})}
	free := make(chan struct{})
	var first atomic.Bool
	stop := durable.Watch(dir, func(c durable.Change) (int, error) {
		if c.Path != dir && first.CompareAndSwap(false, true) {
			close(h.reached)
			<-free
		}
		return len(c.Data), nil
	})
	h.release = sync.OnceFunc(func() {
		stop()
		close(free)
	})
	t.Cleanup(h.release)
	return h
}

// await waits until the run stands still.
func (h *heldRun) await(t *testing.T, c *clone) {
	t.Helper()
	select {
	case <-h.reached:
	case <-c.done:
		t.Fatalf("it ended before it made anything there: %v", c.err)
	case <-time.After(cloneTimeout):
		t.Fatal("it makes nothing there")
	}
}

// awaitName waits until a run has made a file: a server is ahead of those that
// it sends to.
func awaitName(t *testing.T, path string) {
	t.Helper()
	for deadline := time.Now().Add(trapTimeout); ; time.Sleep(time.Millisecond) {
		if _, err := os.Lstat(path); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("%s is not made", path)
			return
		}
	}
}

func mustVerifyBackup(t *testing.T, dir string) {
	t.Helper()
	report, err := verify.Run(t.Context(), verify.Options{Directory: dir})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range report.Problems {
		t.Errorf("%s: %v", dir, p)
	}
}

// TestDirectoryOfAnotherRunIsRefused has a second run come while the first one
// has its directory and has not put anything into it.
func TestDirectoryOfAnotherRunIsRefused(t *testing.T) {
	t.Parallel()
	m := newBareSource(t, pgtest.Newest(t))
	far := m.CreateTablespace(t, "far")
	for name, test := range map[string]struct {
		set  func(o *basebackup.Options, shared string)
		what string
	}{
		"tablespace": {func(o *basebackup.Options, shared string) {
			o.Tablespaces = []basebackup.TablespaceMapping{{Old: far, New: shared}}
		}, "directory of tablespace"},
		"WAL directory": {func(o *basebackup.Options, shared string) {
			o.WALDirectory = shared
			o.Tablespaces = []basebackup.TablespaceMapping{{Old: far, New: filepath.Join(filepath.Dir(o.Directory), "far")}}
		}, "WAL directory"},
		"tar": {func(o *basebackup.Options, shared string) {
			o.Format, o.Directory = basebackup.Tar, shared
		}, "directory"},
	} {
		for _, there := range []bool{false, true} {
			t.Run(name+map[bool]string{true: " that is there"}[there], func(t *testing.T) {
				root := pgtest.TempDir(t)
				shared := filepath.Join(root, "shared")
				if there {
					if err := os.Mkdir(shared, 0o750); err != nil {
						t.Fatal(err)
					}
				}
				first, second := m.backup(t), m.backup(t)
				test.set(&first.options, shared)
				// Another name of the same directory.
				alias := filepath.Join(root, "alias")
				if err := os.Symlink(shared, alias); err != nil {
					t.Fatal(err)
				}
				test.set(&second.options, alias)

				held := hold(t, shared)
				first.start()
				held.await(t, first)
				err := second.run()
				if err == nil || !strings.Contains(err.Error(), test.what) || !strings.Contains(err.Error(), alias) || !strings.Contains(err.Error(), "another run") {
					t.Errorf("error is %v, want one that names the directory and who fills it", err)
				}
				if left, err := os.ReadDir(second.root); err != nil || len(left) > 0 {
					t.Errorf("left behind: %v, %v", left, err)
				}
				held.release()
				first.must()
				mustVerifyBackup(t, first.options.Directory)
			})
		}
	}
}

// TestDirectoryThatAnotherRunFillsIsNotCalledOccupied is about advice: a
// directory that a run is filling is not one to be emptied.
func TestDirectoryThatAnotherRunFillsIsNotCalledOccupied(t *testing.T) {
	t.Parallel()
	p, second := newTrap(t, "18.4"), newTrap(t, "18.4")
	second.options.Directory = p.options.Directory
	p.backup.Before[walsender.StepEnd] = func(*walsender.Conn) error {
		awaitName(t, filepath.Join(p.options.Directory, "PG_VERSION"))
		second.server.ServeBackup(second.backup)
		second.fails("another run")
		return nil
	}
	p.succeeds()
}

// TestOnlyWhatARunMadeIsRemoved has somebody else put files where a run that
// fails made its own.
func TestOnlyWhatARunMadeIsRemoved(t *testing.T) {
	t.Parallel()
	for _, there := range []bool{false, true} {
		for _, format := range []basebackup.Format{basebackup.Plain, basebackup.Tar} {
			p := newTrap(t, "18.4")
			p.options.Format = format
			dir := p.options.Directory
			if there {
				if err := os.MkdirAll(dir, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			foreign := []string{filepath.Join(dir, "notes.txt"), filepath.Join(p.root, "made", "beside"), filepath.Join(dir, "mine", "inside")}
			if format == basebackup.Plain {
				foreign = append(foreign, filepath.Join(dir, "base", "1", "theirs"), filepath.Join(dir, "pg_wal", "theirs"), filepath.Join(p.space, "theirs"))
			}
			p.backup.Before[walsender.StepEnd] = func(*walsender.Conn) error {
				last := "base.tar.tmp"
				if format == basebackup.Plain {
					last = "PG_VERSION"
				}
				awaitName(t, filepath.Join(dir, last))
				for _, path := range foreign {
					if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("somebody's"), 0o644)); err != nil {
						t.Error(err)
					}
				}
				return nil
			}
			p.backup.Instead[walsender.StepEnd] = walsender.Failing("XX000", "the end")
			if err := p.run(); err == nil || !strings.Contains(err.Error(), "the end") {
				t.Errorf("error is %v", err)
			}
			left := trapTree(t, p.root)
			for _, path := range foreign {
				if text := left[path]; !strings.HasSuffix(text, "somebody's") {
					t.Errorf("%s, there before %v: %s was removed", format, there, path)
				}
			}
			for path, text := range left {
				if _, before := p.before[path]; !before && !strings.HasPrefix(text, "d") && !strings.HasSuffix(text, "somebody's") {
					t.Errorf("%s, there before %v: left behind: %s", format, there, path)
				}
			}
			if said := p.log.String(); !strings.Contains(said, "this run did not make") || !strings.Contains(said, dir) {
				t.Errorf("nobody was told what is left:\n%s", said)
			}
		}
	}
}

// TestDanglingLinkIsRefusedAndStays is about a disk that is not mounted.
func TestDanglingLinkIsRefusedAndStays(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(p *trap, link string){
		"data directory": func(p *trap, link string) { p.options.Directory = link },
		"parent":         func(p *trap, link string) { p.options.Directory = filepath.Join(link, "a", "b") },
		"WAL directory":  func(p *trap, link string) { p.options.WALDirectory = link },
		"tablespace": func(p *trap, link string) {
			p.options.Tablespaces = []basebackup.TablespaceMapping{{Old: p.space, New: link}}
		},
		"archives": func(p *trap, link string) { p.options.Directory, p.options.Format = link, basebackup.Tar },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newTrap(t, "18.4")
			link, disk := filepath.Join(p.root, "link"), filepath.Join(p.root, "mnt", "disk")
			if err := os.Symlink(disk, link); err != nil {
				t.Fatal(err)
			}
			set(p, link)
			err := p.fails(`is a symbolic link to "` + disk + `", which does not exist`)
			var hinted interface{ Hint() string }
			if !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), "mounted") {
				t.Errorf("no hint: %v", err)
			}
			if to, err := os.Readlink(link); err != nil || to != disk {
				t.Errorf("the link is gone: %q, %v", to, err)
			}
		})
	}
}

// TestTarDirectoryThatIsThereStaysAsItIs is about modes: those of a directory
// for archives are its owner's business.
func TestTarDirectoryThatIsThereStaysAsItIs(t *testing.T) {
	t.Parallel()
	const mode = fs.ModeDir | fs.ModeSetgid | 0o770
	for _, fails := range []bool{false, true} {
		p := newTrap(t, "18.4")
		p.options.Format = basebackup.Tar
		dir := p.options.Directory
		if err := errors.Join(os.MkdirAll(dir, 0o700), os.Chmod(dir, mode)); err != nil {
			t.Fatal(err)
		}
		during := fs.FileMode(0)
		p.backup.Before[walsender.StepEnd] = func(*walsender.Conn) error {
			awaitName(t, filepath.Join(dir, "base.tar.tmp"))
			info, err := os.Stat(dir)
			during = info.Mode()
			return err
		}
		if fails {
			p.backup.Instead[walsender.StepEnd] = walsender.Failing("XX000", "the end")
			p.fails("the end")
		} else if err := p.run(); err != nil {
			t.Error(err)
		}
		if info, err := os.Stat(dir); err != nil || info.Mode() != mode || during != mode {
			t.Errorf("fails %v: mode %v, %v while it is filled, want %v: %v", fails, info.Mode(), during, mode, err)
		}
	}
}

// TestPlainDirectoryThatIsThereIsClosedToOthers: a server starts only in a
// directory of its own. One that it would take keeps the mode that it has.
func TestPlainDirectoryThatIsThereIsClosedToOthers(t *testing.T) {
	t.Parallel()
	for before, want := range map[fs.FileMode]fs.FileMode{
		0o700: 0o700, 0o750: 0o750, 0o755: 0o700, 0o777: 0o700, 0o770: 0o700,
		fs.ModeSetgid | 0o755: fs.ModeSetgid | 0o700, fs.ModeSetgid | 0o750: fs.ModeSetgid | 0o750,
	} {
		for _, fails := range []bool{false, true} {
			p := newTrap(t, "18.4")
			dir := p.options.Directory
			if err := errors.Join(os.MkdirAll(dir, 0o700), os.Chmod(dir, before)); err != nil {
				t.Fatal(err)
			}
			want := want
			if fails {
				p.backup.Instead[walsender.StepEnd] = walsender.Failing("XX000", "the end")
				if err := p.run(); err == nil {
					t.Error("no error")
				}
				want = before
			} else if err := p.runUnchecked(); err != nil {
				t.Error(err)
			}
			if info, err := os.Stat(dir); err != nil || info.Mode() != fs.ModeDir|want {
				t.Errorf("%v, fails %v: mode %v afterwards, want %v: %v", before, fails, info.Mode(), want, err)
			}
		}
	}
}

// otherUser is one that is not this process's, nor root.
func otherUser(t *testing.T, r *failureRun) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
}

// programFor copies the test's program to where another user can run it.
func programFor(t *testing.T) string {
	t.Helper()
	program := filepath.Join(pgtest.TempDir(t), "pgbraid")
	content, err := os.ReadFile(os.Args[0])
	if err := errors.Join(err, os.WriteFile(program, content, 0o755), os.Chmod(program, 0o755)); err != nil {
		t.Fatal(err)
	}
	return program
}

// TestDirectoryOfAnotherOwnerWillDo: whoever may write in it may fill it.
func TestDirectoryOfAnotherOwnerWillDo(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs a directory of another user's")
	}
	program := programFor(t)
	for _, args := range [][]string{{"-Ft"}, {"-Fp"}} {
		p := newTrap(t, "18.4")
		root := pgtest.TempDir(t)
		p.backup = walsender.SampleBackup()
		p.server.ServeBackup(p.backup)
		host, port, _ := strings.Cut(p.server.Addr(), ":")
		dir := filepath.Join(root, "theirs")
		if err := errors.Join(os.Mkdir(dir, 0o777), os.Chmod(dir, fs.ModeSetgid|0o777)); err != nil {
			t.Fatal(err)
		}
		r := failureStart(t, program, []string{"PGHOST=" + host, "PGPORT=" + port, "PGUSER=me", "PGSSLMODE=disable"}, append([]string{"backup", "-N", "-D", dir}, args...)...)
		otherUser(t, r)
		if code := r.start().wait(); code != 0 {
			t.Errorf("%v: exit code %d\n%s", args, code, r.err.String())
		}
		if info, err := os.Stat(dir); err != nil || info.Mode() != fs.ModeDir|fs.ModeSetgid|0o777 {
			t.Errorf("%v: mode is %v, %v", args, info.Mode(), err)
		}
		if told := bytes.Contains(r.err.Bytes(), []byte("no server starts")); told != (args[0] == "-Fp") {
			t.Errorf("%v: it says\n%s", args, r.err.String())
		}
	}
}

// TestPlacesWithinOneAnotherAreRefused tries what would make a backup that
// holds itself.
func TestPlacesWithinOneAnotherAreRefused(t *testing.T) {
	t.Parallel()
	mapTo := func(p *trap, path string) {
		p.options.Tablespaces = []basebackup.TablespaceMapping{{Old: p.space, New: path}}
	}
	for name, test := range map[string]struct {
		set    func(t *testing.T, p *trap)
		asked  bool // only the server tells where it lies
		wanted string
	}{
		"tablespace in the data directory": {func(_ *testing.T, p *trap) { mapTo(p, filepath.Join(p.options.Directory, "ts")) }, false,
			"lies in the data directory"},
		"tablespace is the data directory": {func(_ *testing.T, p *trap) { mapTo(p, p.options.Directory) }, false, "is the data directory"},
		"tablespace deep in it":            {func(_ *testing.T, p *trap) { mapTo(p, filepath.Join(p.options.Directory, "base", "1", "ts")) }, false, "lies in the data directory"},
		"tablespace through a link": {func(t *testing.T, p *trap) {
			link(t, p.options.Directory, filepath.Join(p.root, "link"))
			mapTo(p, filepath.Join(p.root, "link", "ts"))
		}, false, "lies in the data directory"},
		"tablespace through a link to a parent": {func(t *testing.T, p *trap) {
			link(t, p.root, filepath.Join(p.root, "beside", "up"))
			mapTo(p, filepath.Join(p.root, "beside", "up", "made", "data", "ts"))
		}, false, "lies in the data directory"},
		"data directory in a tablespace": {func(_ *testing.T, p *trap) { mapTo(p, filepath.Join(p.root, "made")) }, false, "lies in the directory of tablespace"},
		"WAL in the data directory": {func(_ *testing.T, p *trap) { p.options.WALDirectory = filepath.Join(p.options.Directory, "wal") }, false,
			"lies in the data directory"},
		"WAL in pg_wal": {func(_ *testing.T, p *trap) { p.options.WALDirectory = filepath.Join(p.options.Directory, "pg_wal") }, false, "lies in the data directory"},
		"WAL is the data directory by another name": {func(t *testing.T, p *trap) {
			link(t, p.options.Directory, filepath.Join(p.root, "link"))
			p.options.WALDirectory = filepath.Join(p.root, "link")
		}, false, "is the data directory"},
		"data directory below WAL": {func(_ *testing.T, p *trap) { p.options.WALDirectory = filepath.Dir(p.options.Directory) }, false, "lies in the WAL directory"},
		"WAL in a tablespace": {func(_ *testing.T, p *trap) {
			mapTo(p, filepath.Join(p.root, "space2"))
			p.options.WALDirectory = filepath.Join(p.root, "space2", "wal")
		}, false, "lies in the directory of tablespace"},
		"WAL in a tablespace that is not mapped": {func(_ *testing.T, p *trap) { p.options.WALDirectory = filepath.Join(p.space, "wal") }, true, "lies in the directory of tablespace"},
		"tablespace that is not mapped":          {func(_ *testing.T, p *trap) { p.options.Directory = filepath.Join(p.space, "data") }, true, "lies in the directory of tablespace"},
		"two tablespaces, one in the other": {func(_ *testing.T, p *trap) {
			p.backup.AddTablespace(16386, filepath.Join(p.root, "other"))
			p.options.Tablespaces = []basebackup.TablespaceMapping{{Old: filepath.Join(p.root, "other"), New: filepath.Join(p.space, "sub")}}
		}, true, "lies in the directory of tablespace"},
		"two tablespaces in one": {func(t *testing.T, p *trap) {
			p.backup.AddTablespace(16386, filepath.Join(p.root, "other"))
			if err := os.Mkdir(filepath.Join(p.root, "real"), 0o700); err != nil {
				t.Fatal(err)
			}
			link(t, filepath.Join(p.root, "real"), filepath.Join(p.root, "link"))
			p.options.Tablespaces = []basebackup.TablespaceMapping{
				{Old: filepath.Join(p.root, "other"), New: filepath.Join(p.root, "real")}, {Old: p.space, New: filepath.Join(p.root, "link")}}
		}, true, "is the directory of tablespace"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newTrap(t, "18.4")
			test.set(t, p)
			p.fails(test.wanted)
			if !test.asked && len(p.server.Queries()) > 0 {
				t.Errorf("the server was asked: %q", p.server.Queries())
			}
		})
	}
}

func link(t *testing.T, to, path string) {
	t.Helper()
	if err := os.Symlink(to, path); err != nil {
		t.Fatal(err)
	}
}
