//go:build linux

package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
	"time"
)

// account is whom the servers and both tools run as: PostgreSQL refuses to run
// as root.
type account struct {
	other    bool // than the user who runs this
	uid, gid int
}

func serverAccount() (account, error) {
	if os.Geteuid() != 0 {
		return account{}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			uid, uidErr := strconv.Atoi(u.Uid)
			gid, gidErr := strconv.Atoi(u.Gid)
			return account{true, uid, gid}, errors.Join(uidErr, gidErr)
		}
	}
	return account{}, errors.New("PostgreSQL does not run as root, and there is no user postgres or nobody")
}

// command is a program to be run as the account in dir, with none of the
// person's own database settings. It is out of reach of a terminal's Ctrl-C,
// gets a signal when this process dies, and is interrupted when ctx ends.
func (a account) command(ctx context.Context, dir string, onParentDeath syscall.Signal, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC", "HOME=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: onParentDeath}
	if a.other {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	// The stock tool's second process is in its group, too.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	return cmd
}

// reaches tells whether the account can run the program in the directory.
func (a account) reaches(dir, name string, args ...string) bool {
	return a.command(context.Background(), dir, syscall.SIGKILL, name, args...).Run() == nil
}

// mkdir makes a directory of the account's.
func (a account) mkdir(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil || !a.other {
		return err
	}
	return os.Chown(path, a.uid, a.gid)
}
