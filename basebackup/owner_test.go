//go:build linux

package basebackup_test

import (
	"errors"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// TestCloneOfRootIsReachedByTheServerItIsGivenTo does what a clone that root
// made says is to be done, and starts the server as its user.
func TestCloneOfRootIsReachedByTheServerItIsGivenTo(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root, who makes files for others")
	}
	uid, gid := 65534, 65534
	if u, err := user.Lookup("postgres"); err == nil {
		uid, _ = strconv.Atoi(u.Uid)
		gid, _ = strconv.Atoi(u.Gid)
	}
	m := newBareSource(t, pgtest.Newest(t))
	far := m.CreateTablespace(t, "far")
	for _, mask := range []string{"022", "027", "077"} {
		t.Run(mask, func(t *testing.T) {
			root := pgtest.TempDir(t)
			dir, space, wal := filepath.Join(root, "new", "deep", "data"), filepath.Join(root, "spaces", "far"), filepath.Join(root, "logs", "wal")
			// The shell sets the mask, which is the whole process's.
			r := failureStart(t, "/bin/sh", []string{"PGHOST=" + m.Host, "PGPORT=" + strconv.Itoa(m.Port), "PGUSER=postgres", "PGPASSWORD=" + m.Password},
				"-c", `umask "$1"; shift; exec "$@"`, "sh", mask, os.Args[0], "clone", "-N", "-D", dir, "--waldir", wal, "-T", far+"="+space, "-c", "fast")
			if code := r.start().wait(); code != 0 {
				t.Fatalf("exit code %d\n%s", code, r.err.String())
			}
			told := 0
			for line := range strings.Lines(r.err.String()) {
				_, command, ok := strings.Cut(strings.TrimSpace(line), ":  ch")
				if !ok {
					continue
				}
				told++
				command = strings.Replace("ch"+command, "postgres:", strconv.Itoa(uid)+":"+strconv.Itoa(gid), 1)
				if out, err := exec.Command("/bin/sh", "-c", command).CombinedOutput(); err != nil {
					t.Fatalf("%s: %v\n%s", command, err, out)
				}
			}
			if told == 0 || mask == "022" && told != 1 {
				t.Errorf("%d commands to be run:\n%s", told, r.err.String())
			}
			if mask == "022" {
				if info, err := os.Stat(filepath.Dir(dir)); err != nil || info.Mode().Perm() != 0o755 {
					t.Errorf("the directory above has mode %v, %v", info.Mode(), err)
				}
			}

			// Not by pgtest, which opens directories above.
			said := &pgtest.Output{}
			sockets := filepath.Join(root, "s")
			if err := errors.Join(os.Mkdir(sockets, 0o700), os.Chown(sockets, uid, gid)); err != nil {
				t.Fatal(err)
			}
			server := exec.Command(filepath.Join(m.Server.BinDir, "postgres"), "-D", dir, "-c", "listen_addresses=", "-c", "unix_socket_directories="+sockets,
				"-c", "logging_collector=off", "-c", "log_destination=stderr", "-c", "fsync=off")
			server.Dir, server.Stdout, server.Stderr = sockets, said, said
			server.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
			server.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
			if err := server.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan struct{})
			go func() {
				_ = server.Wait() // what it said tells
				close(ended)
			}()
			t.Cleanup(func() {
				_ = server.Process.Signal(syscall.SIGQUIT)
				<-ended
			})
			for deadline := time.Now().Add(cloneTimeout); !strings.Contains(said.String(), "ready to accept read-only connections"); time.Sleep(10 * time.Millisecond) {
				select {
				case <-ended:
					t.Fatalf("the server ended:\n%s", said.String())
				default:
				}
				if time.Now().After(deadline) {
					t.Fatalf("the server takes no connections:\n%s", said.String())
				}
			}
		})
	}
}
