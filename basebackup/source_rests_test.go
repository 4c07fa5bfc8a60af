//go:build linux

package basebackup_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// rests are files that a crash, of this program or of the stock one, may have
// left in a directory which a server then runs in.
var rests = []string{"backup_manifest.tmp", "global/pg_control.pgbraid", "base.tar.tmp", "standby.signal.tmp", "pg_wal.tmp",
	"global/pgsql_tmp.pgbraid.pg_control.tmp.not"}

// TestRestsOfACrashInTheSourceAreCopied copies a server that has them. What
// begins as a server's own temporary files do is left out by that.
func TestRestsOfACrashInTheSourceAreCopied(t *testing.T) {
	t.Parallel()
	for _, major := range []int{14, 18} {
		s := pgtest.Require(t, major)
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			m := newBareSource(t, s)
			for _, name := range rests {
				if err := os.WriteFile(filepath.Join(m.DataDir, name), []byte("a rest"), 0o600); err != nil {
					t.Fatal(err)
				}
				pgtest.GiveToServer(t, filepath.Join(m.DataDir, name))
			}
			// These are what a crash leaves today.
			for _, name := range []string{"pgsql_tmp.pgbraid.backup_manifest", "global/pgsql_tmp.pgbraid.pg_control", "pgsql_tmp.pgbraid.postgresql.auto.conf"} {
				if err := os.WriteFile(filepath.Join(m.DataDir, name), []byte("a rest"), 0o600); err != nil {
					t.Fatal(err)
				}
				pgtest.GiveToServer(t, filepath.Join(m.DataDir, name))
			}
			c := newClone(t, m.ConnString())
			// Up to 16 the server takes what follows the dot of pg_control.pgbraid
			// for a segment's number when it checks pages.
			c.options.NoVerifyChecksums = s.Major < 17
			c.start()
			c.must()
			c.mustPassVerification(s)
			for _, name := range rests {
				if name == rests[len(rests)-1] {
					if _, err := os.Lstat(filepath.Join(c.options.Directory, name)); !errors.Is(err, fs.ErrNotExist) {
						t.Errorf("%s: the server leaves out such names: %v", name, err)
					}
					continue
				}
				if got := readFile(filepath.Join(c.options.Directory, name)); got != "a rest" {
					t.Errorf("%s holds %q", name, got)
				}
			}
			if left, _ := filepath.Glob(filepath.Join(c.options.Directory, "*", "pgsql_tmp*")); len(left) > 0 {
				t.Errorf("left over: %q", left)
			}
			c.startAlone(s).Stop(t, pgtest.Fast)
		})
	}
}

// TestSettingsThatMayNotBeWrittenAreWrittenAnew has a source whose settings are
// read-only, and a clone made by a user whom that stops.
func TestSettingsThatMayNotBeWrittenAreWrittenAnew(t *testing.T) {
	t.Parallel()
	program := programFor(t)
	for _, major := range []int{14, 18} {
		s := pgtest.Require(t, major)
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			m := newBareSource(t, s)
			m.SQL(t, "ALTER SYSTEM SET work_mem = '7MB'")
			auto, signal := filepath.Join(m.DataDir, "postgresql.auto.conf"), filepath.Join(m.DataDir, "standby.signal")
			before := readFile(auto)
			if err := errors.Join(os.Chmod(auto, 0o400), os.WriteFile(signal, []byte("theirs"), 0o400)); err != nil {
				t.Fatal(err)
			}
			pgtest.GiveToServer(t, signal)
			root := pgtest.TempDir(t)
			if err := os.Chmod(root, 0o777); err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(root, "data")
			r := failureStart(t, program, []string{"PGHOST=" + m.Host, "PGPORT=" + strconv.Itoa(m.Port), "PGUSER=postgres", "PGPASSWORD=" + m.Password}, "clone", "-D", dir, "-c", "fast")
			otherUser(t, r)
			if code := r.start().wait(); code != 0 {
				t.Fatalf("exit code %d\n%s", code, r.err.String())
			}
			text := readFile(filepath.Join(dir, "postgresql.auto.conf"))
			mustContain(t, "settings", text, before+"primary_conninfo = '")
			for name, size := range map[string]int64{"postgresql.auto.conf": int64(len(text)), "standby.signal": 0} {
				info, err := os.Stat(filepath.Join(dir, name))
				if err != nil || info.Mode() != 0o400 || info.Size() != size {
					t.Errorf("%s: %v, %v", name, info, err)
				}
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "pgsql_tmp*")); len(left) > 0 {
				t.Errorf("left over: %q", left)
			}
		})
	}
}
