package pgtest

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// failure stands in for a test that is expected to fail.
type failure struct {
	testing.TB
	message string
}

func (f *failure) Helper() {}
func (f *failure) Fatalf(format string, args ...any) {
	f.message = fmt.Sprintf(format, args...)
	runtime.Goexit()
}
func (f *failure) Errorf(format string, args ...any) { f.message = fmt.Sprintf(format, args...) }

// failing runs f and gives the message that it failed with.
func failing(t *testing.T, f func(t testing.TB)) string {
	t.Helper()
	tb := &failure{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(tb)
	}()
	<-done
	return tb.message
}

func TestEveryVersionStartsAndKeepsItsDataThroughACrash(t *testing.T) {
	ForEachVersion(t, func(t *testing.T, s Server) {
		begin := time.Now()
		c := s.Init(t)
		c.Start(t)
		t.Logf("%s %s up after %v", s, s.Version, time.Since(begin))
		if got, want := c.Query(t, "SHOW server_version_num"), fmt.Sprint(s.Major); !strings.HasPrefix(got, want) {
			t.Errorf("server_version_num: got %s, want %s…", got, want)
		}
		if got := c.Query(t, "SHOW data_checksums"); got != "on" {
			t.Errorf("data_checksums: got %s, want on", got)
		}
		begin = time.Now()
		c.Load(t)
		c.CreateTablespace(t, "elsewhere")
		c.CreateTemporaryTable(t)
		t.Logf("loaded after %v", time.Since(begin))
		begin = time.Now()
		before := Digest(t, c)
		t.Logf("digest of %d objects after %v", len(before), time.Since(begin))
		for _, key := range []string{"shop: table public.big", "shop: sequence public.used", "shop: large objects", OddDatabase + ": table public.odd table", "postgres: table public.in_elsewhere"} {
			if before[key] == "" {
				t.Errorf("digest has no %q", key)
			}
		}
		c.Kill(t)
		if c.Running() {
			t.Error("the server runs after Kill")
		}
		c.Start(t)
		AssertSameDigests(t, Digest(t, c), before)
		if got := c.QueryIn(t, MainDatabase, "SELECT count(*) FROM scratch"); got != "0" {
			t.Errorf("unlogged table has %s rows after a crash, want 0", got)
		}
		if !strings.Contains(c.Log(), "automatic recovery in progress") {
			t.Error("the log tells of no recovery")
		}
		c.Restart(t, Fast)
		c.Stop(t, Smart)
		if _, err := os.Stat(filepath.Join(c.DataDir, "postmaster.pid")); err == nil {
			t.Error("postmaster.pid is there after Stop")
		}
	})
}

func TestMissingReleaseFailsTheTestWithTheRemedy(t *testing.T) {
	got := failing(t, func(t testing.TB) { Require(t, 7) })
	if !strings.Contains(got, "run scripts/postgres.sh 7") {
		t.Errorf("got %q", got)
	}
	t.Setenv(EnvVersions, "7")
	if got := failing(t, func(t testing.TB) { Servers(t) }); !strings.Contains(got, "scripts/postgres.sh 7") {
		t.Errorf("got %q", got)
	}
}

func TestClientToolIsOfTheReleaseThatIsAskedFor(t *testing.T) {
	t.Parallel()
	for _, major := range []int{15, 17, 18, 19} {
		out, err := exec.Command(ClientTool(t, major, "pg_verifybackup"), "--version").CombinedOutput()
		if want := fmt.Sprintf("pg_verifybackup (PostgreSQL) %d", major); err != nil || !strings.HasPrefix(string(out), want) {
			t.Errorf("release %d: got %q, %v, want %q", major, out, err, want)
		}
	}
	if got := failing(t, func(t testing.TB) { ClientTool(t, 7, "pg_verifybackup") }); !strings.Contains(got, "run scripts/clients.sh") {
		t.Errorf("got %q", got)
	}
}

