package pgtest

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Recovery says how a data directory is to recover when its server starts
// next (PostgreSQL manual, "Archive Recovery" and "Standby Server Operation").
type Recovery struct {
	// Standby makes it a standby. Otherwise recovery ends at its target, or
	// at the end of the archived WAL.
	Standby bool
	// PrimaryConnInfo is the connection string of the server to stream from.
	PrimaryConnInfo string
	// Slot is the physical slot to stream from. It must exist.
	Slot string
	// RestoreCommand fetches WAL from an archive: %f is the file's name, %p
	// where to put it.
	RestoreCommand string
	// Settings are further lines, such as recovery_target_timeline = 'latest'.
	Settings []string
}

// SetRecovery writes r into the data directory of a cluster that does not
// run: into postgresql.auto.conf and a signal file, or into recovery.conf
// before release 12.
func (c *Cluster) SetRecovery(t testing.TB, r Recovery) {
	t.Helper()
	var lines []string
	add := func(name, value string) {
		if value != "" {
			lines = append(lines, name+" = "+quoteConfig(value))
		}
	}
	add("primary_conninfo", r.PrimaryConnInfo)
	add("primary_slot_name", r.Slot)
	add("restore_command", r.RestoreCommand)
	lines = append(lines, r.Settings...)
	if !c.Server.atLeast(12) {
		if r.Standby {
			lines = append(lines, "standby_mode = on")
		}
		appendFile(t, filepath.Join(c.DataDir, "recovery.conf"), strings.Join(lines, "\n")+"\n")
		return
	}
	appendFile(t, filepath.Join(c.DataDir, "postgresql.auto.conf"), strings.Join(lines, "\n")+"\n")
	signal := "recovery.signal"
	if r.Standby {
		signal = "standby.signal"
	}
	appendFile(t, filepath.Join(c.DataDir, signal), "")
}

// NewStandby makes a standby of a running cluster, which Start then starts. It
// copies the data directory itself, by the low-level backup functions, so that
// tests of base backups have a standby that owes nothing to them. Tablespaces
// outside the data directory are copied too.
func NewStandby(t testing.TB, primary *Cluster, opts ...Option) *Cluster {
	t.Helper()
	o := collect(opts)
	c := newCluster(t, primary.Server, o)
	c.DataDir = filepath.Join(c.dir, "data")
	c.Password, c.TLS, c.passwordSet = primary.Password, primary.TLS, true
	if o.slot != "" {
		primary.SQL(t, "SELECT pg_create_physical_replication_slot('"+o.slot+"', true) WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = '"+o.slot+"')")
	}
	c.copyFrom(t, primary)
	if len(o.config) > 0 {
		c.Configure(t, o.config...)
	}
	c.SetRecovery(t, Recovery{
		Standby:         true,
		PrimaryConnInfo: primary.ConnString("application_name=standby_" + filepath.Base(c.dir)),
		Slot:            o.slot,
		Settings:        []string{"recovery_target_timeline = 'latest'"},
	})
	return c
}

func (c *Cluster) copyFrom(t testing.TB, primary *Cluster) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), sqlTimeout)
	defer cancel()
	begin, end := "SELECT pg_backup_start('pgtest', true)", "SELECT labelfile FROM pg_backup_stop(false)"
	if !c.Server.atLeast(15) {
		begin, end = "SELECT pg_start_backup('pgtest', true, false)", "SELECT labelfile FROM pg_stop_backup(false, false)"
	}
	conn, err := primary.connect(ctx, "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := execute(ctx, conn, begin); err != nil {
		t.Fatalf("start of the copy: %v", err)
	}
	if err := copyTree(c.DataDir, primary.DataDir, notCopied); err != nil {
		t.Fatalf("copy of the data directory: %v", err)
	}
	c.copyTablespaces(t)
	label, err := execute(ctx, conn, end)
	if err != nil {
		t.Fatalf("end of the copy: %v", err)
	}
	appendFile(t, filepath.Join(c.DataDir, "backup_label"), label)
	// The log last: it then has everything from the start to the end of the copy.
	wal := filepath.Join(c.DataDir, "pg_wal")
	if err := os.RemoveAll(wal); err != nil {
		t.Fatal(err)
	}
	err = copyTree(wal, filepath.Join(primary.DataDir, "pg_wal"), func(rel string, d fs.DirEntry) bool {
		return strings.HasPrefix(rel, "archive_status")
	})
	if err != nil {
		t.Fatalf("copy of pg_wal: %v", err)
	}
}

// notCopied follows the manual's list for low-level base backups.
func notCopied(rel string, d fs.DirEntry) bool {
	switch rel {
	case "postmaster.pid", "postmaster.opts", "standby.signal", "recovery.signal", "recovery.conf", "recovery.done",
		"backup_label", "tablespace_map", "pg_replslot", "pg_dynshmem", "pg_notify", "pg_serial", "pg_snapshots",
		"pg_stat_tmp", "pg_subtrans":
		return true
	}
	return filepath.Dir(rel) == "pg_wal" && !d.IsDir()
}

// copyTablespaces gives the copy tablespace directories of its own.
func (c *Cluster) copyTablespaces(t testing.TB) {
	t.Helper()
	links := filepath.Join(c.DataDir, "pg_tblspc")
	entries, err := os.ReadDir(links)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.Type()&fs.ModeSymlink == 0 {
			continue // in place: copied with the data directory
		}
		link := filepath.Join(links, entry.Name())
		target, err := os.Readlink(link)
		if err != nil {
			t.Fatal(err)
		}
		own := filepath.Join(c.dir, "tablespace-"+entry.Name())
		if err := errors.Join(copyTree(own, target, nil), os.Remove(link), os.Symlink(own, link), serverAccount().give(link)); err != nil {
			t.Fatalf("copy of tablespace %s: %v", entry.Name(), err)
		}
	}
}

// Promote ends recovery on a standby and waits until it takes writes.
func (c *Cluster) Promote(t testing.TB) {
	t.Helper()
	if c.Server.atLeast(12) {
		c.SQL(t, "SELECT pg_promote(false)")
	} else {
		cmd := exec.Command(c.Server.program("pg_ctl"), "promote", "-W", "-D", c.DataDir)
		cmd.Dir = c.SocketDir
		if out, err := run(cmd); err != nil {
			t.Fatalf("pg_ctl promote: %v\n%s", err, out)
		}
	}
	c.WaitFor(t, "SELECT pg_is_in_recovery()", "f", startTimeout)
}

// WaitCatchup waits until standby has replayed everything that c has written
// by now.
func (c *Cluster) WaitCatchup(t testing.TB, standby *Cluster) {
	t.Helper()
	standby.WaitReplay(t, c.CurrentLSN(t))
}

// WaitReplay waits until a standby has replayed up to an LSN in text form, or
// was promoted after that.
func (c *Cluster) WaitReplay(t testing.TB, lsn string) {
	t.Helper()
	c.WaitFor(t, "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END >= '"+lsn+"'::pg_lsn", "t", 30*time.Second)
}

// SystemIdentifier is the number that IDENTIFY_SYSTEM gives.
func (c *Cluster) SystemIdentifier(t testing.TB) string {
	t.Helper()
	return c.Query(t, "SELECT system_identifier FROM pg_control_system()")
}

// Timeline is the timeline of the last checkpoint (or restartpoint).
func (c *Cluster) Timeline(t testing.TB) string {
	t.Helper()
	return c.Query(t, "SELECT timeline_id FROM pg_control_checkpoint()")
}
