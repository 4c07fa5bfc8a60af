package pgtest

import (
	"errors"
	"os"
	"os/exec"
	"os/user"
	"runtime"
	"strconv"
	"sync"
	"syscall"
)

// account is the user that servers run as. PostgreSQL refuses to run as root.
type account struct {
	other    bool // another user than the one of this process
	uid, gid int
}

var serverAccount = sync.OnceValue(func() account {
	if os.Geteuid() != 0 {
		return account{uid: os.Geteuid(), gid: os.Getegid()}
	}
	if u, err := user.Lookup("postgres"); err == nil {
		uid, uidErr := strconv.Atoi(u.Uid)
		gid, gidErr := strconv.Atoi(u.Gid)
		if uidErr == nil && gidErr == nil && uid != 0 {
			return account{other: true, uid: uid, gid: gid}
		}
	}
	return account{other: true, uid: 65534, gid: 65534}
})

// give makes path the server user's property.
func (a account) give(path string) error {
	if !a.other {
		return nil
	}
	return os.Lchown(path, a.uid, a.gid)
}

// asServer prepares cmd to run as the server's user in a process group of its
// own, with an environment that holds no PG variables of the person's who runs
// the test, and to get the signal when this process dies.
func asServer(cmd *exec.Cmd, onParentDeath syscall.Signal) {
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC", "TMPDIR=" + os.TempDir()}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if a := serverAccount(); a.other {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	setParentDeathSignal(cmd.SysProcAttr, onParentDeath)
}

// start starts cmd on the one thread that starts all of them. The kernel
// sends the parent-death signal when the thread that started the child ends,
// not when the process does, and the Go runtime may end any thread that no
// goroutine holds on to.
func start(cmd *exec.Cmd) error {
	spawner()
	done := make(chan error, 1)
	spawnRequests <- spawnRequest{cmd, done}
	return <-done
}

type spawnRequest struct {
	cmd  *exec.Cmd
	done chan<- error
}

var spawnRequests = make(chan spawnRequest)

var spawner = sync.OnceFunc(func() {
	go func() {
		runtime.LockOSThread()
		for r := range spawnRequests {
			r.done <- r.cmd.Start()
		}
	}()
})

// run starts cmd as the server's user and gives its output.
func run(cmd *exec.Cmd) (string, error) {
	asServer(cmd, syscall.SIGKILL)
	out, err := os.CreateTemp("", "pgbraid-output-*")
	if err != nil {
		return "", err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := start(cmd); err != nil {
		if errors.Is(err, os.ErrPermission) {
			err = errors.Join(err, errors.New("the server's user must be able to reach its programs and directories"))
		}
		return "", err
	}
	err = cmd.Wait()
	text, readErr := os.ReadFile(out.Name())
	return string(text), errors.Join(err, readErr)
}
