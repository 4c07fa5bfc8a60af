package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/internal/pgtest"
	"github.com/pgbraid/pgbraid/logstream"
)

// programCopy puts the program where a server's user may run it too. Under
// this name the test binary is pgbraid (TestMain).
func programCopy(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	from, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = from.Close() }() // only read from
	dir := pgtest.TempDir(t)
	path := filepath.Join(dir, "pgbraid")
	to, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(to, from)
	if err := errors.Join(err, to.Close()); err != nil {
		t.Fatal(err)
	}
	pgtest.GiveToServer(t, dir)
	return path
}

// statusOf is what pgbraid status --json says.
func statusOf(t *testing.T, dir string, args ...string) statusResult {
	t.Helper()
	var out, errOut bytes.Buffer
	err := run(t.Context(), append([]string{"status", "-D", dir, "--json"}, args...), &out, &errOut)
	var s statusResult
	if jsonErr := json.Unmarshal(out.Bytes(), &s); jsonErr != nil {
		t.Fatalf("%v, %v: %s", err, jsonErr, out.String())
	}
	if s.Whole != (err == nil) {
		t.Errorf("whole is %t, and the error %v", s.Whole, err)
	}
	return s
}

// endByWaldump is the end of the last record that pg_waldump finds in a
// cluster's pg_wal from a segment on. Pages have 8 kB.
func endByWaldump(t *testing.T, c *pgtest.Cluster, segment string, size logstream.SegmentSize) logstream.LSN {
	t.Helper()
	tool, ok := c.Server.Tool("pg_waldump")
	if !ok {
		t.Fatal("no pg_waldump")
	}
	// It ends with an error where the WAL does.
	out, _ := exec.Command(tool, "-p", filepath.Join(c.DataDir, "pg_wal"), segment).Output()
	found := regexp.MustCompile(`len \(rec/tot\):\s*\d+/\s*(\d+), tx:\s*\d+, lsn: ([0-9A-F]+/[0-9A-F]+)`).FindAllSubmatch(out, -1)
	if len(found) == 0 {
		t.Fatalf("pg_waldump finds no record in %s", segment)
	}
	last := found[len(found)-1]
	length, _ := strconv.Atoi(string(last[1]))
	at, err := logstream.ParseLSN(string(last[2]))
	if err != nil {
		t.Fatal(err)
	}
	for left := logstream.LSN(length+7) &^ 7; left > 0; {
		if at%8192 == 0 {
			at += 24
			if size.Offset(at) == 24 {
				at += 16
			}
		}
		part := min(left, 8192-at%8192)
		at, left = at+part, left-part
	}
	return at
}

