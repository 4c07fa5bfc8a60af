package verify_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pgbraid/pgbraid/basebackup/verify"
	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// emptyDirs are the directories of a backup in which there is no file.
func emptyDirs(t *testing.T, dir string) []string {
	t.Helper()
	holds := map[string]bool{}
	var all []string
	must(t, filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, name)
		if err == nil && rel != "." && d.IsDir() {
			all = append(all, rel)
		} else if err == nil {
			for p := path.Dir(rel); p != "."; p = path.Dir(p) {
				holds[p] = true
			}
		}
		return err
	}))
	return slices.DeleteFunc(all, func(name string) bool { return holds[name] })
}

// startsAnew are the directories that a server makes when it starts.
var startsAnew = []string{"pg_wal/archive_status", "pg_wal/summaries"}

// TestThatADirectoryIsMissing takes each directory without files from a
// backup, has it verified, and starts a server from it.
func TestThatADirectoryIsMissing(t *testing.T) {
	t.Parallel()
	pgtest.ForEachVersion(t, func(t *testing.T, s pgtest.Server) {
		c := s.Init(t)
		c.Start(t)
		root := pgtest.TempDir(t)
		good := filepath.Join(root, "good")
		out, err := exec.CommandContext(t.Context(), pgtest.ClientTool(t, max(18, s.Major), "pg_basebackup"), "-D", good, "-d", c.ConnString(), "-c", "fast", "-N").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		mustFind(t, verified(t, verify.Options{Directory: good}))
		list := emptyDirs(t, good)
		if len(list) < 12 {
			t.Fatalf("only %q", list)
		}
		for _, name := range list {
			moved := filepath.Join(root, "moved")
			must(t, os.Rename(filepath.Join(good, name), moved))
			var want []finding
			if !slices.Contains(startsAnew, name) {
				want = []finding{{verify.MissingDirectory, name}}
			}
			mustFind(t, verified(t, verify.Options{Directory: good, SkipChecksums: true, NoWAL: true}), want...)
			mustFind(t, verified(t, verify.Options{Directory: good, SkipChecksums: true, NoWAL: true, Ignore: []string{name}}))
			mustFind(t, verified(t, verify.Options{Directory: good, SkipChecksums: true, NoWAL: true, AsPgVerifybackup: true}))
			must(t, os.Rename(moved, filepath.Join(good, name)))
		}
		// What a server makes anew it starts without, and not without others.
		for _, name := range startsAnew {
			must(t, os.RemoveAll(filepath.Join(good, name)))
		}
		startFrom(t, s, good, true)
		must(t, os.Rename(filepath.Join(good, "pg_notify"), filepath.Join(root, "moved")))
		startFrom(t, s, good, false)
	})
}

// startFrom starts a server from a backup, which must come up or must not.
func startFrom(t *testing.T, s pgtest.Server, dir string, starts bool) {
	t.Helper()
	c := pgtest.OpenDataDir(t, s, dir)
	err := c.TryStart(t.Context())
	if err == nil {
		c.Stop(t, pgtest.Immediate)
	}
	if (err == nil) != starts {
		t.Errorf("the server started: %v; %v", err == nil, err)
	}
}

// TestThatADirectoryIsMissingInAnArchive leaves a member out of base.tar.
func TestThatADirectoryIsMissingInAnArchive(t *testing.T) {
	t.Parallel()
	b := newBed(t, 18)
	b.cluster.CreateTablespace(t, "bare")
	b.cluster.SQL(t, `DO $$ DECLARE r regclass; BEGIN
		FOR r IN SELECT c.oid FROM pg_class c JOIN pg_tablespace s ON s.oid = reltablespace WHERE spcname = 'bare' AND relkind = 'r' LOOP
			EXECUTE 'DROP TABLE ' || r;
		END LOOP; END $$`)
	dir := b.backup(t, "-F", "t")
	mustBeGood(t, verify.Options{Directory: dir})
	for _, name := range []string{"pg_notify", "pg_logical/mappings", "pg_twophase"} {
		copied := copyOf(t, dir)
		change(t, filepath.Join(copied, "base.tar"), func(b []byte) []byte { return without(t, b, name) })
		mustFind(t, verified(t, verify.Options{Directory: copied}), finding{verify.MissingDirectory, name})
	}
	for _, name := range []string{"pg_wal/archive_status", "pg_wal"} {
		copied := copyOf(t, dir)
		change(t, filepath.Join(copied, "base.tar"), func(b []byte) []byte { return without(t, b, name) })
		mustFind(t, verified(t, verify.Options{Directory: copied}))
	}
	oid := b.cluster.Query(t, "SELECT oid FROM pg_tablespace WHERE spcname = 'bare'")
	copied := copyOf(t, dir)
	must(t, os.Remove(filepath.Join(copied, oid+".tar")))
	mustFind(t, verified(t, verify.Options{Directory: copied}), finding{verify.MissingDirectory, "pg_tblspc/" + oid})
}

// without is a tar file without one member and those below it.
func without(t *testing.T, b []byte, name string) []byte {
	t.Helper()
	var out bytes.Buffer
	in, w := tar.NewReader(bytes.NewReader(b)), tar.NewWriter(&out)
	left := 0
	for {
		h, err := in.Next()
		if err == io.EOF {
			break
		}
		must(t, err)
		if clean := path.Clean(h.Name); clean == name || strings.HasPrefix(clean, name+"/") {
			left++
			continue
		}
		must(t, w.WriteHeader(h))
		_, err = io.Copy(w, in)
		must(t, err)
	}
	if err := w.Close(); err != nil || left == 0 {
		t.Fatal(name, left, errors.Join(err))
	}
	return out.Bytes()
}
