package logstream_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/internal/pgtest"
	"github.com/pgbraid/pgbraid/logstream"
)

// gap makes a directory whose newest segment is followed by WAL that the server
// no longer has, and keeps that WAL in a directory of its own.
func gap(t *testing.T) (c *pgtest.Cluster, dir, kept string) {
	t.Helper()
	c = pgtest.Newest(t).Init(t, pgtest.SegmentSize(1), pgtest.Config("wal_keep_size = 0", "max_wal_size = '1GB'", "min_wal_size = '2MB'"))
	c.Start(t)
	c.SQL(t, "CREATE TABLE t (x text)")
	dir, kept = pgtest.TempDir(t), pgtest.TempDir(t)
	a := archive(t, c.ConnString(), logstream.ArchiveOptions{Directory: dir})
	a.await(1, c.CurrentLSN(t)) // it has begun
	a.await(1, nextSegment(t, c, 1<<20))
	a.stop()
	b := archive(t, c.ConnString(), logstream.ArchiveOptions{Directory: kept})
	b.await(1, c.CurrentLSN(t))
	for range 6 {
		c.SQL(t, "INSERT INTO t SELECT repeat('x', 1000) FROM generate_series(1, 1000)")
		b.await(1, nextSegment(t, c, 1<<20))
		c.SQL(t, "CHECKPOINT")
	}
	b.stop()
	list, err := logstream.ListSegments(dir, 1<<20)
	if err != nil || len(list) == 0 {
		t.Fatal(list, err)
	}
	next := logstream.SegmentSize(1<<20).FileName(1, list[0].Number+1)
	if _, err := os.Stat(filepath.Join(c.DataDir, "pg_wal", next)); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the server still has %s: %v", next, err)
	}
	return c, dir, kept
}