// An archive in all codecs, over a promotion, with a partial segment at the
// end: status tells its end exactly, and a server that recovers through
// restore-wal reaches it.
func TestArchiveIsRecoveredToTheEndThatStatusTells(t *testing.T) {
	t.Parallel()
	const size = logstream.SegmentSize(1 << 20)
	program, dir := programCopy(t), pgtest.TempDir(t)
	server := pgtest.Distribution(t)
	config := pgtest.Config("wal_keep_size = '1GB'", "max_wal_size = '1GB'", "checkpoint_timeout = '1h'", "autovacuum = off")
	p := server.Init(t, pgtest.SegmentSize(1), config)
	p.Start(t)
	receive := func(codec string) {
		t.Helper()
		end := p.CurrentLSN(t)
		p.SQL(t, "SELECT pg_create_restore_point('behind')")
		out, err := exec.Command(program, "receive", "-D", dir, "-d", p.ConnString(), "-Z", codec, "-n", "-E", end).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", codec, err, out)
		}
	}
	receive("none") // the log begins before the copies
	p.SQL(t, "CREATE TABLE t (n int, filler text)")
	standby := pgtest.NewStandby(t, p, config)
	standby.Start(t)
	base := pgtest.NewStandby(t, p)

	rows := 0
	insert := func(c *pgtest.Cluster, switches int) {
		for range switches {
			c.SQL(t, fmt.Sprintf("INSERT INTO t SELECT n, md5(n::text) FROM generate_series(%d, %d) n", rows+1, rows+1000))
			rows += 1000
			c.SwitchWAL(t)
		}
	}
	for _, codec := range []string{"none", "gzip", "lz4", "zstd"} {
		insert(p, 3)
		receive(codec)
	}
	both := fmt.Sprintf("host=%s,%s port=%d,%d user=postgres dbname=postgres target_session_attrs=read-write sslmode=disable",
		p.SocketDir, standby.SocketDir, p.Port, standby.Port)
	receiver := exec.Command(program, "receive", "-D", dir, "-d", both, "-Z", "zstd", "-s", "1")
	var log bytes.Buffer
	receiver.Stdout, receiver.Stderr = &log, &log
	if err := receiver.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	t.Cleanup(func() {
		if !ended {
			_ = receiver.Process.Kill() // it may have ended
			_ = receiver.Wait()
		}
	})
	await := func(timeline uint32, lsn string) {
		t.Helper()
		want, err := logstream.ParseLSN(lsn)
		if err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			s := statusOf(t, dir)
			if !s.Whole {
				t.Fatalf("while it is received it is not whole: %+v", s)
			}
			if at, err := logstream.ParseLSN(s.NewestLSN); err == nil && s.NewestTimeline == timeline && at >= want {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("not at %s: %+v", lsn, s)
			}
		}
	}
	insert(p, 2)
	p.SQL(t, "DELETE FROM t WHERE n = 1")
	rows--
	middle, middleTime := p.CurrentLSN(t), time.Now()
	insert(p, 1)
	await(1, p.CurrentLSN(t))
	p.WaitCatchup(t, standby)
	p.Stop(t, pgtest.Immediate)
	standby.Promote(t)
	insert(standby, 2)
	begin := time.Now()
	standby.SQL(t, "INSERT INTO t SELECT 0, 'last'")
	commit := time.Now()
	rows++
	await(2, standby.CurrentLSN(t))
	standby.Stop(t, pgtest.Fast) // waits for the receiver
	await(2, "0/0")
	_ = receiver.Process.Signal(syscall.SIGTERM) // Wait tells
	err := receiver.Wait()
	ended = true
	if err != nil {
		t.Fatalf("receiver: %v: %s", err, log.Bytes())
	}

	s := statusOf(t, dir, "--check")
	if !s.Whole || s.ServerMajor != server.Major || s.Compressed.Files < 6 || s.Plain.Files < 2 || len(s.Timelines) != 2 {
		t.Errorf("%+v", s)
	}
	newest, err := logstream.ParseLSN(s.NewestLSN)
	if err != nil {
		t.Fatal(err)
	}
	if want := endByWaldump(t, standby, size.FileName(2, size.Segment(newest-1)), size); newest != want {
		t.Errorf("newest is %s, pg_waldump says %s", newest, want)
	}
	if s.LastCommit == nil || s.LastCommit.Before(begin.Add(-time.Second)) || s.LastCommit.After(commit.Add(time.Second)) {
		t.Errorf("last commit %v, want between %v and %v", s.LastCommit, begin, commit)
	}

	pgtest.GiveToServer(t, dir)
	if err := os.Remove(filepath.Join(base.DataDir, "standby.signal")); err != nil {
		t.Fatal(err)
	}
	base.SetRecovery(t, pgtest.Recovery{
		RestoreCommand: fmt.Sprintf(`%s restore-wal --partial -D %s "%%f" "%%p"`, program, dir),
		Settings:       []string{"primary_conninfo = ''", "recovery_target_timeline = 'latest'"},
	})
	base.Start(t)
	base.WaitFor(t, "SELECT pg_is_in_recovery()", "f", 60*time.Second)
	if got := base.Query(t, "SELECT count(*) FROM t"); got != strconv.Itoa(rows) {
		t.Errorf("%s rows, want %d", got, rows)
	}
	content, err := os.ReadFile(filepath.Join(base.DataDir, "pg_wal", "00000003.history"))
	if err != nil {
		t.Fatal(err)
	}
	history, err := logstream.ParseHistory(content)
	if err != nil {
		t.Fatal(err)
	}
	if end, _ := history.SwitchPoint(2); end != newest {
		t.Errorf("recovery ended at %s, status says %s", end, newest)
	}
	base.Stop(t, pgtest.Fast)
	checkNewestBeforeFork(t, dir, size, middle, middleTime)
}

// checkNewestBeforeFork takes from an archive all of timeline 2, and lets that
// one begin at fork instead, with a segment that is still empty. What
// timeline 1 has behind it, from before on, does not count.
func checkNewestBeforeFork(t *testing.T, dir string, size logstream.SegmentSize, fork string, before time.Time) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "00000002*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	history := []byte("1\t" + fork + "\tfork\n")
	if err := os.WriteFile(filepath.Join(dir, "00000002.history"), history, 0o600); err != nil {
		t.Fatal(err)
	}
	at, err := logstream.ParseLSN(fork)
	if err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(dir, size.FileName(2, size.Segment(at))+logstream.PartialSuffix)
	if err := os.WriteFile(empty, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	s := statusOf(t, dir)
	if !s.Whole || s.NewestLSN != fork || s.NewestTimeline != 1 || s.LastCommit == nil || s.LastCommit.After(before) {
		t.Errorf("want the newest to be the fork, %s, before %v: %+v", fork, before, s)
	}
}

