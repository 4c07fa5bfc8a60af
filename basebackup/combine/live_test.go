package combine_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pgbraid/pgbraid/basebackup"
	"github.com/pgbraid/pgbraid/basebackup/combine"
	"github.com/pgbraid/pgbraid/internal/conninfo"
	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// chain is a cluster of which a full backup and then incremental ones are
// taken.
type chain struct {
	t       *testing.T
	cluster *pgtest.Cluster
	root    string
	space   string // the tablespace's directory on the server
	dirs    []string
}

func newChain(t *testing.T, s pgtest.Server, opts ...pgtest.Option) *chain {
	t.Helper()
	c := s.Init(t, append(opts, pgtest.Config("summarize_wal = on"))...)
	c.Start(t)
	return &chain{t: t, cluster: c, root: pgtest.TempDir(t)}
}

// spaceOf is where backup n has its tablespace.
func (c *chain) spaceOf(n int) string { return filepath.Join(c.root, fmt.Sprintf("space%d", n)) }

// backup takes a full backup, or one on top of the last.
func (c *chain) backup() {
	c.t.Helper()
	c.take(len(c.dirs) > 0)
}

// full takes a full backup.
func (c *chain) full() {
	c.t.Helper()
	c.take(false)
}

func (c *chain) take(incremental bool) {
	c.t.Helper()
	n := len(c.dirs)
	dir := filepath.Join(c.root, fmt.Sprintf("backup%d", n))
	o := basebackup.Options{Directory: dir, FastCheckpoint: true, NoSync: true, Logger: logger(c.t)}
	if incremental {
		o.Incremental = filepath.Join(c.dirs[n-1], "backup_manifest")
	}
	if c.space != "" {
		o.Tablespaces = []basebackup.TablespaceMapping{{Old: c.space, New: c.spaceOf(n)}}
	}
	info, err := conninfo.Parse(conninfo.Flags{ConnString: c.cluster.ConnString()}, "combine")
	if err != nil {
		c.t.Fatal(err)
	}
	config, err := info.Config()
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := basebackup.Run(context.Background(), config, o); err != nil {
		c.t.Fatalf("backup %d: %v", n, err)
	}
	c.dirs = append(c.dirs, dir)
}

// options combine all backups into a directory of that name.
func (c *chain) options(name string) combine.Options {
	o := combine.Options{Inputs: c.dirs, Output: filepath.Join(c.root, name), NoSync: true, Logger: logger(c.t)}
	if c.space != "" {
		o.Tablespaces = []combine.TablespaceMapping{{Old: c.spaceOf(len(c.dirs) - 1), New: c.newSpace(name)}}
	}
	return o
}

func (c *chain) newSpace(name string) string { return filepath.Join(c.root, name+" space") }

func (c *chain) combine(o combine.Options) *combine.Result {
	c.t.Helper()
	result, err := combine.Run(context.Background(), o)
	if err != nil {
		c.t.Fatal(err)
	}
	return result
}

func logger(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(testLog{t}, nil))
}

type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Logf("%s", bytes.TrimSpace(p))
	return len(p), nil
}

// servers are those of the releases that have incremental backups.
func servers(t *testing.T) (list []pgtest.Server) {
	t.Helper()
	for _, s := range pgtest.Servers(t) {
		if s.Major >= 17 {
			list = append(list, s)
		}
	}
	if len(list) == 0 {
		list = append(list, pgtest.Require(t, 18))
	}
	return list
}

// changes are what happens to the cluster before each incremental backup.
var changes = []string{
	// Rows change, a table shrinks, one goes, one comes, two are rewritten.
	`UPDATE big SET b = b || 'x' WHERE id % 500 = 0;
	DELETE FROM shrinks WHERE id > 3000;
	DROP TABLE goes; CREATE TABLE comes AS SELECT i, md5(i::text) AS t FROM generate_series(1, 3000) AS i;
	TRUNCATE emptied;
	VACUUM FULL rewritten; CLUSTER sorted USING sorted_t;
	VACUUM shrinks; VACUUM big;
	INSERT INTO stock.item SELECT i, 'more ' || i, 1, now() FROM generate_series(2001, 2500) AS i`,
	// What shrank grows again, what was emptied is filled, and the same
	// names get other files.
	`INSERT INTO shrinks SELECT i, md5(i::text) FROM generate_series(3001, 5000) AS i;
	INSERT INTO emptied SELECT i, md5((i * 3)::text) FROM generate_series(1, 100) AS i;
	CREATE TABLE goes AS SELECT i AS id, md5(i::text) AS t FROM generate_series(1, 1000) AS i;
	DROP TABLE comes; REINDEX TABLE big;
	ALTER TABLE moves SET TABLESPACE "space";
	UPDATE in_space SET t = t || '!' WHERE id < 10`,
	// Little happens.
	`UPDATE big SET b = 'last' WHERE id = 7; DELETE FROM goes WHERE id > 10; VACUUM goes;
	CREATE INDEX goes_t ON goes (t)`,
}