func TestMissingWALEndsTheArchiveAndNamesTheSegment(t *testing.T) {
	c, dir, kept := gap(t)
	list, err := logstream.ListSegments(dir, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	first := logstream.SegmentSize(1<<20).FileName(1, list[0].Number+1)
	before := names(t, dir)
	for _, command := range []logstream.RestoreCommand{"", "exit 1"} {
		a := archive(t, c.ConnString(), logstream.ArchiveOptions{Directory: dir, RestoreCommand: command})
		var missing *logstream.WALMissingError
		if err := a.end(); !errors.As(err, &missing) || missing.Segment != first {
			t.Errorf("restore command %q: got %v, want that %s is missing", command, err, first)
		}
	}
	// A command that fails in a way that is no answer ends it as well.
	a := archive(t, c.ConnString(), logstream.ArchiveOptions{Directory: dir, RestoreCommand: "exit 200"})
	var store *logstream.StoreError
	if err := a.end(); !errors.As(err, &store) {
		t.Errorf("got %v, want the command's failure", err)
	}
	// So does a segment of another place in the log.
	wrong := logstream.RestoreCommand("cp " + filepath.Join(dir, list[0].Name) + " %p")
	a = archive(t, c.ConnString(), logstream.ArchiveOptions{Directory: dir, RestoreCommand: wrong})
	if err := a.end(); !errors.As(err, &store) {
		t.Errorf("got %v, want that the segment is refused", err)
	}
	// And so does one that is not full: what an archive hands out of the last
	// segment that it has.
	whole, err := os.ReadFile(filepath.Join(kept, first))
	if err != nil {
		t.Fatal(err)
	}
	clear(whole[len(whole)/2:])
	half := filepath.Join(pgtest.TempDir(t), first)
	if err := os.WriteFile(half, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	a = archive(t, c.ConnString(), logstream.ArchiveOptions{Directory: dir, RestoreCommand: logstream.RestoreCommand("cp " + half + " %p")})
	if err := a.end(); !errors.As(err, &store) {
		t.Errorf("got %v, want that the segment is refused", err)
	}
	if after := names(t, dir); after != before {
		t.Errorf("files before: %s, after: %s", before, after)
	}
}

func TestMissingWALComesFromTheArchiveAndThenTheStreamGoesOn(t *testing.T) {
	for _, method := range []string{"none", "zstd"} {
		t.Run(method, func(t *testing.T) {
			c, dir, kept := gap(t)
			compression, err := logstream.ParseCompression(method)
			if err != nil {
				t.Fatal(err)
			}
			a := archive(t, c.ConnString(), logstream.ArchiveOptions{
				Directory: dir, Compression: compression,
				RestoreCommand: logstream.RestoreCommand("test -e " + kept + "/%f && cp " + kept + "/%f %p"),
			})
			a.await(1, nextSegment(t, c, 1<<20))
			a.stop()
			if s := a.Status(); s.Gaps != 0 {
				t.Errorf("%d gaps", s.Gaps)
			}
			c.Stop(t, pgtest.Fast)
			compareWithServer(t, dir, 1<<20, c.DataDir) // reports holes
			compareWithServer(t, kept, 1<<20, c.DataDir)
		})
	}
}

func TestAllowedGapIsCounted(t *testing.T) {
	c, dir, _ := gap(t)
	a := archive(t, c.ConnString(), logstream.ArchiveOptions{Directory: dir, AllowGap: true})
	a.await(1, nextSegment(t, c, 1<<20))
	a.stop()
	if s := a.Status(); s.Gaps != 1 {
		t.Errorf("%d gaps, want 1", s.Gaps)
	}
}

func TestSlotThatWasLostIsMadeAnew(t *testing.T) {
	c := pgtest.Newest(t).Init(t, keepAll)
	c.Start(t)
	c.SQL(t, "SELECT pg_create_physical_replication_slot('archive', true)")
	dir := pgtest.TempDir(t)
	a := archive(t, c.ConnString(), logstream.ArchiveOptions{Directory: dir, Slot: "archive"})
	a.await(1, nextSegment(t, c, mib16))
	a.stop()
	c.SQL(t, "SELECT pg_drop_replication_slot('archive')")
	a = archive(t, c.ConnString(), logstream.ArchiveOptions{Directory: dir, Slot: "archive"})
	a.await(1, nextSegment(t, c, mib16))
	a.stop()
	if got := c.Query(t, "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'archive' AND restart_lsn IS NOT NULL"); got != "1" {
		t.Errorf("%s slots, want 1", got)
	}

	// On an empty directory a slot that does not exist is a mistake.
	b := archive(t, c.ConnString(), logstream.ArchiveOptions{Directory: pgtest.TempDir(t), Slot: "nosuch"})
	var missing *logstream.MissingSlotError
	if err := b.end(); !errors.As(err, &missing) {
		t.Errorf("got %v, want that the slot does not exist", err)
	}
}

// The receiver began on an empty directory, with a slot that was there.
func TestSlotThatVanishesInTheFirstRunIsMadeAnew(t *testing.T) {
	t.Parallel()
	for _, s := range pgtest.Servers(t) {
		if s.Major > 15 { // 15 is the first that tells of slots on this connection
			continue
		}
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			c := s.Init(t, keepAll)
			c.Start(t)
			c.SQL(t, "SELECT pg_create_physical_replication_slot('archive', true)")
			dir := pgtest.TempDir(t)
			a := archive(t, c.ConnString(), logstream.ArchiveOptions{Directory: dir, Slot: "archive"})
			a.await(1, nextSegment(t, c, mib16))
			c.SQL(t, `DO $$
				BEGIN
					FOR i IN 1 .. 1000 LOOP
						BEGIN
							PERFORM pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = 'archive';
							PERFORM pg_drop_replication_slot('archive');
							RETURN;
						EXCEPTION WHEN object_in_use THEN
							PERFORM pg_sleep(0.001);
						END;
					END LOOP;
					RAISE 'the slot stays in use';
				END $$`)
			a.await(1, nextSegment(t, c, mib16))
			c.WaitFor(t, "SELECT active FROM pg_replication_slots WHERE slot_name = 'archive' AND restart_lsn IS NOT NULL", "t", 20*time.Second)
			a.stop()
		})
	}
}

