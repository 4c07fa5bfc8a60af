package dropin

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// sameVerifybackup are command lines on which pg_verifybackup and this one
// agree. DIR holds good and tar, which nothing is wrong with.
var sameVerifybackup = []string{
	"", "-x", "--bogus", "good x", "good -F z", "-F", "-Pq good", "missing", "-i", "--exit=1 good", "good -m missing", "-n -F p tar", "-F t good -n",
	"good", "good/", "-q good", "-n good", "-s good", "-e good", "-Fp good", "--format=plain good", "-w DIR/good/pg_wal good", "-n -w DIR good", "-m good/backup_manifest good",
	"tar", "-F t tar", "-q tar", "tar -w tar/pg_wal.tar", "-F t good", "-F p tar -n", "-n tar", "-n -F t tar", "-nq -Ftar tar", "-ns tar",
}

// sameCase is one thing done to a backup, and how it is verified then.
type sameCase struct {
	name, line string
	do         func(t *testing.T, dir string)
}

// sameAfter are what is done to a backup, and how it is verified then.
var sameAfter = []sameCase{
	{"flipped", "-n broken", func(t *testing.T, dir string) {
		rewrite(t, dir+"/base/1/1255", func(b []byte) []byte { b[77] ^= 1; return b })
	}},
	{"flipped, skipped", "-s broken", func(t *testing.T, dir string) {
		rewrite(t, dir+"/base/1/1255", func(b []byte) []byte { b[77] ^= 1; return b })
	}},
	{"pg_control", "-n broken", func(t *testing.T, dir string) {
		rewrite(t, dir+"/global/pg_control", func(b []byte) []byte { b[100] ^= 1; return b })
	}},
	{"system identifier", "-n broken", func(t *testing.T, dir string) {
		rewrite(t, dir+"/backup_manifest", func(b []byte) []byte { b[len(b)-7] ^= 1; return b })
	}},
	{"pg_control cut", "-n broken", func(t *testing.T, dir string) {
		rewrite(t, dir+"/global/pg_control", func(b []byte) []byte { return b[:100] })
	}},
	{"pg_control cut after its checksum", "-n broken", func(t *testing.T, dir string) {
		rewrite(t, dir+"/global/pg_control", func(b []byte) []byte { return b[:300] })
	}},
	{"pg_control longer", "-n broken", func(t *testing.T, dir string) {
		rewrite(t, dir+"/global/pg_control", func(b []byte) []byte { return append(b, 'x') })
	}},
	{"pg_control empty", "-en broken", func(t *testing.T, dir string) {
		rewrite(t, dir+"/global/pg_control", func([]byte) []byte { return nil })
	}},
	{"no directories", "broken", func(t *testing.T, dir string) {
		_ = os.RemoveAll(dir + "/pg_notify")
		_ = os.RemoveAll(dir + "/pg_twophase")
	}},
	{"no PG_VERSION", "-n broken", func(t *testing.T, dir string) { _ = os.Remove(dir + "/PG_VERSION") }},
	{"missing", "-n broken", func(t *testing.T, dir string) { _ = os.Remove(dir + "/base/1/1255") }},
	{"missing, ignored", "-i base/1 broken", func(t *testing.T, dir string) { _ = os.Remove(dir + "/base/1/1255") }},
	{"extra", "-n broken", func(t *testing.T, dir string) { _ = os.WriteFile(dir+"/extra", nil, 0o600) }},
	{"cut", "broken", func(t *testing.T, dir string) {
		rewrite(t, dir+"/base/1/1255", func(b []byte) []byte { return b[:10] })
	}},
	{"several", "-n broken", func(t *testing.T, dir string) {
		_ = os.Remove(dir + "/base/1/1255")
		_ = os.WriteFile(dir+"/extra", nil, 0o600)
		rewrite(t, dir+"/postgresql.conf", func(b []byte) []byte { b[0] ^= 1; return b })
	}},
	{"several, first only", "-en broken", func(t *testing.T, dir string) {
		rewrite(t, dir+"/postgresql.conf", func(b []byte) []byte { b[0] ^= 1; return b })
	}},
	{"dangling link", "-n broken", func(t *testing.T, dir string) { _ = os.Symlink("/nonexistent", dir+"/dangling") }},
	{"no manifest", "broken", func(t *testing.T, dir string) { _ = os.Remove(dir + "/backup_manifest") }},
}

