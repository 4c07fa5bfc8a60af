package torture

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/basebackup"
	"github.com/pgbraid/pgbraid/basebackup/verify"
	"github.com/pgbraid/pgbraid/internal/conninfo"
	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// silenceLimit is that of each run.
const silenceLimit = 2 * time.Second

// operation is something that pgbraid does.
type operation struct {
	name string
	// connects says that it talks to a server, writes that it makes files,
	// keeps that it goes on in its directory from run to run.
	connects, writes, keeps bool
	// spare says that it makes things ahead that it can do without, oneDisk
	// that what it reads and what it makes are on the same one.
	spare, oneDisk bool

	prepare func(b *bed)
	args    func(b *bed) []string
	// whole complains unless what a run made is whole.
	whole func(b *bed, p *process)
	// looksWhole tells what in the directory of a run that failed could be
	// taken for its result, "" if nothing could.
	looksWhole func(b *bed) string
}

var operations = []*operation{
	{name: "clone", connects: true, writes: true, args: backup("clone"), whole: verified, looksWhole: plainLooksWhole},
	{name: "backup tar", connects: true, writes: true, args: backup("backup", "-Ft"), whole: verified, looksWhole: tarLooksWhole},
	{name: "backup zstd", connects: true, writes: true, args: backup("backup", "-Ft", "-Z", "zstd"), whole: verified, looksWhole: tarLooksWhole},
	{name: "receive", connects: true, writes: true, keeps: true, prepare: fillLog, args: receive(), whole: archived, looksWhole: sealedWrong},
	{name: "receive gzip", connects: true, writes: true, keeps: true, prepare: fillLog, args: receive("-Z", "gzip"), whole: archived, looksWhole: sealedWrong},
	{name: "receive synchronous", connects: true, writes: true, keeps: true, spare: true, prepare: fillLog, args: receive("--synchronous"), whole: archived, looksWhole: sealedWrong},
	{name: "verify", prepare: takeBackup, args: func(b *bed) []string { return []string{"verify", b.chain[0]} },
		whole: func(b *bed, p *process) {
			if !strings.Contains(p.said.String(), "good") && !strings.Contains(p.said.String(), "whole") {
				b.t.Errorf("verify says %q", p.said.String())
			}
		},
		looksWhole: func(*bed) string { return "" }},
	{name: "combine", writes: true, prepare: takeChain,
		args: combined(), whole: verified, looksWhole: plainLooksWhole},
	{name: "combine copy_file_range", writes: true, oneDisk: true, prepare: takeChain,
		args: combined("--copy-file-range"), whole: verified, looksWhole: plainLooksWhole},
}

func backup(command string, args ...string) func(*bed) []string {
	return func(b *bed) []string {
		return append([]string{command, "-D", b.dir(), "-c", "fast", "-d", b.connString(), "--silence-limit", silenceLimit.String()}, args...)
	}
}

func combined(args ...string) func(*bed) []string {
	return func(b *bed) []string {
		return append(append([]string{"combine", "-o", b.dir()}, args...), b.chain...)
	}
}

func (b *bed) connString() string {
	if !b.listed {
		return b.cluster.ProxyConnString(b.proxy.Addr())
	}
	host, port, _ := net.SplitHostPort(b.proxy.Addr())
	return fmt.Sprintf("host=%s,%s port=%s,%d user=postgres dbname=postgres sslmode=disable connect_timeout=2",
		host, b.cluster.SocketDir, port, b.cluster.Port)
}

// verified has the library look at a backup, its log included.
func verified(b *bed, p *process) {
	b.t.Helper()
	report, err := verify.Run(b.t.Context(), verify.Options{Directory: b.dir()})
	if err != nil {
		b.t.Errorf("what it made: %v\n%s", err, p.said.String())
		return
	}
	for _, problem := range report.Problems {
		b.t.Errorf("what it made: %v", problem)
	}
}

func plainLooksWhole(b *bed) string {
	return there(b.dir(), "backup_manifest")
}

func tarLooksWhole(b *bed) string {
	return there(b.dir(), "backup_manifest")
}

func there(dir string, names ...string) string {
	for _, name := range names {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return name
		}
	}
	return ""
}

// takeBackup makes a backup to look at.
func takeBackup(b *bed) { b.chain = []string{b.take("full", "")} }

// takeChain makes a full backup and an incremental one.
func takeChain(b *bed) {
	full := b.take("full", "")
	b.cluster.SQLIn(b.t, "shop", "UPDATE big SET a = 'changed' WHERE id % 100 = 0")
	b.chain = []string{full, b.take("incremental", filepath.Join(full, "backup_manifest"))}
}