// clusterWide are changes of whole databases, before each backup.
var clusterWide = []string{
	`CREATE DATABASE copied TEMPLATE shop STRATEGY file_copy; DROP DATABASE empty`,
	`DROP DATABASE copied; CREATE DATABASE copied; CREATE ROLE newcomer`,
	`ALTER ROLE newcomer RENAME TO oldtimer`,
}

// fullChain is a cluster with one of everything, a full backup and one after
// each of the changes.
func fullChain(t *testing.T, s pgtest.Server) *chain {
	t.Helper()
	c := newChain(t, s)
	c.cluster.Load(t)
	c.space = c.cluster.CreateTablespace(t, "space")
	c.cluster.CreateInPlaceTablespace(t, "inside")
	c.cluster.SQLIn(t, pgtest.MainDatabase, `
		CREATE TABLE shrinks AS SELECT i AS id, md5(i::text) AS t FROM generate_series(1, 20000) AS i;
		CREATE TABLE goes AS SELECT i AS id, md5(i::text) AS t FROM generate_series(1, 5000) AS i;
		CREATE TABLE emptied AS SELECT i AS id, md5(i::text) AS t FROM generate_series(1, 5000) AS i;
		CREATE TABLE rewritten AS SELECT i AS id, md5(i::text) AS t FROM generate_series(1, 5000) AS i;
		CREATE TABLE sorted AS SELECT i AS id, md5(i::text) AS t FROM generate_series(1, 5000) AS i;
		CREATE INDEX sorted_t ON sorted (t);
		CREATE TABLE moves AS SELECT i AS id, md5(i::text) AS t FROM generate_series(1, 5000) AS i;
		CREATE TABLE in_space TABLESPACE "space" AS SELECT i AS id, md5(i::text) AS t FROM generate_series(1, 20000) AS i;
		CREATE TABLE in_inside TABLESPACE "inside" AS SELECT i AS id, md5(i::text) AS t FROM generate_series(1, 20000) AS i;
		CREATE TABLE still AS SELECT i AS id, md5(i::text) AS t FROM generate_series(1, 20000) AS i`)
	c.cluster.SQLIn(t, pgtest.MainDatabase, "VACUUM")
	c.backup()
	for n := range changes {
		for _, sql := range strings.Split(changes[n], ";") {
			c.cluster.SQLIn(t, pgtest.MainDatabase, sql)
		}
		c.cluster.SQLIn(t, pgtest.MainDatabase, fmt.Sprintf("UPDATE in_inside SET t = 'change %d' WHERE id = %d", n, n+1))
		for _, sql := range strings.Split(clusterWide[n], ";") {
			c.cluster.SQL(t, sql)
		}
		c.backup()
	}
	return c
}

// TestCombinedBackupIsTheClusterAgain holds the result of a long chain against
// pg_combinebackup's, against a full backup of the same moment, and against
// its manifest; and starts it.
func TestCombinedBackupIsTheClusterAgain(t *testing.T) {
	t.Parallel()
	for _, s := range servers(t) {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			c := fullChain(t, s)
			o := c.options("out")
			o.NoSync = false
			result := c.combine(o)
			if result.Rebuilt < 10 {
				t.Errorf("only %d files were rebuilt", result.Rebuilt)
			}
			if code, out := run(t, pgtest.ClientTool(t, s.Major, "pg_verifybackup"), "-n", o.Output); code != 0 {
				t.Errorf("pg_verifybackup: %s", out)
			}
			c.mustBeStock(t)
			c.full()
			mustBeSame(t, o.Output, c.dirs[len(c.dirs)-1], differs)
			want := pgtest.Digest(t, c.cluster)
			restored := pgtest.OpenDataDir(t, s, o.Output, pgtest.Config("allow_in_place_tablespaces = on"))
			restored.Start(t)
			pgtest.AssertSameDigests(t, pgtest.Digest(t, restored), want)
		})
	}
}

