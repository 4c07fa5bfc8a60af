//go:build tools

// Package tools runs programs that manage clusters, as their users do, with
// pgbraid in the place of the tools that they call. "make test-tools" starts
// it; it needs these programs, which scripts/tools.sh installs.
package tools

import (
	"context"
	"fmt"
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

// release is the one that the tools in our place are of.
const release = "18.4"

// bed is a directory of the server's user, whom the programs run as, and one
// with the tools.
type bed struct {
	dir  string // the user's
	bin  string // holds links to pgbraid by the tools' names
	user string
	cred *syscall.Credential // nil: this process's user
}

// newBed builds pgbraid and makes the directories.
func newBed(t *testing.T, tools ...string) *bed {
	t.Helper()
	top := pgtest.TempDir(t)
	b := &bed{dir: filepath.Join(top, "home"), bin: filepath.Join(top, "bin")}
	for _, dir := range []string{b.dir, b.bin} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(b.bin, "pgbraid")
	if out, err := exec.Command("go", "build", "-o", program, "github.com/pgbraid/pgbraid/cmd/pgbraid").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for _, tool := range tools {
		if err := os.Symlink(program, filepath.Join(b.bin, tool)); err != nil {
			t.Fatal(err)
		}
	}

	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if u, err = user.Lookup("postgres"); err != nil {
			t.Fatal(err)
		}
		uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
		if uidErr != nil || gidErr != nil {
			t.Fatalf("user postgres: %s, group %s", u.Uid, u.Gid)
		}
		b.cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		pgtest.GiveToServer(t, b.dir)
	}
	b.user = u.Username
	return b
}

// write writes a file that the programs read.
func (b *bed) write(t *testing.T, name, text string) (path string) {
	t.Helper()
	path = filepath.Join(b.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// try runs a program and gives what it said. Its output is a file, since it
// may leave others running that hold on to it.
func (b *bed) try(t *testing.T, program string, args ...string) (said string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	out, err := os.CreateTemp(t.TempDir(), "said")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = b.dir
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8", "TZ=UTC", "HOME=" + b.dir, "TMPDIR=" + b.dir}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: b.cred, Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	err = cmd.Run()
	text, readErr := os.ReadFile(out.Name())
	if readErr != nil {
		t.Fatal(readErr)
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("took more than two minutes: %w", err)
	}
	return string(text), err
}

// run is try for what must succeed.
func (b *bed) run(t *testing.T, program string, args ...string) (said string) {
	t.Helper()
	said, err := b.try(t, program, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(program), strings.Join(args, " "), err, said)
	}
	return said
}

// waitFor waits until what holds.
func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after a minute still not: %s", what)
		}
	}
}
