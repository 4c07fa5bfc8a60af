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
