package dropin

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/internal/pgtest"
)

func TestThatTheReceiverIsTheTools(t *testing.T) {
	t.Parallel()
	for _, release := range []int{14, 15, 16, 17, 18} {
		c := pgtest.Require(t, release).Init(t)
		c.Start(t)
		b := newBed(t, "pg_receivewal").at(c)
		b.reset = func() {
			c.SQL(t, `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots;
				SELECT pg_create_physical_replication_slot('kept'), pg_create_physical_replication_slot('reserved', true), pg_create_physical_replication_slot('spare')`)
		}
		c.SwitchWAL(t)
		end := c.CurrentLSN(t)
		c.SQL(t, "CREATE TABLE t AS SELECT generate_series(1, 1000)")
		for _, line := range []string{
			"-D d -S missing -n", "-D d -S missing -n -v", "-D d -S missing -n -v -E END", "-D d -S Bad -n", "-D d -S mi\"ss -n",
			"-D d -n -v -E END", "-D d -n -v -S kept -E END", "-D d -n -v -S reserved -E END", "-D d -v -E 0/1", "-D d -v -n -E 0/1", "-D d -E 0/1 -S missing -n",
			"-D d -d dbname=nonesuch -n -E 0/1", "-D d -d dbname=postgres -n -E 0/1 -v", "-D d -U missing -w", "-D d -U missing -w -n",
			"--create-slot --slot=", "--create-slot -S Bad", "--create-slot -S kept", "--create-slot -S kept --if-not-exists", "--create-slot -S Bad --if-not-exists",
			"--drop-slot -S missing", "--drop-slot --slot=", "--drop-slot -S missing --if-not-exists",
			"--create-slot -S one -v -D nowhere", "--drop-slot -S spare -v", "--create-slot -S two -d dbname=postgres", "--drop-slot -S spare -Z gzip",
		} {
			if release < 15 && strings.Contains(line, "reserved") {
				continue // ours asks over SQL where the slot keeps WAL from
			}
			b.alikeIn(t, empty, words(strings.ReplaceAll(line, "END", end))...)
		}
	}
}

func TestThatALostStreamIsTold(t *testing.T) {
	t.Parallel()
	for _, release := range []int{14, 15, 18} {
		t.Run(pgtest.Require(t, release).String(), func(t *testing.T) {
			t.Parallel()
			c := pgtest.Require(t, release).Init(t)
			c.Start(t)
			b := newBed(t, "pg_receivewal").at(c)
			streaming := func(t *testing.T) {
				t.Helper()
				c.SQL(t, "CREATE TABLE IF NOT EXISTS t (n int); INSERT INTO t SELECT generate_series(1, 100)")
				c.WaitFor(t, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sent_lsn >= pg_current_wal_flush_lsn()", "1", 30*time.Second)
			}
			for _, line := range []string{"-D d -n", "-D d -n -v"} {
				b.bothRunning(t, line, func(t *testing.T, _ *running) {
					streaming(t)
					c.TerminateWalsenders(t, "true")
				})
				b.bothRunning(t, line, func(t *testing.T, _ *running) {
					streaming(t)
					c.Stop(t, pgtest.Fast)
					c.Start(t)
				})
				b.bothRunning(t, line, func(t *testing.T, _ *running) {
					streaming(t)
					c.Kill(t)
					c.Start(t)
				})
				b.bothRunning(t, line, func(t *testing.T, r *running) {
					streaming(t)
					_ = r.cmd.Process.Signal(syscall.SIGTERM) // it runs
				})
			}
			// A slot that is not there may be made.
			b.bothRunning(t, "-D d -S missing -v", func(t *testing.T, r *running) {
				r.waitFor(t, "disconnected; waiting 5 seconds to try again", 2)
				_ = r.cmd.Process.Kill() // it runs
			})
		})
	}
}

func TestThatAMadeSlotIsStreamedFrom(t *testing.T) {
	t.Parallel()
	c := distribution(t)
	b := newBed(t, "pg_receivewal").at(c)
	dir := t.TempDir()
	r := b.start(t, b.ours, dir, "-D", dir, "-S", "late")
	r.waitFor(t, "pg_receivewal: error: replication slot \"late\" does not exist\npg_receivewal: disconnected; waiting 5 seconds to try again\n", 1)
	c.SQL(t, "SELECT pg_create_physical_replication_slot('late')")
	c.WaitFor(t, "SELECT active FROM pg_replication_slots WHERE slot_name = 'late'", "t", 30*time.Second)
	if err := r.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := r.wait(t); code != 0 {
		t.Errorf("exit code %d:\n%s", code, r.said.String())
	}
}

func TestThatSegmentsInTheDirectoryAreTakenAsTheToolTakesThem(t *testing.T) {
	t.Parallel()
	c := distribution(t)
	c.SwitchWAL(t)
	end := c.CurrentLSN(t)
	b := newBed(t, "pg_receivewal").at(c)
	complete := make([]byte, 16<<20)
	for name, content := range map[string][]byte{
		"000000010000000000000001": []byte("short"), "000000010000000000000001.gz": zipped(t), "0000000100000000000000FF": nil,
		"000000090000000000000001.partial": complete, "unrelated": nil,
	} {
		put := func(dir string) { _ = os.WriteFile(filepath.Join(dir, name), content, 0o600) }
		b.alikeIn(t, put, words("-D . -n -v -E 0/1")...)
		b.alikeIn(t, put, words("-D . -n -v -S missing -E "+end)...)
	}
}

// zipped is a compressed segment that is too short.
func zipped(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write([]byte("short"))
	if e := w.Close(); err != nil || e != nil {
		t.Fatal(err, e)
	}
	return b.Bytes()
}

// TestThatAPromotionIsTold has both tools follow the same standby.
func TestThatAPromotionIsTold(t *testing.T) {
	t.Parallel()
	for _, release := range []int{14, 18} {
		c := pgtest.Require(t, release).Init(t)
		c.Start(t)
		standby := pgtest.NewStandby(t, c)
		standby.Start(t)
		c.SQL(t, "CREATE TABLE t AS SELECT generate_series(1, 100)")
		c.WaitCatchup(t, standby)
		b := newBed(t, "pg_receivewal").at(standby)
		var dirs []string
		var all []*running
		for _, program := range []string{b.ours, b.stock} {
			dir := t.TempDir()
			empty(dir)
			dirs = append(dirs, dir)
			all = append(all, b.start(t, program, dir, "-D", "d", "-v", "-n"))
		}
		standby.WaitFor(t, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "2", 30*time.Second)
		standby.Promote(t)
		standby.SQL(t, "CREATE TABLE u AS SELECT generate_series(1, 1000)")
		standby.SwitchWAL(t)
		standby.SQL(t, "INSERT INTO u SELECT generate_series(1, 1000)")
		var said []outcome
		for i, r := range all {
			r.waitFor(t, "finished segment", 1)
			waitForFile(t, filepath.Join(dirs[i], "d", "*.partial"))
			_ = r.cmd.Process.Signal(syscall.SIGTERM) // it runs
			said = append(said, outcome{code: r.wait(t), errors: r.said.String()})
		}
		sameLines(t, "promotion", said[0], said[1])
		if ours, stock := left(t, dirs[0]), left(t, dirs[1]); ours != stock {
			t.Errorf("left\n%s\nstock:\n%s", ours, stock)
		}
	}
}