// TestRemovedRowsDoNotComeBack truncates a table before one incremental
// backup and has COPY extend it before the next. COPY adds pages in advance,
// which the log does not tell of. They are zeros, and not the pages that the
// full backup has there, with rows that were deleted.
func TestRemovedRowsDoNotComeBack(t *testing.T) {
	t.Parallel()
	list := servers(t)
	s := list[len(list)-1]
	c := newChain(t, s)
	c.cluster.SQL(t, "CREATE TABLE t AS SELECT i AS id, repeat('x', 400) AS t FROM generate_series(1, 20000) AS i")
	c.cluster.SQL(t, "VACUUM (FREEZE) t")
	c.backup()
	c.cluster.SQL(t, "DELETE FROM t WHERE id > 2000")
	c.cluster.SQL(t, "VACUUM t")
	c.backup()
	var rows strings.Builder
	for i := range 500 {
		fmt.Fprintf(&rows, "%d\t%s\n", 30000+i, strings.Repeat("y", 400))
	}
	if _, err := c.cluster.Connect(t, "postgres").CopyFrom(t.Context(), strings.NewReader(rows.String()), "COPY t FROM STDIN"); err != nil {
		t.Fatal(err)
	}
	c.backup()
	o := c.options("out")
	c.combine(o)
	file := strings.TrimSpace(c.cluster.Query(t, "SELECT pg_relation_filepath('t')"))
	for _, dir := range c.dirs[1:] {
		if _, err := os.Stat(filepath.Join(dir, filepath.Dir(file), "INCREMENTAL."+filepath.Base(file))); err != nil {
			t.Errorf("nothing is shown by this test: %v", err)
		}
	}
	content := read(t, filepath.Join(o.Output, file))
	zeros := 0
	for page := range slices.Chunk(content, 8192) {
		if bytes.Equal(page, make([]byte, 8192)) {
			zeros++
		}
	}
	if zeros == 0 {
		t.Error("nothing is shown by this test: COPY left no page of zeros")
	}
	c.full()
	if !bytes.Equal(content, read(t, filepath.Join(c.dirs[len(c.dirs)-1], file))) {
		t.Error("the table is not what a full backup has")
	}
	want := pgtest.Digest(t, c.cluster)
	restored := pgtest.OpenDataDir(t, s, o.Output)
	restored.Start(t)
	pgtest.AssertSameDigests(t, pgtest.Digest(t, restored), want)
}

// differs tells of the files that are another in each backup of the same
// cluster: what says when it was taken, and the log.
func differs(name string) bool {
	switch name {
	case "backup_label", "backup_manifest", "global/pg_control":
		return true
	}
	// Servers before the minor releases of August 2026 (18.6) clear bits of
	// the visibility map without telling the summarizer, so that incremental
	// backups lack such pages (src/backend/backup/basebackup_incremental.c).
	return strings.HasPrefix(name, "pg_wal/") || strings.HasSuffix(name, "_vm")
}

// mustBeSame compares two directories, file by file.
func mustBeSame(t *testing.T, got, want string, differs func(name string) bool) {
	t.Helper()
	gotFiles, wantFiles := files(t, got), files(t, want)
	for name := range wantFiles {
		switch {
		case differs(name):
		case !gotFiles[name]:
			t.Errorf("%s is missing", name)
		case !strings.HasSuffix(name, "/"):
			if a, b := read(t, filepath.Join(got, name)), read(t, filepath.Join(want, name)); !bytes.Equal(a, b) {
				t.Errorf("%s differs: %d and %d bytes", name, len(a), len(b))
			}
		}
	}
	for name := range gotFiles {
		if !wantFiles[name] && !differs(name) {
			t.Errorf("%s is more than there should be", name)
		}
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// files is everything below dir, also behind links, by name.
func files(t *testing.T, dir string) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	var walk func(name string)
	walk = func(name string) {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if !info.IsDir() {
			found[name] = true
			return
		}
		found[name+"/"] = true
		entries, err := os.ReadDir(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			walk(filepath.Join(name, e.Name()))
		}
	}
	walk(".")
	return found
}
