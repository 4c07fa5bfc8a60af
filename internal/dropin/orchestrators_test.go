package dropin

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// TestTheVersionAsOthersReadIt takes the version out of --version by the rules
// of those who ask for it.
func TestTheVersionAsOthersReadIt(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"pg_basebackup", "pg_receivewal"} {
		b := newBed(t, name)
		out := b.run(t, b.ours, t.TempDir(), "--version").out

		// barman: without all parentheses, the second word.
		words := strings.Fields(regexp.MustCompile(`\s*\([^)]*\)`).ReplaceAllString(strings.TrimSpace(out), ""))
		if len(words) != 2 || words[1] != release {
			t.Errorf("%q: barman reads %q", out, words)
		}
		// Patroni, CloudNativePG, pgBackRest's users: the first number.
		if n := regexp.MustCompile(`\d+(\.\d+)*`).FindString(out); n != release {
			t.Errorf("%q: the first number is %q", out, n)
		}
		// repmgr, pg_auto_failover: what follows "(PostgreSQL) ".
		if _, rest, _ := strings.Cut(out, "(PostgreSQL) "); strings.Fields(rest)[0] != release {
			t.Errorf("%q: the word behind is %q", out, rest)
		}
		// find_other_exec of PostgreSQL's own tools compares with the beginning.
		if !strings.HasPrefix(out, name+" (PostgreSQL) ") {
			t.Errorf("%q", out)
		}
	}
}