// A fault must end a recovery; the server must not take it for the end of the
// archive and open for writing.
func TestFaultInTheArchiveEndsARecovery(t *testing.T) {
	t.Parallel()
	program, dir := programCopy(t), pgtest.TempDir(t)
	p := pgtest.Distribution(t).Init(t, pgtest.SegmentSize(1))
	p.Start(t)
	base := pgtest.NewStandby(t, p)
	if err := os.Remove(filepath.Join(base.DataDir, "standby.signal")); err != nil {
		t.Fatal(err)
	}
	// Whichever segment the backup begins with.
	entries, err := os.ReadDir(filepath.Join(p.DataDir, "pg_wal"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if len(e.Name()) == 24 {
			if err := os.WriteFile(filepath.Join(dir, e.Name()+".zst"), []byte("damaged"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	pgtest.GiveToServer(t, dir)
	base.SetRecovery(t, pgtest.Recovery{
		RestoreCommand: fmt.Sprintf(`%s restore-wal -D %s "%%f" "%%p"`, program, dir),
		Settings:       []string{"primary_conninfo = ''"},
	})
	if err := base.TryStart(t.Context()); err == nil {
		t.Fatal("the server started")
	}
	if log := base.Log(); !strings.Contains(log, "exit code 200") || !strings.Contains(log, "pgbraid: error: ") {
		t.Errorf("log: %s", log)
	}
}

// What pg_receivewal leaves when it is killed in the middle of a compressed
// segment is read as far as it goes.
func TestKilledPgReceivewalsArchiveIsRead(t *testing.T) {
	t.Parallel()
	const size = logstream.SegmentSize(1 << 20)
	server := pgtest.Distribution(t)
	tool, ok := server.Tool("pg_receivewal")
	if !ok {
		t.Fatal("no pg_receivewal")
	}
	p := server.Init(t, pgtest.SegmentSize(1), pgtest.Config("wal_keep_size = '1GB'", "checkpoint_timeout = '1h'", "autovacuum = off"))
	p.Start(t)
	p.SQL(t, "CREATE TABLE t (n int, filler text)")
	for _, codec := range []string{"none", "gzip", "lz4"} {
		dir := pgtest.TempDir(t)
		receiver := exec.Command(tool, "-D", dir, "-d", p.ConnString(), "-Z", codec, "-n", "--synchronous")
		if err := receiver.Start(); err != nil {
			t.Fatal(err)
		}
		p.WaitFor(t, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "1", 30*time.Second)
		p.SwitchWAL(t)
		for range 12 {
			p.SQL(t, "INSERT INTO t SELECT n, md5(random()::text) || md5(n::text) FROM generate_series(1, 1500) n")
		}
		p.WaitFor(t, "SELECT flush_lsn >= '"+p.CurrentLSN(t)+"' FROM pg_stat_replication", "t", 30*time.Second)
		_ = receiver.Process.Kill() // Wait tells
		_ = receiver.Wait()         // it was killed

		s := statusOf(t, dir, "--check")
		if !s.Whole || s.Partial.Files != 1 || len(s.Timelines) != 1 {
			t.Errorf("%s: %+v", codec, s)
			continue
		}
		newest, err := logstream.ParseLSN(s.NewestLSN)
		if err != nil {
			t.Fatal(err)
		}
		last := size.Segment(newest - 1)
		for n := last - 1; n <= last; n++ {
			name := size.FileName(1, n)
			path := filepath.Join(t.TempDir(), "x")
			from, err := logstream.RestoreWAL(t.Context(), dir, name, path, logstream.RestoreOptions{Partial: true})
			if err != nil || from == "" {
				t.Errorf("%s %s: from %q, %v", codec, name, from, err)
				continue
			}
			got, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(filepath.Join(p.DataDir, "pg_wal", name))
			if err != nil {
				t.Fatal(err)
			}
			valid := min(int(newest-size.Start(n)), int(size))
			if len(got) != int(size) || !bytes.Equal(got[:valid], want[:valid]) {
				t.Errorf("%s: %s differs from the server's in its first %d bytes", codec, from, valid)
			}
		}
		t.Logf("%s: newest %s, server at %s", codec, newest, p.CurrentLSN(t))
	}
}
