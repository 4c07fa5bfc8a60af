package basebackup_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgbraid/pgbraid/basebackup"
	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// matrixSource is a server that nobody writes to any more.
type matrixSource struct {
	*pgtest.Cluster
	digest map[string]string
	far    string // the directory of its tablespace outside, "" if it has none
}

// newMatrixSource starts a server with a bit of everything but tablespaces. Of
// the distribution's release it is the distribution's: that one is built with
// lz4 and zstd.
func newMatrixSource(t *testing.T, s pgtest.Server, opts ...pgtest.Option) *matrixSource {
	t.Helper()
	if d := pgtest.Distribution(t); d.Major == s.Major {
		s = d
	}
	m := &matrixSource{Cluster: s.Init(t, opts...)}
	m.Start(t)
	m.Load(t)
	m.settle(t)
	return m
}

// addTablespaces makes one outside the data directory, and one inside where a
// server puts that into archives: release 15 leaves it out of them, whoever
// asks.
func (m *matrixSource) addTablespaces(t *testing.T) {
	t.Helper()
	m.far = m.CreateTablespace(t, "far")
	if m.Server.Major >= 16 {
		m.CreateInPlaceTablespace(t, "near")
	}
	m.settle(t)
}

// settle has everything written that is going to be. Reading all rows for the
// digest sets hint bits, so that it comes first.
func (m *matrixSource) settle(t *testing.T) {
	t.Helper()
	m.digest = pgtest.Digest(t, m.Cluster)
	m.SQL(t, "CHECKPOINT")
}

// backup prepares a backup of the source that is not a standby.
func (m *matrixSource) backup(t *testing.T) *clone {
	t.Helper()
	c := newClone(t, m.ConnString())
	c.options.Standby = false
	return c
}

// mapFar puts the source's tablespace beside a plain backup.
func (c *clone) mapFar(m *matrixSource) {
	if m.far != "" && c.options.Format != basebackup.Tar {
		c.options.Tablespaces = []basebackup.TablespaceMapping{{Old: m.far, New: filepath.Join(c.root, "far")}}
	}
}

// matrixRun runs a program, which has to succeed.
func matrixRun(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", filepath.Base(name), args, err, out)
	}
	return string(out)
}

// matrixSize is the size of a file in bytes, -1 if there is none.
func matrixSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return -1
	}
	return info.Size()
}

// matrixPacker is the program that unpacks an archive of that name, "" if none
// is needed.
func matrixPacker(name string) string {
	return map[string]string{".gz": "gzip", ".lz4": "lz4", ".zst": "zstd"}[filepath.Ext(name)]
}

// matrixExtract has GNU tar unpack an archive into a directory, which is made.
func matrixExtract(t *testing.T, archive, into string) {
	t.Helper()
	if err := os.MkdirAll(into, 0o700); err != nil {
		t.Fatal(err)
	}
	args := []string{"-xvf", archive, "-C", into}
	if p := matrixPacker(archive); p != "" {
		matrixRun(t, p, "-tq", archive)
		args = append([]string{"-I", p}, args...)
	}
	cmd := exec.Command("tar", args...)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	names, err := cmd.Output()
	if err != nil || complaints.Len() > 0 {
		t.Fatalf("tar of %s: %v\n%s", archive, err, complaints.String())
	}
	seen := map[string]bool{}
	for name := range strings.Lines(string(names)) {
		if seen[name] {
			t.Errorf("%s has %s twice", filepath.Base(archive), strings.TrimSpace(name))
		}
		seen[name] = true
	}
}