func TestStartIsWhereTheSlotKeepsWALFrom(t *testing.T) {
	pgtest.ForEachVersion(t, func(t *testing.T, s pgtest.Server) {
		c := s.Init(t, keepAll)
		c.Start(t)
		c.SQL(t, "SELECT pg_create_physical_replication_slot('archive', true)")
		from := parseLSN(t, c.Query(t, "SELECT restart_lsn FROM pg_replication_slots"))
		for range 3 {
			c.SwitchWAL(t)
		}
		dir := pgtest.TempDir(t)
		a := archive(t, c.ConnString(), logstream.ArchiveOptions{Directory: dir, Slot: "archive"})
		a.await(1, nextSegment(t, c, mib16))
		a.stop()
		if _, err := os.Stat(filepath.Join(dir, mib16.FileName(1, mib16.Segment(from)))); err != nil {
			t.Errorf("the slot kept WAL from %s: %v", from, err)
		}
		c.Stop(t, pgtest.Fast)
		compareWithServer(t, dir, mib16, c.DataDir)
	})
}

func TestCodecsMayChangeBetweenRunsInOneDirectory(t *testing.T) {
	for _, megabytes := range []int{1, 64} {
		size := logstream.SegmentSize(megabytes << 20)
		c := pgtest.Newest(t).Init(t, keepAll, pgtest.SegmentSize(megabytes))
		c.Start(t)
		c.SQL(t, "CREATE TABLE t (x text)")
		dir := pgtest.TempDir(t)
		// What a stock tool that was killed leaves: a torn compressed partial.
		torn := filepath.Join(dir, size.FileName(1, size.Segment(parseLSN(t, c.CurrentLSN(t))))+".gz.partial")
		if err := os.WriteFile(torn, []byte{0x1f, 0x8b, 8, 0, 0}, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, method := range []string{"gzip", "lz4:1", "none", "zstd:level=3", "gzip:1"} {
			compression, err := logstream.ParseCompression(method)
			if err != nil {
				t.Fatal(err)
			}
			a := archive(t, c.ConnString(), logstream.ArchiveOptions{Directory: dir, Compression: compression})
			a.await(1, c.CurrentLSN(t))
			c.SQL(t, "INSERT INTO t SELECT repeat('x', 1000) FROM generate_series(1, 2000)")
			a.await(1, nextSegment(t, c, size))
			c.SQL(t, "INSERT INTO t VALUES ('in a partial segment')")
			a.await(1, c.CurrentLSN(t))
			a.stop()
		}
		if _, err := os.Stat(torn); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the torn partial is still there: %v", err)
		}
		c.Stop(t, pgtest.Fast)
		segments, bytes := compareWithServer(t, dir, size, c.DataDir)
		t.Logf("%d MB: %d segments and %d bytes are equal", megabytes, segments, bytes)
		if segments < 5 {
			t.Errorf("only %d segments", segments)
		}
	}
}

// stalled is a Store whose disk hangs once.
type stalled struct {
	logstream.Store
	until time.Time
}

type stalledSegment struct {
	logstream.Segment
	store *stalled
}

func (s *stalled) OpenSegment(t logstream.TimelineID, n logstream.SegmentNumber) (logstream.Segment, error) {
	segment, err := s.Store.OpenSegment(t, n)
	return &stalledSegment{segment, s}, err
}

func (s *stalledSegment) WriteAt(p []byte, offset int64) (int, error) {
	time.Sleep(time.Until(s.store.until))
	return s.Segment.WriteAt(p, offset)
}

func (s *stalledSegment) Sync() error {
	time.Sleep(time.Until(s.store.until))
	return s.Segment.Sync()
}
