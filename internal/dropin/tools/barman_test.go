//go:build tools

package tools

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// barman is an installation of barman for one server, main.
type barman struct {
	*bed
	config string
}

// newBarman configures barman for c, with further settings of the server.
func newBarman(t *testing.T, c *pgtest.Cluster, settings ...string) *barman {
	t.Helper()
	b := &barman{bed: newBed(t, "pg_basebackup", "pg_receivewal", "pg_verifybackup")}
	c.SQL(t, "CREATE ROLE barman SUPERUSER LOGIN; CREATE ROLE streaming_barman REPLICATION LOGIN")
	server := fmt.Sprintf("host=%s port=%d dbname=postgres", c.SocketDir, c.Port)
	b.config = b.write(t, "barman.conf", `[barman]
barman_user = `+b.user+`
barman_home = `+b.dir+`/barman
barman_lock_directory = `+b.dir+`
log_file = `+b.dir+`/barman.log
log_level = INFO

[main]
description = a server under load
conninfo = `+server+` user=barman
streaming_conninfo = `+server+` user=streaming_barman
backup_method = postgres
streaming_archiver = on
slot_name = barman
path_prefix = `+b.bin+`
immediate_checkpoint = true
`+strings.Join(settings, "\n")+"\n")
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(b.dir, "barman.log"))
			files, _ := filepath.Glob(filepath.Join(b.dir, "barman/main/streaming/*"))
			t.Logf("barman's log:\n%s\nreceived and not archived: %q", log, files)
		}
	})
	return b
}

// do runs a command of barman, which must succeed.
func (b *barman) do(t *testing.T, args ...string) (said string) {
	t.Helper()
	return b.run(t, "barman", append([]string{"-c", b.config}, args...)...)
}

// stream has barman's cron start the receiver, and waits for it.
func (b *barman) stream(t *testing.T, c *pgtest.Cluster) {
	t.Helper()
	b.do(t, "cron")
	t.Cleanup(func() { _, _ = b.try(t, "barman", "-c", b.config, "receive-wal", "--stop", "main") })
	c.WaitFor(t, `SELECT count(*) FROM pg_stat_replication r JOIN pg_replication_slots s ON s.active_pid = r.pid
		WHERE application_name = 'barman_receive_wal' AND state = 'streaming' AND slot_name = 'barman' AND usename = 'streaming_barman'`, "1", 30*time.Second)
}

// receiving tells whether barman's receiver runs.
func (b *barman) receiving(t *testing.T) bool {
	t.Helper()
	// check fails for other reasons too.
	said, _ := b.try(t, "barman", "-c", b.config, "check", "main")
	return strings.Contains(said, "receive-wal running: OK")
}

// archive has the server's WAL so far come into barman's archive.
func (b *barman) archive(t *testing.T, c *pgtest.Cluster) {
	t.Helper()
	// barman leaves the last segment where it is until another one begins,
	// and nobody else may be writing now.
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			_, _ = c.TryQuery(ctx, "postgres", "SELECT pg_logical_emit_message(true, 'beat', '')")
			time.Sleep(100 * time.Millisecond)
		}
	}()
	defer func() { cancel(); <-done }()
	b.do(t, "switch-wal", "--force", "--archive", "--archive-timeout", "60", "main")
}

