package basebackup_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pgbraid/pgbraid/basebackup"
	"github.com/pgbraid/pgbraid/basebackup/manifest"
	"github.com/pgbraid/pgbraid/internal/pgtest"
	"github.com/pgbraid/pgbraid/internal/progress"
	"github.com/pgbraid/pgbraid/logstream"
)

func TestCloneUnderWriteLoadBecomesAStandby(t *testing.T) {
	pgtest.ForEachVersion(t, func(t *testing.T, s pgtest.Server) {
		t.Parallel()
		primary := s.Init(t)
		primary.Start(t)
		primary.Load(t)
		far := primary.CreateTablespace(t, "far")
		if s.Major >= 15 {
			primary.CreateInPlaceTablespace(t, "near")
		}
		primary.CreateTemporaryTable(t)
		writer := pgtest.StartWriter(t, primary, pgtest.WriterOptions{})
		writer.WaitCommitted(t, 100)

		c := newClone(t, primary.ConnString())
		c.options.NoSync = false
		c.options.MaxRate = 32 << 10
		c.options.Slot, c.options.CreateSlot = "clone", true
		c.options.Tablespaces = []basebackup.TablespaceMapping{{Old: far, New: filepath.Join(c.root, "far away")}}
		// While a fifth of the data is still to come, the server has not
		// ended the backup: what is committed by then must be in it.
		var mustHave atomic.Int64
		c.onProgress = func(p basebackup.Progress) {
			if p.Phase == progress.Copying && p.Done < p.Total-p.Total/5 {
				mustHave.Store(writer.Committed())
			}
		}
		before := writer.Committed()
		c.start()
		c.awaitStreams()
		primary.SwitchWAL(t)
		primary.SQL(t, "CHECKPOINT")
		result := c.must()
		t.Logf("%d bytes and %d bytes of WAL in %s, %d rows were committed meanwhile", result.Bytes, result.WALBytes, result.Duration, mustHave.Load()-before)
		if mustHave.Load() <= before {
			t.Error("nothing was committed while the data was copied")
		}
		c.mustBeWhole(s)
		c.mustPassVerification(s)
		mustContain(t, "settings", readFile(c.settings(s)), "primary_conninfo = '", "primary_slot_name = 'clone'")

		// It becomes consistent by the log that came with it.
		alone := c.startAlone(s)
		writer.AssertContains(t, alone, mustHave.Load())
		alone.Stop(t, pgtest.Fast)

		writer.WaitCommitted(t, 100)
		writer.Stop(t)
		standby := c.mustFollow(primary)
		writer.AssertContains(t, standby, writer.Committed())
		if got := primary.Query(t, "SELECT slot_name, active, temporary FROM pg_replication_slots"); got != "clone|t|f" {
			t.Errorf("slots of the source: %q, want the one that the standby uses", got)
		}
		standby.Promote(t)
		if got := standby.QueryIn(t, pgtest.MainDatabase, "INSERT INTO scratch VALUES (1, 'new'); SELECT id, t FROM scratch"); got != "1|new" {
			t.Errorf("unlogged table has %q, want only what was just inserted", got)
		}
	})
}

// mustBeWhole checks what lies in the directory before it is started.
func (c *clone) mustBeWhole(s pgtest.Server) {
	c.t.Helper()
	dirMode, fileMode := fs.FileMode(0o700), fs.FileMode(0o600)
	if info, err := os.Stat(c.options.Directory); err == nil && info.Mode().Perm()&0o040 != 0 {
		dirMode, fileMode = 0o750, 0o640
	}
	for name, info := range tree(c.t, c.options.Directory) {
		want := fileMode
		if info.IsDir() {
			want = dirMode
		}
		if info.Mode().Perm() != want {
			c.t.Errorf("%s has mode %o, want %o", name, info.Mode().Perm(), want)
		}
		for _, suffix := range []string{".partial", ".tmp", ".pgbraid"} {
			if strings.HasSuffix(name, suffix) {
				c.t.Errorf("%s is left over", name)
			}
		}
	}
	wanted := []string{"backup_label", "global/pg_control", "standby.signal", "backup_manifest"}
	if s.Major < 13 {
		wanted = wanted[:3]
	}
	if s.Major < 12 {
		wanted[2] = "recovery.conf"
	}
	for _, name := range wanted {
		if info, err := os.Lstat(filepath.Join(c.options.Directory, name)); err != nil || !info.Mode().IsRegular() {
			c.t.Errorf("%s: %v", name, err)
		}
	}
	if s.Major >= 15 {
		for _, t := range c.result.Tablespaces {
			if t.OID == 0 || filepath.IsAbs(t.Location) {
				continue
			}
			if info, err := os.Lstat(filepath.Join(c.options.Directory, "pg_tblspc", fmt.Sprint(t.OID))); err != nil || !info.IsDir() {
				c.t.Errorf("in-place tablespace %d is no directory: %v", t.OID, err)
			}
		}
	}
}