func TestFirstInstallationOfAReleaseWinsAndToolsComeFromAll(t *testing.T) {
	t.Parallel()
	install := func(version string, programs ...string) string {
		dir := t.TempDir()
		for _, name := range append(programs, "postgres", "initdb") {
			script := "#!/bin/sh\necho 'postgres (PostgreSQL) " + version + " (Debian 1)'\n"
			if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	first, second, beta := install("97.3"), install("97.10", "pg_waldump"), install("98beta2")
	servers := discover([]string{beta, t.TempDir(), first, second, first, "", filepath.Join(first, "none")})
	if len(servers) != 2 || servers[0].Major != 97 || servers[1].Major != 98 {
		t.Fatalf("got %+v, want releases 97 and 98", servers)
	}
	if servers[0].BinDir != first || servers[0].Version != "97.3" || servers[1].Version != "98beta2" {
		t.Errorf("got %+v", servers)
	}
	if path, ok := servers[0].Tool("pg_waldump"); !ok || path != filepath.Join(second, "pg_waldump") {
		t.Errorf("pg_waldump of 97: got %q, %v", path, ok)
	}
	if path, ok := servers[1].Tool("pg_waldump"); ok {
		t.Errorf("pg_waldump of 98: got %q, want none", path)
	}
}

func TestOptionsReachInitdb(t *testing.T) {
	t.Parallel()
	c := Newest(t).Init(t, NoChecksums(), SegmentSize(1), GroupAccess(), Fresh(), Config("work_mem = 5MB"))
	c.Start(t)
	for setting, want := range map[string]string{
		"data_checksums": "off", "wal_segment_size": "1MB", "data_directory_mode": "0750", "work_mem": "5MB", "wal_keep_size": "0",
	} {
		if got := c.Query(t, "SHOW "+setting); got != want {
			t.Errorf("%s: got %s, want %s", setting, got, want)
		}
	}
	other := Newest(t).Init(t)
	other.Start(t)
	if c.SystemIdentifier(t) == other.SystemIdentifier(t) {
		t.Error("a fresh cluster has the system identifier of another one")
	}
}

func TestTLSAndPasswordAreDemanded(t *testing.T) {
	t.Parallel()
	c := Newest(t).Init(t, TLS(), Password("pass 'wörd'"))
	c.Start(t)
	connect := func(conninfo string) error {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		conn, err := pgconn.Connect(ctx, conninfo)
		if err == nil {
			err = conn.Close(ctx)
		}
		return err
	}
	for _, good := range []string{c.TCPConnString(), c.URI(), c.TCPConnString("replication=true")} {
		if err := connect(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		c.TCPConnString("password=wrong"), c.TCPConnString("sslmode=disable"),
		c.TCPConnString("sslrootcert=" + quoteConnInfo(c.TLS.ClientCert)),
	} {
		if connect(bad) == nil {
			t.Errorf("%s: it connects", bad)
		}
	}
}

func TestDigestTellsWhatDiffers(t *testing.T) {
	t.Parallel()
	c := Newest(t).Init(t)
	c.Start(t)
	c.Load(t)
	before := Digest(t, c)
	for _, change := range []struct{ database, sql, want string }{
		{MainDatabase, "UPDATE big SET b = 'x' WHERE id = 12345", "shop: table public.big: got"},
		{MainDatabase, "UPDATE big SET b = repeat(md5((id * 7)::text), 2); SELECT nextval('counter')", "shop: sequence public.counter: got"},
		{MainDatabase, "SELECT setval('counter', 300); SELECT lo_put(min(oid), 10, 'x') FROM pg_largeobject_metadata", "shop: large objects: got"},
	} {
		c.SQLIn(t, change.database, change.sql)
		differences := compareDigests(Digest(t, c), before)
		if len(differences) != 1 || !strings.HasPrefix(differences[0], change.want) {
			t.Errorf("after %s: got %q, want one that begins with %q", change.sql, differences, change.want)
		}
	}
	c.SQL(t, "CREATE DATABASE another")
	c.SQLIn(t, OddDatabase, `DROP TABLE "odd table"`)
	all := strings.Join(compareDigests(Digest(t, c), before), "\n")
	for _, want := range []string{"cluster: databases: got", "another: relations: not in the original", "table public.odd table: missing"} {
		if !strings.Contains(all, want) {
			t.Errorf("got %q, want %q in it", all, want)
		}
	}
}

func TestWriterCountsWhatIsCommittedAndFindsGaps(t *testing.T) {
	t.Parallel()
	c := Newest(t).Init(t)
	c.Start(t)
	w := StartWriter(t, c, WriterOptions{})
	w.WaitCommitted(t, 100)
	c.Restart(t, Immediate)
	w.WaitCommitted(t, 100)
	c.TerminateWalsenders(t, "")
	w.Stop(t)
	if got := w.AssertContains(t, c, w.Committed()); got < w.Committed() {
		t.Errorf("AssertContains gives %d, less than the %d committed", got, w.Committed())
	}
	for _, test := range []struct{ sql, want string }{
		{"SELECT", "at least"},
		{"UPDATE writer_last SET n = n - 1", "its transaction says"},
		{"UPDATE writer_last SET n = n + 1; UPDATE writer_row SET t = 'x' || t WHERE n = 50", "another text"},
		{"DELETE FROM writer_row WHERE n = 50", "gaps"},
	} {
		c.SQL(t, test.sql)
		got := failing(t, func(t testing.TB) { w.AssertContains(t, c, w.Committed()+1000) })
		if !strings.Contains(got, test.want) {
			t.Errorf("after %s: got %q, want %q in it", test.sql, got, test.want)
		}
	}
}

func TestStandbyFollowsAndIsPromoted(t *testing.T) {
	ForEachVersion(t, func(t *testing.T, s Server) {
		primary := s.Init(t)
		primary.Start(t)
		primary.Load(t)
		primary.CreateTablespace(t, "elsewhere")
		if s.Major >= 15 {
			primary.CreateInPlaceTablespace(t, "inside")
		}
		w := StartWriter(t, primary, WriterOptions{})
		w.WaitCommitted(t, 50)
		standby := NewStandby(t, primary, Slot("standby"))
		standby.Start(t)
		w.WaitCommitted(t, 50)
		w.Stop(t)
		primary.WaitCatchup(t, standby)
		AssertSameDigests(t, Digest(t, standby), Digest(t, primary))
		w.AssertContains(t, standby, w.Committed())
		if n := primary.TerminateWalsenders(t, "state = 'streaming'"); n != 1 {
			t.Errorf("%d walsenders ended, want 1", n)
		}
		const location = "SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'elsewhere'"
		if there := primary.Query(t, location); there == "" || there == standby.Query(t, location) {
			t.Errorf("primary and standby share the tablespace directory %q", there)
		}
		primary.SQL(t, "CREATE TABLE later ()")
		primary.WaitCatchup(t, standby)
		primary.Stop(t, Fast)
		standby.Promote(t)
		standby.SQL(t, "CREATE TABLE latest (); CHECKPOINT")
		if got := standby.Timeline(t); got != "2" {
			t.Errorf("timeline %s after the promotion, want 2", got)
		}
	})
}

func TestAdoptedDataDirectoryStartsUnchanged(t *testing.T) {
	t.Parallel()
	s := Newest(t)
	c := s.Init(t)
	c.Start(t)
	c.SQL(t, "CREATE TABLE kept AS SELECT 42 AS n")
	tablespace := c.CreateTablespace(t, "elsewhere")
	c.Stop(t, Fast)

	// As the clone of a test process run by root: its files belong to root.
	dir := filepath.Join(t.TempDir(), "clone")
	copyAsSelf(t, dir, c.DataDir)
	links, _ := filepath.Glob(filepath.Join(dir, "pg_tblspc", "*"))
	if len(links) != 1 {
		t.Fatalf("%d links in pg_tblspc, want 1", len(links))
	}
	own := filepath.Join(t.TempDir(), "tablespace")
	copyAsSelf(t, own, tablespace)
	if err := os.Remove(links[0]); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(own, links[0]); err != nil {
		t.Fatal(err)
	}
	conf, err := os.ReadFile(filepath.Join(dir, "postgresql.conf"))
	if err != nil {
		t.Fatal(err)
	}

	clone := OpenDataDir(t, s, dir, Config("work_mem = '7MB'"))
	c.Start(t)
	clone.Start(t)
	if got := clone.Query(t, "SELECT n FROM kept; SELECT count(*) FROM in_elsewhere; SHOW work_mem"); got != "7MB" {
		t.Errorf("work_mem: got %s, want 7MB", got)
	}
	if got := clone.Query(t, "SHOW data_directory"); got != dir {
		t.Errorf("data_directory: got %s, want %s", got, dir)
	}
	if after, err := os.ReadFile(filepath.Join(dir, "postgresql.conf")); err != nil || string(after) != string(conf) {
		t.Errorf("postgresql.conf was changed (error: %v)", err)
	}
	AssertSameDigests(t, Digest(t, clone), Digest(t, c))

	clone.Stop(t, Fast)
	if err := os.Remove(filepath.Join(dir, "global", "pg_control")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := clone.TryStart(ctx); err == nil || ctx.Err() != nil || clone.Running() {
		t.Errorf("start without pg_control: error %v, running %v", err, clone.Running())
	}
}

func copyAsSelf(t *testing.T, dst, src string) {
	t.Helper()
	if err := copyTree(dst, src, nil); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(dst, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, os.Geteuid(), os.Getegid())
	})
	if err != nil {
		t.Fatal(err)
	}
}
