package verify_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/basebackup/verify"
	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// bed is a cluster that backups are taken of. Its log has segments of 1 MiB,
// and grows while a backup is taken, so that each needs several.
type bed struct {
	cluster *pgtest.Cluster
	root    string
	space   string // directory of a tablespace
	oid     string // of that tablespace
	taken   int
}

func newBed(t *testing.T, major int) *bed {
	t.Helper()
	c := pgtest.Require(t, major).Init(t, pgtest.SegmentSize(1), pgtest.Config("min_wal_size = 64MB", "max_wal_size = 512MB", "wal_keep_size = 256MB"))
	c.Start(t)
	c.Fill(t, "filler", 2)
	b := &bed{cluster: c, root: pgtest.TempDir(t), space: c.CreateTablespace(t, "space")}
	b.oid = c.Query(t, "SELECT oid FROM pg_tablespace WHERE spcname = 'space'")
	return b
}

// backup takes one with pg_basebackup of the server's release.
func (b *bed) backup(t *testing.T, args ...string) (dir string) {
	t.Helper()
	b.taken++
	dir = filepath.Join(b.root, fmt.Sprint("backup", b.taken))
	args = append([]string{"-D", dir, "-d", b.cluster.ConnString(), "-c", "fast", "-N", "-r", "40M", "-T", b.space + "=" + dir + ".space"}, args...)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, pgtest.ClientTool(t, b.cluster.Server.Major, "pg_basebackup"), args...)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			if err != nil {
				t.Fatalf("pg_basebackup %q: %v\n%s", args, err, said.String())
			}
			return dir
		case <-time.After(30 * time.Millisecond):
			b.cluster.SQL(t, "SELECT pg_logical_emit_message(false, 'p', repeat('y', 300000)), pg_logical_emit_message(false, 'p', 'z')")
		}
	}
}

// copyOf is a backup whose files may be changed by change and by removing
// them, without the first one changing: they are links.
func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to, err := os.MkdirTemp(filepath.Dir(dir), "copy")
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == dir {
			return err
		}
		target := filepath.Join(to, strings.TrimPrefix(name, dir))
		switch {
		case d.IsDir():
			return os.Mkdir(target, 0o700)
		case d.Type()&fs.ModeSymlink != 0:
			link, err := os.Readlink(name)
			return errors.Join(err, os.Symlink(link, target))
		}
		return os.Link(name, target)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(to) })
	return to
}

// change gives a file of a copy another content.
func change(t *testing.T, name string, f func(b []byte) []byte) {
	t.Helper()
	content, err := os.ReadFile(name)
	if err == nil {
		err = errors.Join(os.Remove(name), os.WriteFile(name, f(content), 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// flip changes one bit; a negative place counts from the end.
func flip(at int) func(b []byte) []byte {
	return func(b []byte) []byte {
		if at < 0 {
			at += len(b)
		}
		b[at] ^= 0x10
		return b
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func verified(t *testing.T, o verify.Options) *verify.Report {
	t.Helper()
	report, err := verify.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// mustBeGood fails for any problem, and for a report that does not say all
// that a good backup's does.
func mustBeGood(t *testing.T, o verify.Options) *verify.Report {
	t.Helper()
	r := verified(t, o)
	for i, p := range r.Problems {
		if i < 5 {
			t.Error(p)
		}
	}
	if r.Good+r.Ignored != r.Files || r.Files < 900 || r.Bytes < 20<<20 && !o.SkipChecksums {
		t.Errorf("%d of %d files good, %d ignored, %d bytes", r.Good, r.Files, r.Ignored, r.Bytes)
	}
	for _, w := range r.Ranges {
		if !o.NoWAL && (!w.Good || w.Reached != w.End || w.Records == 0 || w.Last == 0) {
			t.Errorf("%+v", w)
		}
	}
	return r
}

// finding is what a report must hold, and no more.
type finding struct {
	kind verify.Kind
	path string // what it ends with
}

func mustFind(t *testing.T, r *verify.Report, want ...finding) {
	t.Helper()
	ok := len(r.Problems) == len(want)
	for i := range min(len(want), len(r.Problems)) {
		p := r.Problems[i]
		ok = ok && p.Kind == want[i].kind && strings.HasSuffix(p.Path, want[i].path)
	}
	if !ok {
		t.Errorf("found:")
		for _, p := range r.Problems {
			t.Errorf("  %s", p)
		}
		t.Errorf("want: %v", want)
	}
}

func firstRelation(t *testing.T, dir string) string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "base", "1", "1255"))
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	return "base/1/1255"
}

func readAll(t *testing.T, r io.Reader) []byte {
	t.Helper()
	b, err := io.ReadAll(r)
	must(t, err)
	return b
}