// sameAfterInTar are the same for a tar set.
var sameAfterInTar = []sameCase{
	{"flipped", "-n broken", func(t *testing.T, dir string) { inMember(t, dir, "base/1/1255", 5000) }},
	{"pg_control", "-n broken", func(t *testing.T, dir string) { inMember(t, dir, "global/pg_control", 612) }},
	{"not expected", "-n broken", func(t *testing.T, dir string) { _ = os.WriteFile(dir+"/readme", nil, 0o600) }},
}

func rewrite(t *testing.T, name string, f func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err == nil {
		_ = os.Remove(name)
		err = os.WriteFile(name, f(b), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func inMember(t *testing.T, dir, member string, offset int) {
	t.Helper()
	rewrite(t, dir+"/base.tar", func(b []byte) []byte {
		at := strings.Index(string(b), member+"\x00")
		if at < 0 {
			t.Fatalf("no member %s", member)
		}
		b[at+offset] ^= 1
		return b
	})
}

// TestVerifybackup runs both tools on the same backups, of the newest release
// and of the distribution's, whose manifests are of the first version.
func TestVerifybackup(t *testing.T) {
	t.Parallel()
	for _, release := range []int{major, 15} {
		b := newBed(t, "pg_verifybackup")
		stock, err := filepath.EvalSymlinks(pgtest.ClientTool(t, release, "pg_verifybackup"))
		if err != nil {
			t.Fatal(err)
		}
		b.stock = stock
		c := pgtest.Require(t, release).Init(t)
		c.Start(t)
		dir := pgtest.TempDir(t)
		for name, format := range map[string]string{"good": "p", "tar": "t"} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			out, err := exec.CommandContext(ctx, pgtest.ClientTool(t, release, "pg_basebackup"), "-D", filepath.Join(dir, name), "-F", format, "-c", "fast", "-N", "-d", c.ConnString()).CombinedOutput()
			cancel()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		compare := func(t *testing.T, line string) {
			t.Helper()
			ours, theirs := b.run(t, b.ours, dir, words(line)...), b.run(t, b.stock, dir, words(line)...)
			// The order is that of a hash table there.
			if ours.code != theirs.code || ours.out != theirs.out || sortedLines(ours.errors) != sortedLines(theirs.errors) {
				t.Errorf("%q: exit code %d and %d\nours:\n%s%sstock:\n%s%s", line, ours.code, theirs.code, ours.out, ours.errors, theirs.out, theirs.errors)
			}
		}
		for _, line := range sameVerifybackup {
			if release == major || !strings.Contains(line, "tar") && !strings.Contains(line, "-F") && !strings.Contains(line, "-P") && !strings.Contains(line, "--format") {
				compare(t, line)
			}
		}
		broken := filepath.Join(dir, "broken")
		cases := slices.Clone(sameAfter)
		if release == major {
			for _, c := range sameAfterInTar {
				c.name = "tar: " + c.name
				cases = append(cases, c)
			}
		} else {
			// Without PG_VERSION it is a tar backup to the newer tool only.
			cases = slices.DeleteFunc(cases, func(c sameCase) bool { return c.name == "no PG_VERSION" })
		}
		for _, c := range cases {
			from := "good"
			if strings.HasPrefix(c.name, "tar: ") {
				from = "tar"
			}
			linkTree(t, filepath.Join(dir, from), broken)
			c.do(t, broken)
			t.Run(c.name, func(t *testing.T) { compare(t, c.line) })
			_ = os.RemoveAll(broken)
		}
		t.Run("log missing", func(t *testing.T) {
			linkTree(t, filepath.Join(dir, "good"), broken)
			defer func() { _ = os.RemoveAll(broken) }()
			list, _ := filepath.Glob(broken + "/pg_wal/0*")
			for _, name := range list {
				_ = os.Remove(name)
			}
			ours, theirs := b.run(t, b.ours, dir, "broken"), b.run(t, b.stock, dir, "broken")
			const want = "pg_verifybackup: error: WAL parsing failed for timeline 1\n"
			if ours.code != 1 || theirs.code != 1 || !strings.Contains(ours.errors, want) || !strings.Contains(theirs.errors, want) {
				t.Errorf("ours:\n%sstock:\n%s", ours.errors, theirs.errors)
			}
		})
	}
}

// linkTree makes a copy of links.
func linkTree(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := to + strings.TrimPrefix(name, from)
		if d.IsDir() {
			return os.Mkdir(target, 0o700)
		}
		return os.Link(name, target)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func sortedLines(text string) string {
	lines := strings.Split(text, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