// matrixUnpack makes a data directory below to of the archives in a directory,
// as the manual has a person do it, but for tablespace_map, which leads to the
// source's tablespace still.
func matrixUnpack(t *testing.T, archives, to string) (data string) {
	t.Helper()
	data = filepath.Join(to, "unpacked")
	found, err := filepath.Glob(filepath.Join(archives, "*.tar*"))
	if err != nil || len(found) == 0 {
		t.Fatalf("archives in %s: %q, %v", archives, found, err)
	}
	var spaces []string
	for _, path := range found {
		name, _, _ := strings.Cut(filepath.Base(path), ".")
		switch name {
		case "base":
			matrixExtract(t, path, data)
		case "pg_wal":
			matrixExtract(t, path, filepath.Join(data, "pg_wal"))
		default:
			spaces = append(spaces, path)
		}
	}
	locations := matrixMap(t, data)
	for _, path := range spaces {
		oid, _, _ := strings.Cut(filepath.Base(path), ".")
		link := filepath.Join(data, "pg_tblspc", oid)
		if !filepath.IsAbs(locations[oid]) {
			matrixExtract(t, path, link) // in place
			continue
		}
		space := filepath.Join(to, "space "+oid)
		matrixExtract(t, path, space)
		if err := os.Symlink(space, link); err != nil {
			t.Fatal(err)
		}
	}
	if m := readFile(filepath.Join(archives, "backup_manifest")); m != "" {
		if err := os.WriteFile(filepath.Join(data, "backup_manifest"), []byte(m), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return data
}

// matrixMap reads tablespace_map (PostgreSQL manual, "Making a Base Backup").
func matrixMap(t *testing.T, data string) map[string]string {
	t.Helper()
	locations := map[string]string{}
	for line := range strings.Lines(readFile(filepath.Join(data, "tablespace_map"))) {
		oid, location, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if !ok {
			t.Errorf("tablespace_map has the line %q", line)
		}
		locations[oid] = location
	}
	return locations
}

// matrixRemap has tablespace_map lead where the links do.
func matrixRemap(t *testing.T, data string) {
	t.Helper()
	var text strings.Builder
	for oid := range matrixMap(t, data) {
		to, err := os.Readlink(filepath.Join(data, "pg_tblspc", oid))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&text, "%s %s\n", oid, to)
	}
	if text.Len() == 0 {
		return
	}
	if err := os.WriteFile(filepath.Join(data, "tablespace_map"), []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

// matrixVerify has the newest pg_verifybackup that reads the release's
// pg_control accept a backup.
func matrixVerify(t *testing.T, s pgtest.Server, dir string, args ...string) {
	t.Helper()
	major := s.Major
	if major < 17 {
		major = 15
	}
	if s.Major != major {
		args = append(args, "-n") // its pg_waldump reads the WAL of its own release only
	}
	out := matrixRun(t, pgtest.ClientTool(t, major, "pg_verifybackup"), append(args, "-e", dir)...)
	if !strings.Contains(out, "backup successfully verified") {
		t.Errorf("pg_verifybackup: %s", out)
	}
}

// matrixVerifyTar has pg_verifybackup of release 18 or later accept archives as
// they are. That of 17 reads none, and 18's refuses the pg_control of any
// other release that has manifests of version 2, with which it looks at it.
func matrixVerifyTar(t *testing.T, s pgtest.Server, dir string) {
	t.Helper()
	if s.Major != 17 {
		matrixRun(t, pgtest.ClientTool(t, max(s.Major, 18), "pg_verifybackup"), "-n", "-e", dir)
	}
}

// copyWAL brings a backup without WAL what it needs, as from an archive.
func (m *matrixSource) copyWAL(t *testing.T, data string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(m.DataDir, "pg_wal"))
	if err != nil {
		t.Fatal(err)
	}
	copied := 0
	for _, e := range entries {
		if len(e.Name()) != 24 {
			continue
		}
		content, err := os.ReadFile(filepath.Join(m.DataDir, "pg_wal", e.Name()))
		if err := errors.Join(err, os.WriteFile(filepath.Join(data, "pg_wal", e.Name()), content, 0o600)); err != nil {
			t.Fatal(err)
		}
		copied++
	}
	if copied == 0 {
		t.Error("the source has no WAL")
	}
}

// mustRestore starts a data directory, which has to hold what the source does.
func (m *matrixSource) mustRestore(t *testing.T, data string, opts ...pgtest.Option) {
	t.Helper()
	r := pgtest.OpenDataDir(t, m.Server, data, opts...)
	r.Start(t)
	pgtest.AssertSameDigests(t, pgtest.Digest(t, r), m.digest)
	if m.far != "" {
		const where = "SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'far'"
		if at := r.Query(t, where); at == "" || at == m.far {
			t.Errorf("the tablespace lies at %q, and the source's too", at)
		}
	}
	r.Stop(t, pgtest.Immediate)
}