func (b *bed) take(name, incremental string) string {
	b.t.Helper()
	info, err := conninfo.Parse(conninfo.Flags{ConnString: b.cluster.ConnString()}, "torture")
	if err != nil {
		b.t.Fatal(err)
	}
	config, err := info.Config()
	if err != nil {
		b.t.Fatal(err)
	}
	dir := filepath.Join(b.root, name)
	_, err = basebackup.Run(b.t.Context(), config, basebackup.Options{
		Directory: dir, FastCheckpoint: true, NoSync: true, Incremental: incremental,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return dir
}

// logSize is how much there is to receive, in MB and segments.
const logSize = 16

// fillLog makes log to receive, which the server keeps, whatever is received.
func fillLog(b *bed) {
	b.twin = pgtest.NewStandby(b.t, b.cluster) // as a snapshot of the machine would be
	b.cluster.SQL(b.t, "SELECT pg_switch_wal()")
	b.cluster.SQL(b.t, "CHECKPOINT") // the slot keeps nothing that the snapshot has too
	b.cluster.SQL(b.t, "SELECT pg_create_physical_replication_slot('first', true)")
	writeLog(b, b.cluster, logSize)
	b.end = b.cluster.Query(b.t, "SELECT pg_current_wal_flush_lsn()")
	b.cluster.SQL(b.t, "SELECT pg_logical_emit_message(true, 'torture', 'behind the end'); SELECT pg_switch_wal()")
}

// writeLog writes log that no other server has.
func writeLog(b *bed, c *pgtest.Cluster, segments int) {
	for range segments {
		c.SQL(b.t, "SELECT pg_logical_emit_message(true, 'torture', (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 32000))); SELECT pg_switch_wal()")
	}
}

// receive gets the log from the slot's beginning. Each run has a slot of its
// own: a copy of the first.
func receive(args ...string) func(*bed) []string {
	return func(b *bed) []string {
		b.t.Helper()
		slot := "run"
		if entries, _ := os.ReadDir(b.dir()); len(entries) == 0 {
			b.cluster.SQL(b.t, `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = 'run'`)
			b.cluster.SQL(b.t, "SELECT pg_copy_physical_replication_slot('first', 'run')")
		}
		return append([]string{"receive", "-D", b.dir(), "-S", slot, "-E", b.end, "-d", b.connString(), "--silence-limit", silenceLimit.String()}, args...)
	}
}

// archived sees that every segment is there that was to be received, as the
// server has it. A run that was told to end may have fewer: then there is no
// hole.
func archived(b *bed, p *process) {
	b.t.Helper()
	if what := sealedWrong(b); what != "" {
		b.t.Errorf("%s\n%s", what, p.said.String())
	}
	sealed, err := filepath.Glob(filepath.Join(b.dir(), "0*[0-9A-F]"))
	packed, err2 := filepath.Glob(filepath.Join(b.dir(), "0*.gz"))
	if err != nil || err2 != nil {
		b.t.Fatal(err, err2)
	}
	told := p.cmd.ProcessState.ExitCode() == 0 && strings.Contains(p.said.String(), "signal")
	if n := len(sealed) + len(packed); n < logSize && !told {
		b.t.Errorf("%d segments, want %d at least\n%s", n, logSize, p.said.String())
	}
}

// sealedWrong names a segment under its last name that is not as the server's.
func sealedWrong(b *bed) (what string) {
	err := filepath.WalkDir(b.dir(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || what != "" {
			return err
		}
		name := d.Name()
		base, packed := strings.CutSuffix(name, ".gz")
		if len(base) != 24 {
			return nil
		}
		got, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if packed {
			if got, err = unpack(got); err != nil {
				what = name + ": " + err.Error()
				return nil
			}
		}
		want, err := os.ReadFile(filepath.Join(b.cluster.DataDir, "pg_wal", base))
		if err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			what = name + " is not as the server's"
		}
		return nil
	})
	if err != nil && what == "" {
		what = err.Error()
	}
	return what
}

func unpack(p []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(p))
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	_, err = out.ReadFrom(r)
	return out.Bytes(), err
}

// TestDiskFaultsAreMet sees that the faults are done at all: a matrix whose
// faults do nothing would pass.
func TestDiskFaultsAreMet(t *testing.T) {
	t.Parallel()
	b := newBed(t, operations[0])
	for _, disk := range []string{"full 0", "write 0", "sync 0", "readonly 0"} {
		b.clear()
		p := b.start(disk)
		p.wait()
		if p.code != 1 {
			t.Errorf("%s: exit code %d\n%s", disk, p.code, p.said.String())
		}
	}
	if b.clean.syncs < 100 || b.clean.writes < 100 || b.clean.bytes < 1<<20 {
		t.Errorf("counted: %+v", b.clean)
	}
}
