package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/internal/pgtest"
	"github.com/pgbraid/pgbraid/logstream"
)

// A running standby archives what it restores, with archive_mode = always:
// under its final name a partial segment, filled up with zeros, would be taken
// for a complete one for ever. So it does not get one; a recovery to the end of
// the archive does, where it asks for that.
func TestStandbyGetsNoPartialSegmentAndARecoveryThatAsksForItDoes(t *testing.T) {
	t.Parallel()
	const size = logstream.SegmentSize(1 << 20)
	program, dir, archived := programCopy(t), pgtest.TempDir(t), pgtest.TempDir(t)
	server := pgtest.Distribution(t)
	p := server.Init(t, pgtest.SegmentSize(1), pgtest.Config("wal_keep_size = '1GB'", "checkpoint_timeout = '1h'", "autovacuum = off"))
	p.Start(t)
	p.SQL(t, "CREATE TABLE t (n int)")
	receive := func(dir string) {
		t.Helper()
		end := p.CurrentLSN(t)
		p.SQL(t, "SELECT pg_create_restore_point('behind')")
		out, err := exec.Command(program, "receive", "-D", dir, "-d", p.ConnString(), "-n", "-E", end).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	receive(dir) // the log begins before the copies
	// What a standby does after each piece of WAL that it got from an archive.
	standby := pgtest.NewStandby(t, p, pgtest.Config("archive_mode = always", "archive_command = 'cp %p "+archived+"/%f'", "wal_retrieve_retry_interval = '200ms'"))
	bases := map[bool]*pgtest.Cluster{false: pgtest.NewStandby(t, p), true: pgtest.NewStandby(t, p)}
	p.SQL(t, "INSERT INTO t SELECT generate_series(1, 1000)")
	p.SwitchWAL(t)
	p.SQL(t, "INSERT INTO t SELECT generate_series(1001, 1500)")
	end, err := logstream.ParseLSN(p.CurrentLSN(t))
	if err != nil {
		t.Fatal(err)
	}
	receive(dir)
	partial := size.FileName(1, size.Segment(end))
	if _, err := os.Stat(filepath.Join(dir, partial+logstream.PartialSuffix)); err != nil {
		t.Fatal(err)
	}

	pgtest.GiveToServer(t, dir)
	pgtest.GiveToServer(t, archived)
	command := program + " restore-wal %s -D " + dir + ` "%%f" "%%p"`
	standby.SetRecovery(t, pgtest.Recovery{Standby: true, RestoreCommand: fmt.Sprintf(command, "-v"), Settings: []string{"primary_conninfo = ''"}})
	standby.Start(t)
	standby.WaitReplay(t, size.Start(size.Segment(end)).String())
	// It asks for the segment again and again.
	waitUntil(t, "the standby to ask for "+partial, func() bool { return strings.Count(standby.Log(), partial+" ") >= 3 })
	if log := standby.Log(); !strings.Contains(log, partial+" is there only in part, in "+partial+".partial") {
		t.Errorf("the standby's log does not tell of the partial segment: %s", log)
	}
	before := filepath.Join(archived, size.FileName(1, size.Segment(end)-1))
	waitUntil(t, "the standby to archive", func() bool { _, err := os.Stat(before); return err == nil })
	if _, err := os.Stat(filepath.Join(archived, partial)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s was archived before it was complete: %v", partial, err)
	}
	if n := standby.Query(t, "SELECT count(*) FROM t"); n != "1000" {
		t.Errorf("%s rows, want the 1000 of the complete segments", n)
	}

	// A recovery to the end gets all that there is where it asks for that; where
	// it does not, the log says what it leaves out.
	for asks, restored := range bases {
		option, want := "", "1000"
		if asks {
			option, want = "--partial", "1500"
		}
		if err := os.Remove(filepath.Join(restored.DataDir, "standby.signal")); err != nil {
			t.Fatal(err)
		}
		restored.SetRecovery(t, pgtest.Recovery{
			RestoreCommand: fmt.Sprintf(command, option), Settings: []string{"primary_conninfo = ''", "recovery_target_timeline = 'latest'"},
		})
		restored.Start(t)
		restored.WaitFor(t, "SELECT pg_is_in_recovery()", "f", recoveryTime)
		if n := restored.Query(t, "SELECT count(*) FROM t"); n != want {
			t.Errorf("partial %v: %s rows, want %s", asks, n, want)
		}
		if told := strings.Contains(restored.Log(), partial+" is there only in part"); told == asks {
			t.Errorf("partial %v: the log tells of it: %v", asks, told)
		}
		restored.Stop(t, pgtest.Fast)
	}

	// Once it is complete the standby gets it, and archives it as it is.
	p.SwitchWAL(t)
	p.SQL(t, "INSERT INTO t SELECT generate_series(1501, 2000)")
	// The standby must never find a file that it may not read.
	next := pgtest.TempDir(t)
	for _, name := range []string{size.FileName(1, size.Segment(end)-1), partial + logstream.PartialSuffix} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err := errors.Join(err, os.WriteFile(filepath.Join(next, name), content, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	receive(next)
	pgtest.GiveToServer(t, next)
	if err := os.Rename(filepath.Join(next, partial), filepath.Join(dir, partial)); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the standby to archive "+partial, func() bool { _, err := os.Stat(filepath.Join(archived, partial)); return err == nil })
	standby.WaitFor(t, "SELECT count(*) FROM t", "1500", recoveryTime)
	got, err := os.ReadFile(filepath.Join(archived, partial))
	if err != nil {
		t.Fatal(err)
	}
	complete, err := os.ReadFile(filepath.Join(p.DataDir, "pg_wal", partial))
	if err != nil || !bytes.Equal(got, complete) {
		t.Errorf("what the standby archived is not the primary's segment: %v", err)
	}
}

const recoveryTime = 5 * time.Minute

// waitUntil waits until something holds.
func waitUntil(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(recoveryTime); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited for %s", what)
		}
	}
}
