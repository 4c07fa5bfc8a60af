package dropin

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// unprivileged is a user without rights of its own: permissions do not bind
// root.
const unprivileged = 65534

// sameWithoutPermission are what is forbidden in a backup, and the line that
// both tools must have on it.
var sameWithoutPermission = []struct{ kind, name, args, says string }{
	{"good", "PG_VERSION", "-n", "could not open file \"PG_VERSION\": Permission denied"},
	{"good", "base/1/1255", "", "could not open file \"base/1/1255\": Permission denied"},
	{"good", "PG_VERSION", "-ns", ""},
	{"good", "pg_subtrans", "-n", "could not open directory \"good/pg_subtrans\": Permission denied"},
	{"good", "base/1", "-n", "could not open directory \"good/base/1\": Permission denied"},
	{"good", "base/1", "-ns", "could not open directory \"good/base/1\": Permission denied"},
	{"good", "global", "", "could not open directory \"good/global\": Permission denied"},
	{"good", "base 0400", "-n", "could not stat file or directory \"base/1\": Permission denied"},
	{"good", ". 0300", "-n", "could not open directory \"good\": Permission denied"},
	{"good", ". 0400", "-n", "could not open file \"good/backup_manifest\": Permission denied"},
	{"good", ". 0400", "-n -m manifest", "could not stat file \"good/PG_VERSION\": Permission denied"},
	{"good", "backup_manifest", "-n", "could not open file \"good/backup_manifest\": Permission denied"},
	{"good", "global/pg_control", "-n", "could not open file \"good/global/pg_control\" for reading: Permission denied"},
	{"tar", "base.tar", "-n", "could not open file \"base.tar\": Permission denied"},
	{"tar", ". 0300", "-n", "could not open directory \"tar\": Permission denied"},
}

// TestVerifybackupWithoutPermission runs both tools as a user who may not read
// all of a backup.
func TestVerifybackupWithoutPermission(t *testing.T) {
	t.Parallel()
	b := newBed(t, "pg_verifybackup")
	dir := pgtest.TempDir(t)
	var as *syscall.Credential
	if os.Geteuid() == 0 {
		as = &syscall.Credential{Uid: unprivileged, Gid: unprivileged}
		b.ours = copied(t, b.ours, filepath.Join(dir, "pg_verifybackup"))
	}
	c := pgtest.Require(t, major).Init(t)
	c.Start(t)
	for kind, format := range map[string]string{"good": "p", "tar": "t"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		out, err := exec.CommandContext(ctx, pgtest.ClientTool(t, major, "pg_basebackup"), "-D", filepath.Join(dir, kind), "-F", format, "-c", "fast", "-N", "-d", c.ConnString()).CombinedOutput()
		cancel()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	give(t, dir, as)
	manifest, err := os.ReadFile(filepath.Join(dir, "good", "backup_manifest"))
	if err := errors.Join(err, os.WriteFile(filepath.Join(dir, "manifest"), manifest, 0o644)); err != nil {
		t.Fatal(err)
	}
	for _, f := range sameWithoutPermission {
		t.Run(f.kind+" "+f.name+" "+f.args, func(t *testing.T) {
			name, modeText, _ := strings.Cut(f.name, " ")
			name = filepath.Join(dir, f.kind, name)
			mode := map[string]fs.FileMode{"": 0, "0300": 0o300, "0400": 0o400}[modeText]
			before, err := os.Stat(name)
			if err := errors.Join(err, os.Chmod(name, mode)); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = os.Chmod(name, before.Mode().Perm()) }()
			args := append(strings.Fields(f.args), f.kind)
			ours, stock := runAs(t, as, b, b.ours, dir, args...), runAs(t, as, b, b.stock, dir, args...)
			// Where the log cannot be read, pg_waldump says why there.
			if ours.code != stock.code || ours.out != stock.out || sortedLines(ours.errors) != sortedLines(stock.errors) {
				t.Errorf("exit code %d and %d\nours:\n%s%sstock:\n%s%s", ours.code, stock.code, ours.out, ours.errors, stock.out, stock.errors)
			}
			if (f.says == "") != (ours.code == 0) || !strings.Contains(ours.errors, f.says) {
				t.Errorf("exit code %d, no %q in\n%s", ours.code, f.says, ours.errors)
			}
		})
	}
}

// copied is a program where any user may run it.
func copied(t *testing.T, program, to string) string {
	t.Helper()
	from, err := os.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	f, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(f, from); errors.Join(err, f.Close()) != nil {
		t.Fatal(err)
	}
	return to
}

// give makes all below a directory a user's own.
func give(t *testing.T, dir string, to *syscall.Credential) {
	t.Helper()
	if to == nil {
		return
	}
	err := filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(name, int(to.Uid), int(to.Gid))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// runAs is bed.run as a user.
func runAs(t *testing.T, as *syscall.Credential, b *bed, program, dir string, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, program, args...)
	c.Dir, c.Env = dir, b.env
	if as != nil {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	}
	var out, errOut bytes.Buffer
	c.Stdout, c.Stderr = &out, &errOut
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("%s %q: %v\n%s", b.name, args, err, errOut.String())
	}
	clean := func(text string) string {
		return strings.ReplaceAll(strings.ReplaceAll(text, program, b.name), dir, "DIR")
	}
	return outcome{c.ProcessState.ExitCode(), clean(out.String()), clean(errOut.String())}
}