// TestBarman takes barman through a server's life: the stream, a backup under
// load, its verification, an outage of the server, recovery.
func TestBarman(t *testing.T) {
	t.Parallel()
	c := pgtest.Distribution(t).Init(t)
	c.Start(t)
	c.Load(t)
	b := newBarman(t, c)
	writer := pgtest.StartWriter(t, c, pgtest.WriterOptions{Pause: time.Millisecond})

	b.do(t, "receive-wal", "--create-slot", "main")
	b.stream(t, c)
	b.archive(t, c)
	check := b.do(t, "check", "main")
	for _, item := range []string{
		"pg_basebackup", "pg_basebackup compatible", "pg_basebackup supports tablespaces mapping", "replication slot",
		"pg_receivexlog", "pg_receivexlog compatible", "receive-wal running",
	} {
		if !strings.Contains(check, "\t"+item+": OK") {
			t.Errorf("barman check has no %q\n%s", item+": OK", check)
		}
	}
	// Where the tools came from, and what barman takes them for.
	shown := b.do(t, "show-servers", "main")
	for _, line := range []string{
		"pg_basebackup_path: " + b.bin + "/pg_basebackup", "pg_basebackup_version: " + release,
		"pg_receivexlog_path: " + b.bin + "/pg_receivewal", "pg_receivexlog_version: " + release,
	} {
		if !strings.Contains(shown, line+"\n") {
			t.Errorf("barman show-servers has no %q\n%s", line, shown)
		}
	}

	before := writer.Committed()
	b.do(t, "backup", "main", "--wait")
	if list := b.do(t, "list-backups", "main"); strings.Count(list, "\n") != 1 || strings.Contains(list, "FAILED") {
		t.Errorf("barman list-backups:\n%s", list)
	}
	b.do(t, "check-backup", "main", "latest")
	if show := b.do(t, "show-backup", "main", "latest"); !strings.Contains(show, ": DONE\n") {
		t.Errorf("barman show-backup:\n%s", show)
	}
	if said := b.do(t, "verify-backup", "main", "latest"); !strings.Contains(said, "backup successfully verified") {
		t.Errorf("barman verify-backup:\n%s", said)
	}

	// An outage: the receiver ends, and cron starts another one afterwards.
	c.Stop(t, pgtest.Fast)
	waitFor(t, "the receiver has ended", func() bool { return !b.receiving(t) })
	b.do(t, "cron") // to no avail
	c.Start(t)
	b.stream(t, c)
	waitFor(t, "barman knows of its receiver", func() bool { return b.receiving(t) })

	writer.WaitCommitted(t, 500)
	writer.Stop(t)
	want := pgtest.Digest(t, c)
	b.archive(t, c)
	b.do(t, "check", "main")
	// The whole log, also of the time of the outage, is needed for this.
	recovered := b.recover(t, c.Server)
	if last := writer.AssertContains(t, recovered, writer.Committed()); last <= before {
		t.Errorf("the last row is %d, as before the backup", last)
	}
	pgtest.AssertSameDigests(t, pgtest.Digest(t, recovered), want)

	b.do(t, "receive-wal", "--stop", "main")
	c.WaitFor(t, "SELECT count(*) FROM pg_stat_replication", "0", 30*time.Second)
	b.do(t, "receive-wal", "--drop-slot", "main")
}

// TestBarmanCompressed has barman keep a backup as compressed archives.
func TestBarmanCompressed(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"client", "server"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			c := pgtest.Distribution(t).Init(t)
			c.Start(t)
			c.Load(t)
			b := newBarman(t, c, "backup_compression = gzip", "backup_compression_location = "+where, "recovery_staging_path = "+staging(t))
			b.do(t, "receive-wal", "--create-slot", "main")
			b.stream(t, c)
			b.archive(t, c)
			b.do(t, "backup", "main", "--wait")
			archives, err := filepath.Glob(filepath.Join(b.dir, "barman/main/base/*/data/*.tar.gz"))
			if err != nil || len(archives) == 0 {
				t.Fatalf("no archive: %v", err)
			}
			c.SQL(t, "INSERT INTO plain VALUES (-1, 'behind the backup')")
			want := pgtest.Digest(t, c)
			b.archive(t, c)
			pgtest.AssertSameDigests(t, pgtest.Digest(t, b.recover(t, c.Server)), want)
		})
	}
}

// recover has barman recover the latest backup, and starts what comes of it.
func (b *barman) recover(t *testing.T, s pgtest.Server) *pgtest.Cluster {
	t.Helper()
	dir := filepath.Join(b.dir, "recovered")
	b.do(t, "recover", "main", "latest", dir)
	c := pgtest.OpenDataDir(t, s, dir)
	c.Start(t)
	return c
}

// staging is a directory for archives that are being unpacked.
func staging(t *testing.T) string {
	t.Helper()
	dir := pgtest.TempDir(t)
	pgtest.GiveToServer(t, dir)
	return dir
}