// TestBackupsAsOthersAskForThem runs pg_basebackup with the very arguments of
// programs that manage clusters.
func TestBackupsAsOthersAskForThem(t *testing.T) {
	t.Parallel()
	// Some ask for a spread checkpoint: here it takes no time.
	c := distribution(t, pgtest.Password("it's secret"), pgtest.Config("checkpoint_completion_target = 0"))
	c.SQL(t, "SELECT pg_create_physical_replication_slot('pgautofailover_standby_2'), pg_create_physical_replication_slot('repmgr_slot_2')")
	location := c.CreateTablespace(t, "space")
	port := strconv.Itoa(c.Port)
	conninfo := "host=127.0.0.1 port=" + port + " user=postgres"
	passfile := filepath.Join(t.TempDir(), "pgpass")
	if err := os.WriteFile(passfile, []byte("127.0.0.1:"+port+":*:postgres:it's secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// In the arguments DATA, SPACE and WAL stand for directories.
	for _, o := range []struct {
		name  string
		args  []string
		says  string // "" is nothing
		noWAL bool
		env   []string
		empty bool // the directory is there
	}{
		{name: "Patroni", args: []string{"--pgdata=DATA", "-X", "stream", "--dbname=dbname=postgres " + conninfo, "--checkpoint=fast", "--max-rate=1024M"}},
		{name: "Patroni with a URI", args: []string{"--pgdata=DATA", "-X", "stream", "--dbname=postgres://postgres@127.0.0.1:" + port + "/postgres", "--checkpoint=fast"}},
		{name: "a script of Patroni's", args: []string{"-D", "DATA", "-c", "fast", "-d", conninfo, "-X", "stream"}},
		{
			name: "barman", noWAL: true, says: "pg_basebackup: base backup completed\n",
			args: []string{
				"--dbname=" + conninfo + " application_name=barman_backup", "-v", "--no-password", "--pgdata=DATA", "--no-slot", "--wal-method=none",
				"--tablespace-mapping=" + location + "=SPACE", "--max-rate=500000", "--checkpoint=fast",
			},
		},
		{name: "repmgr", args: []string{"-l", "repmgr base backup", "-D", "DATA", "-h", "127.0.0.1", "-p", port, "-U", "postgres", "-c", "fast", "-X", "stream", "-S", "repmgr_slot_2"}},
		{
			name: "pg_auto_failover", says: "pg_basebackup: base backup completed\n",
			args: []string{
				"-w", "-d", "application_name='pgautofailover_standby_2' host='127.0.0.1' port=" + port + " user='postgres' sslmode=prefer",
				"--pgdata", "DATA", "-U", "postgres", "--verbose", "--progress", "--max-rate", "100M", "--wal-method=stream",
				"--slot", "pgautofailover_standby_2",
			},
			env:   []string{"PGPASSWORD=it's secret", "PGAPPNAME=pgautofailover_standby_2", "PGCONNECT_TIMEOUT=2"},
			empty: true, // it makes the directory itself
		},
		{
			name: "CloudNativePG", says: "pg_basebackup: base backup completed\n",
			args: []string{
				"-D", "DATA", "-v", "-w", "-d", conninfo + " application_name=cluster-2 sslmode=prefer dbname=postgres connect_timeout=5" +
					" options='-c wal_sender_timeout=0s' replication=1", "--waldir", "WAL",
			},
		},
		{
			name: "bdr_init_copy", says: "(100%), 2/2 tablespaces",
			args: []string{"--pgdata=DATA", "--dbname=" + conninfo + " dbname=postgres", "--wal-method=stream", "--progress", "--checkpoint=fast", "--verbose"},
		},
		{
			name: "a container's start", says: "(100%), 2/2 tablespaces",
			args: []string{
				"--host=127.0.0.1", "--port=" + port, "--username=postgres", "--pgdata=DATA", "--format=plain", "--wal-method=stream", "--progress",
				"--write-recovery-conf", "--checkpoint=fast",
			},
		},
	} {
		t.Run(o.name, func(t *testing.T) {
			dir := t.TempDir()
			data := filepath.Join(dir, "data")
			places := strings.NewReplacer("DATA", data, "SPACE", filepath.Join(dir, "space"), "WAL", filepath.Join(dir, "wal"))
			args := []string{}
			for _, a := range o.args {
				args = append(args, places.Replace(a))
			}
			if !strings.Contains(strings.Join(args, " "), "--tablespace-mapping") {
				args = append(args, "-T", location+"="+filepath.Join(dir, "space")) // the server's own is taken on this machine
			}
			b := newBed(t, "pg_basebackup")
			b.env = append(b.env, o.env...)
			if o.env == nil {
				b.env = append(b.env, "PGPASSFILE="+passfile)
			}
			if o.empty {
				if err := os.Mkdir(data, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			got := b.run(t, b.ours, dir, args...)
			if got.code != 0 || got.out != "" || !strings.Contains(got.errors, o.says) || o.says == "" && got.errors != "" {
				t.Fatalf("%q: exit code %d, %q\n%s", args, got.code, got.out, got.errors)
			}
			verify := []string{"-q", data}
			if o.noWAL {
				verify = []string{"-n", "-q", data}
			}
			if out, err := exec.Command(pgtest.RequireTool(t, "pg_verifybackup"), verify...).CombinedOutput(); err != nil {
				t.Errorf("pg_verifybackup: %v\n%s", err, out)
			}
			// Those who write the recovery settings themselves rely on there
			// being none.
			_, err := os.Stat(filepath.Join(data, "standby.signal"))
			if wanted := slices.Contains(o.args, "--write-recovery-conf"); wanted != (err == nil) {
				t.Errorf("standby.signal is there: %t", err == nil)
			}
			if _, err := os.Stat(filepath.Join(data, "backup_label")); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestABarmanStream runs pg_receivewal as barman does, which keeps it under
// cron and starts it again when it has ended, and ends it by SIGINT.
func TestABarmanStream(t *testing.T) {
	t.Parallel()
	c := distribution(t)
	c.SQL(t, "SELECT pg_create_physical_replication_slot('barman', true)")
	b := newBed(t, "pg_receivewal")
	dir := t.TempDir()
	args := []string{
		"--dbname=host=" + c.SocketDir + " port=" + strconv.Itoa(c.Port) + " user=postgres application_name=barman_receive_wal",
		"--verbose", "--no-loop", "--no-password", "--directory=" + dir, "--slot=barman", "--synchronous",
	}
	for round := range 2 {
		r := b.start(t, b.ours, "/", args...)
		// barman looks for its own stream by the name.
		c.WaitFor(t, "SELECT count(*) FROM pg_stat_replication WHERE application_name = 'barman_receive_wal' AND state = 'streaming'", "1", 30*time.Second)
		c.SQL(t, "CREATE TABLE IF NOT EXISTS t (n int); INSERT INTO t VALUES (1)")
		segment := c.Query(t, "SELECT pg_walfile_name(pg_current_wal_lsn())")
		c.SwitchWAL(t)
		waitForFile(t, filepath.Join(dir, segment))
		if err := r.cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		if code := r.wait(t); code != 0 {
			t.Errorf("round %d: exit code %d\n%s", round, code, r.said.String())
		}
		if !strings.Contains(r.said.String(), "pg_receivewal: finished segment at ") {
			t.Errorf("round %d:\n%s", round, r.said.String())
		}
	}
	// barman receive-wal --reset and --drop-slot.
	for _, action := range []string{"--create-slot", "--drop-slot"} {
		got := b.run(t, b.ours, dir, args[0], "--slot=other", "--if-not-exists", action)
		if got != (outcome{}) {
			t.Errorf("%s: %+v", action, got)
		}
	}
}

// TestABackupThroughAPipe takes the archive from standard output, as scripts
// do that hand it to another machine.
func TestABackupThroughAPipe(t *testing.T) {
	t.Parallel()
	c := distribution(t)
	b := newBed(t, "pg_basebackup").at(c)
	dir := t.TempDir()
	dump := exec.Command(b.ours, "-D", "-", "-Ft", "-X", "fetch", "-cfast", "-P")
	dump.Env = b.env
	pipe, err := dump.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	dump.Stderr = &said
	extract := exec.Command("tar", "-x", "-C", dir)
	extract.Stdin = pipe
	if err := dump.Start(); err != nil {
		t.Fatal(err)
	}
	if out, err := extract.CombinedOutput(); err != nil {
		t.Errorf("tar: %v\n%s", err, out)
	}
	if err := dump.Wait(); err != nil {
		t.Errorf("%v\n%s", err, said.String())
	}
	if out, err := exec.Command(pgtest.RequireTool(t, "pg_verifybackup"), "-q", dir).CombinedOutput(); err != nil {
		t.Errorf("pg_verifybackup: %v\n%s", err, out)
	}
}
