//go:build linux

package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is whom the servers run as: PostgreSQL refuses to run as root.
type account struct {
	other    bool // than the user who runs this
	name     string
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
			return account{true, name, uid, gid}, errors.Join(uidErr, gidErr)
		}
	}
	return account{}, errors.New("PostgreSQL does not run as root, and there is no user postgres or nobody")
}

// runs makes cmd run as the account in dir, out of reach of a terminal's
// Ctrl-C, and get a signal when this process dies.
func (a account) runs(cmd *exec.Cmd, dir string, onParentDeath syscall.Signal) {
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: onParentDeath}
	if a.other {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
}

// reaches tells whether the account may enter dir.
func (a account) reaches(dir string) bool {
	cmd := exec.Command("true")
	a.runs(cmd, dir, syscall.SIGKILL)
	return cmd.Run() == nil
}

// mkdir makes a directory of the servers' below d.dir.
func (d *demo) mkdir(name string) {
	check(os.Mkdir(d.dir+"/"+name, 0o700))
	d.give(name)
}

// give makes a path below d.dir, and all that it holds, the servers'.
func (d *demo) give(name string) {
	if d.account.other {
		check(filepath.WalkDir(d.dir+"/"+name, func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(path, d.account.uid, d.account.gid)
		}))
	}
}
