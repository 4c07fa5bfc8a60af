package verify_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgbraid/pgbraid/basebackup/lineage"
	"github.com/pgbraid/pgbraid/basebackup/manifest"
	"github.com/pgbraid/pgbraid/basebackup/verify"
	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// TestChainOfIncrementalBackups takes a full backup and two on top of it, as
// files and as archives, verifies each alone, and then what is given in order
// and out of it.
func TestChainOfIncrementalBackups(t *testing.T) {
	t.Parallel()
	for _, major := range []int{17, 18} {
		for _, format := range []string{"p", "t"} {
			t.Run(format, func(t *testing.T) { chainOf(t, major, format) })
		}
	}
}

func chainOf(t *testing.T, major int, format string) {
	c := pgtest.Require(t, major).Init(t, pgtest.Config("summarize_wal = on"))
	c.Start(t)
	b := &bed{cluster: c, root: pgtest.TempDir(t), space: "/nowhere"}
	take := func(on string) string {
		args := []string{"-F", format}
		if on != "" {
			args = append(args, "-i", filepath.Join(on, "backup_manifest"))
		}
		return b.backup(t, args...)
	}
	full := take("")
	c.SQL(t, "CREATE TABLE t AS SELECT generate_series(1, 100000) AS n")
	first := take(full)
	c.SQL(t, "UPDATE t SET n = n + 1 WHERE n % 100 = 0")
	second := take(first)
	aside := take(full)

	reports := map[string]*verify.Report{}
	for _, dir := range []string{full, first, second, aside} {
		r := verified(t, verify.Options{Directory: dir})
		if !r.OK() || r.Major != major || r.Label == nil || r.Incremental() != (dir != full) {
			t.Fatalf("%s: major %d, %+v, %v", dir, r.Major, r.Label, r.Problems)
		}
		reports[dir] = r
	}
	if start := reports[full].Label.Start; reports[first].Label.From != start || reports[aside].Label.From != start || reports[second].Label.From != reports[first].Label.Start || start.LSN == 0 {
		t.Errorf("full backup from %s, the others on top of %s, %s, %s", start, reports[first].Label.From, reports[second].Label.From, reports[aside].Label.From)
	}
	check := func(want string, dirs ...string) {
		t.Helper()
		var list []*verify.Report
		for _, dir := range dirs {
			list = append(list, reports[dir])
		}
		err := errors.Join(verify.CheckChain(list)...)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", dirs, err, want)
		}
		if fault, ok := errors.AsType[*lineage.Error](err); want != "" && strings.Contains(want, "but") && (!ok || fault.Hint() == "") {
			t.Errorf("%q: no hint in %v", dirs, err)
		}
	}
	check("", full)
	check("", full, first)
	check("", full, aside)
	check("", full, first, second)
	check("is an incremental backup, but the first", first, second)
	check("but expected", full, second)
	check("but expected", full, aside, second)
	check("is a full backup, but only the first", first, full)
	check("is a full backup, but only the first", full, full)

	// A file that the full backup lost, with its entry in the manifest.
	if format == "p" {
		lost := copyOf(t, full)
		must(t, os.Remove(filepath.Join(lost, "base/1/1255")))
		change(t, filepath.Join(lost, "backup_manifest"), func(b []byte) []byte { return unlisted(t, b, "base/1/1255") })
		reports[lost] = verified(t, verify.Options{Directory: lost})
		if !reports[lost].OK() {
			t.Fatal(reports[lost].Problems)
		}
		check("base/1/INCREMENTAL.1255 is on top of a file that the backup at \""+lost+"\" does not have", lost, first)
		must(t, os.Remove(filepath.Join(lost, "backup_label")))
		reports[lost] = verified(t, verify.Options{Directory: lost})
		check("its backup_label cannot be read", lost, first)
	}

	other := pgtest.Require(t, major).Init(t, pgtest.Fresh())
	other.Start(t)
	foreign := (&bed{cluster: other, root: pgtest.TempDir(t), space: "/nowhere"}).backup(t, "-F", format)
	reports[foreign] = verified(t, verify.Options{Directory: foreign})
	check("expected system identifier", foreign, first)
}

// unlisted is a manifest without one file.
func unlisted(t *testing.T, b []byte, name string) []byte {
	t.Helper()
	var out bytes.Buffer
	s, err := manifest.Read(bytes.NewReader(b), nil)
	must(t, err)
	w, err := manifest.NewWriter(&out, manifest.WriterOptions{Version: s.Version, SystemIdentifier: s.SystemIdentifier})
	must(t, err)
	_, err = manifest.Read(bytes.NewReader(b), func(f manifest.File) error {
		if f.Path == name {
			return nil
		}
		return w.Add(f)
	})
	must(t, errors.Join(err, w.Close(s.Ranges)))
	return out.Bytes()
}
