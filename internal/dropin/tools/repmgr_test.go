//go:build tools

package tools

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// TestRepmgr has repmgr clone a primary under load into a standby with a slot,
// and take it into its cluster.
func TestRepmgr(t *testing.T) {
	t.Parallel()
	server := pgtest.Distribution(t)
	primary := server.Init(t)
	primary.Start(t)
	primary.Load(t)
	primary.SQL(t, "CREATE ROLE repmgr SUPERUSER LOGIN")
	primary.SQL(t, "CREATE DATABASE repmgr OWNER repmgr")
	writer := pgtest.StartWriter(t, primary, pgtest.WriterOptions{Pause: time.Millisecond})

	b := newBed(t, "pg_basebackup")
	// repmgr looks for all programs in one directory.
	programs, err := os.ReadDir(server.BinDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range programs {
		if err := os.Symlink(filepath.Join(server.BinDir, p.Name()), filepath.Join(b.bin, p.Name())); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
	}
	standby := pgtest.OpenDataDir(t, server, filepath.Join(b.dir, "standby"))
	configs := make([]string, 2)
	for i, c := range []*pgtest.Cluster{primary, standby} {
		configs[i] = b.write(t, fmt.Sprintf("repmgr%d.conf", i+1), fmt.Sprintf(`node_id = %d
node_name = 'node%[1]d'
conninfo = 'host=%s port=%d user=repmgr dbname=repmgr connect_timeout=2'
data_directory = '%s'
pg_bindir = '%s'
use_replication_slots = yes
`, i+1, c.SocketDir, c.Port, c.DataDir, b.bin))
	}

	b.run(t, "repmgr", "-f", configs[0], "primary", "register")
	clone := []string{"-h", primary.SocketDir, "-p", fmt.Sprint(primary.Port), "-U", "repmgr", "-d", "repmgr", "-f", configs[1], "standby", "clone", "--fast-checkpoint"}
	b.run(t, "repmgr", append(clone, "--dry-run")...)
	said := b.run(t, "repmgr", append(clone, "--verbose")...)
	if want := b.bin + "/pg_basebackup "; !strings.Contains(said, want) {
		t.Errorf("repmgr standby clone does not run %s\n%s", want, said)
	}
	standby.Start(t)
	b.run(t, "repmgr", "-f", configs[1], "standby", "register")
	primary.WaitFor(t, "SELECT count(*) FROM pg_stat_replication r JOIN pg_replication_slots s ON s.active_pid = r.pid WHERE slot_name = 'repmgr_slot_2'", "1", 30*time.Second)
	if check := b.run(t, "repmgr", "-f", configs[1], "node", "check", "--upstream"); !strings.Contains(check, "OK") {
		t.Errorf("repmgr node check: %s", check)
	}
	b.run(t, "repmgr", "-f", configs[1], "cluster", "show")

	writer.WaitCommitted(t, 500)
	writer.Stop(t)
	primary.WaitCatchup(t, standby)
	writer.AssertContains(t, standby, writer.Committed())
	pgtest.AssertSameDigests(t, pgtest.Digest(t, standby), pgtest.Digest(t, primary))
}