// mustPassVerification compares the files on disk with the manifest: here,
// and with pg_verifybackup where that can read it.
func (c *clone) mustPassVerification(s pgtest.Server) {
	c.t.Helper()
	if s.Major < 13 {
		return // servers make none
	}
	if s.Major < 17 {
		args := []string{"-e", c.options.Directory}
		if d := pgtest.Distribution(c.t); d.Major != s.Major {
			args = append([]string{"-n"}, args...) // its pg_waldump reads the WAL of its own release only
		}
		out, err := exec.Command(pgtest.RequireTool(c.t, "pg_verifybackup"), args...).CombinedOutput()
		if err != nil {
			c.t.Errorf("pg_verifybackup: %v\n%s", err, out)
		}
	}
	rest := tree(c.t, c.options.Directory)
	f, err := os.Open(filepath.Join(c.options.Directory, "backup_manifest"))
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	sums := 0
	summary, err := manifest.Read(f, func(file manifest.File) error {
		if info := rest[file.Path]; info == nil || info.Size() != file.Size && file.Path != "postgresql.auto.conf" {
			c.t.Errorf("%s: is %v, want %d bytes", file.Path, info, file.Size)
		}
		delete(rest, file.Path)
		if file.Path == "postgresql.auto.conf" || file.Algorithm == manifest.None {
			return nil // the one file that was added to
		}
		content, err := os.Open(filepath.Join(c.options.Directory, file.Path))
		if err != nil {
			return err
		}
		defer func() { _ = content.Close() }()
		sum := file.Algorithm.New()
		if _, err := io.Copy(sum, content); err != nil {
			return err
		}
		if got := sum.Sum(nil); string(got) != string(file.Checksum) {
			c.t.Errorf("%s: checksum %x, want %x", file.Path, got, file.Checksum)
		}
		sums++
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
	if sums < 500 {
		c.t.Errorf("only %d files have checksums", sums)
	}
	for name, info := range rest {
		if !info.IsDir() && name != "backup_manifest" && name != "standby.signal" && !strings.HasPrefix(name, "pg_wal/") {
			c.t.Errorf("%s is not in the manifest", name)
		}
	}
	newest, oldest := summary.Ranges[0], summary.Ranges[len(summary.Ranges)-1]
	if oldest.Start != c.result.Start.LSN || newest.End != c.result.End.LSN || newest.Timeline != c.result.End.Timeline {
		c.t.Errorf("WAL ranges of the manifest are %v, of the result %s to %s", summary.Ranges, c.result.Start, c.result.End)
	}
}

func TestGroupAccessAndWALDirectory(t *testing.T) {
	t.Parallel()
	s := pgtest.Newest(t)
	primary := s.Init(t, pgtest.GroupAccess())
	primary.Start(t)
	primary.Load(t)
	c := newClone(t, primary.ConnString())
	c.options.WALDirectory = filepath.Join(c.root, "wal", "of it")
	if err := c.run(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(c.options.Directory); err != nil || info.Mode().Perm() != 0o750 {
		t.Errorf("data directory: %v, %v, want mode 750", info.Mode(), err)
	}
	c.mustBeWhole(s)
	c.mustPassVerification(s)
	if link, err := os.Readlink(filepath.Join(c.options.Directory, "pg_wal")); err != nil || link != c.options.WALDirectory {
		t.Errorf("pg_wal leads to %q, %v, want %q", link, err, c.options.WALDirectory)
	}
	noWalsenders(t, primary)
	c.mustFollow(primary)
}

func TestWALSegmentSizes(t *testing.T) {
	for _, mib := range []int{1, 64} {
		t.Run(fmt.Sprintf("%d MiB", mib), func(t *testing.T) {
			t.Parallel()
			primary := pgtest.Newest(t).Init(t, pgtest.SegmentSize(mib), pgtest.Config("min_wal_size = '128MB'"))
			primary.Start(t)
			writer := pgtest.StartWriter(t, primary, pgtest.WriterOptions{RowBytes: 2000})
			c := newClone(t, primary.ConnString())
			c.options.MaxRate = 16 << 10
			c.start()
			c.awaitStreams()
			primary.SwitchWAL(t)
			writer.WaitCommitted(t, 1000)
			primary.SwitchWAL(t)
			c.must()
			writer.Stop(t)
			segments := 0
			for name, info := range tree(t, filepath.Join(c.options.Directory, "pg_wal")) {
				if len(name) == 24 {
					segments++
					if info.Size() != int64(mib)<<20 {
						t.Errorf("segment %s has %d bytes", name, info.Size())
					}
				}
			}
			if segments < 2 {
				t.Errorf("%d segments, want several", segments)
			}
			c.mustBeWhole(primary.Server)
			c.mustFollow(primary)
		})
	}
}

func TestSlots(t *testing.T) {
	forEdges(t, func(t *testing.T, s pgtest.Server) {
		primary := s.Init(t)
		primary.Start(t)
		slots := func() string {
			return primary.Query(t, "SELECT slot_name, temporary, active, restart_lsn IS NOT NULL FROM pg_replication_slots ORDER BY 1")
		}

		c := newClone(t, primary.ConnString())
		c.options.Slot = "missing"
		err := c.run()
		var refused *pgconn.PgError
		var missing *logstream.MissingSlotError
		if s.Major >= 15 && !errors.As(err, &missing) || s.Major < 15 && (!errors.As(err, &refused) || refused.Code != "42704") {
			t.Errorf("with a slot that does not exist: %v", err)
		}
		if begun := strings.Contains(primary.Log(), "replication command: BASE_BACKUP"); begun != (s.Major < 15) {
			t.Errorf("backup begun for want of a slot: %t", begun)
		}
		mustContain(t, "error", fmt.Sprint(err), `"missing" does not exist`)
		c.mustHaveLeftNothing(primary)

		primary.SQL(t, "SELECT pg_create_physical_replication_slot('there')")
		c = newClone(t, primary.ConnString())
		c.options.Slot, c.options.CreateSlot = "there", true
		if err := c.run(); !errors.As(err, &refused) || refused.Code != "42710" {
			t.Errorf("with a slot to be made that exists: %v", err)
		}
		c.mustHaveLeftNothing(primary)
		if got := slots(); got != "there|f|f|f" {
			t.Errorf("slots are %q: somebody else's must stay as it was", got)
		}

		c = newClone(t, primary.ConnString())
		c.options.Slot = "there"
		if err := c.run(); err != nil {
			t.Fatal(err)
		}
		noWalsenders(t, primary)
		if got := slots(); got != "there|f|f|t" {
			t.Errorf("slots are %q: the one that was there must hold the log for the standby", got)
		}
		c.mustFollow(primary)
		if got := slots(); got != "there|f|t|t" {
			t.Errorf("slots are %q: the standby must use the one that was there", got)
		}
	})
}

func TestCancelledWhileCopyingLeavesNothing(t *testing.T) {
	forEdges(t, func(t *testing.T, s pgtest.Server) {
		primary := s.Init(t)
		primary.Start(t)
		far := primary.CreateTablespace(t, "far")
		c := newClone(t, primary.ConnString())
		c.options.Directory = filepath.Join(c.root, "made", "data")
		c.options.WALDirectory = filepath.Join(c.root, "wal")
		c.options.Tablespaces = []basebackup.TablespaceMapping{{Old: far, New: filepath.Join(c.root, "far")}}
		c.options.MaxRate = 2 << 10
		c.options.Slot, c.options.CreateSlot = "clone", true
		c.start()
		c.awaitStreams()
		if got := primary.Query(t, "SELECT slot_name, active FROM pg_replication_slots"); got != "clone|t" {
			t.Errorf("slots while copying: %q", got)
		}
		if n := len(tree(t, c.root)); n < 10 {
			t.Errorf("only %d files while copying", n)
		}
		c.mustEndBy(errors.New("enough"))
		c.mustHaveLeftNothing(primary)
		if got := primary.Query(t, "SELECT slot_name FROM pg_replication_slots"); got != "" {
			t.Errorf("slot %q is left behind", got)
		}
	})
}

func TestCancelledWhileTheServerMakesItsCheckpointLeavesNothing(t *testing.T) {
	forEdges(t, func(t *testing.T, s pgtest.Server) {
		primary := s.Init(t, pgtest.Config("checkpoint_timeout = '1h'", "checkpoint_completion_target = 0.9"))
		primary.Start(t)
		primary.Load(t)
		c := newClone(t, primary.ConnString())
		c.options.FastCheckpoint = false
		c.options.WALDirectory = filepath.Join(c.root, "wal")
		c.start()
		c.awaitPhase(progress.WaitingForCheckpoint)
		primary.WaitFor(t, "SELECT count(*) FROM pg_stat_replication WHERE state = 'backup'", "1", 10*time.Second)
		time.Sleep(300 * time.Millisecond)
		if p := c.progress().Phase; p != progress.WaitingForCheckpoint {
			t.Fatalf("the checkpoint did not last: phase %s", p)
		}
		c.mustEndBy(errors.New("enough"))
		c.mustHaveLeftNothing(primary)
	})
}

// mustEndBy cancels the run, which has to end soon, with that cause.
func (c *clone) mustEndBy(cause error) {
	c.t.Helper()
	began := time.Now()
	c.cancel(cause)
	if err := c.wait(); !errors.Is(err, cause) {
		c.t.Errorf("error is %v, want the cause of the cancellation, %v", err, cause)
	}
	if took := time.Since(began); took > 5*time.Second {
		c.t.Errorf("it took %s to end", took)
	}
}
