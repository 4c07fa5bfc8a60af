package logstream_test

import (
	"context"
	"os/exec"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pgbraid/pgbraid/internal/compress"
	"github.com/pgbraid/pgbraid/internal/pgtest"
	"github.com/pgbraid/pgbraid/logstream"
)

func TestStalledDiskDoesNotCostTheConnection(t *testing.T) {
	c := pgtest.Newest(t).Init(t, keepAll, pgtest.Config("wal_sender_timeout = '2s'"))
	c.Start(t)
	config, err := pgconn.ParseConfig(c.ConnString("replication=true", "application_name=archive"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	server, err := logstream.DescribeServer(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	store := &stalled{Store: logstream.NewDirStore(pgtest.TempDir(t), server.SegmentSize, logstream.DirOptions{}), until: time.Now().Add(6 * time.Second)}
	r := logstream.NewReceiver(config, logstream.Options{SegmentSize: server.SegmentSize, Store: store})
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx, server.Position) }()
	c.SQL(t, "CREATE TABLE t AS SELECT generate_series(1, 100000)")
	time.Sleep(time.Until(store.until) + 500*time.Millisecond)
	end := parseLSN(t, c.CurrentLSN(t))
	r.StopAt(logstream.Position{Timeline: 1, LSN: end})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if s := r.Status(); s.Lost != 0 || s.Written.LSN < end {
		t.Errorf("%d connections were lost (%v), written up to %s of %s", s.Lost, s.LastError, s.Written.LSN, end)
	}
}

// TestFullDiskIsWaitedOut has no room for the segments, or for the compressed
// ones beside them.
func TestFullDiskIsWaitedOut(t *testing.T) {
	t.Run("plain", func(t *testing.T) { waitOutFullDisk(t, compress.Spec{}) })
	t.Run("gzip", func(t *testing.T) { waitOutFullDisk(t, compress.Spec{Method: compress.Gzip, Level: 1}) })
}

func waitOutFullDisk(t *testing.T, compression compress.Spec) {
	dir := pgtest.TempDir(t)
	// Room for a few segments of 1 MB.
	pgtest.Mount(t, dir, "-t", "tmpfs", "-o", "size=5m", "none")
	c := pgtest.Newest(t).Init(t, keepAll, pgtest.SegmentSize(1))
	c.Start(t)
	c.SQL(t, "SELECT pg_create_physical_replication_slot('archive', true)")
	c.SQL(t, "CREATE TABLE t (x text)")
	a := archive(t, c.ConnString(), logstream.ArchiveOptions{Directory: dir, Slot: "archive", Compression: compression})
	c.SQL(t, "INSERT INTO t SELECT string_agg(md5(i::text || j), '') FROM generate_series(1, 20000) i, generate_series(1, 31) j GROUP BY i")
	end := parseLSN(t, nextSegment(t, c, 1<<20))
	for deadline := time.Now().Add(20 * time.Second); a.Status().State != logstream.Waiting; {
		if time.Now().After(deadline) {
			t.Fatalf("the disk does not become full: %+v", a.Status())
		}
		time.Sleep(10 * time.Millisecond)
	}
	if s := a.Status(); s.Durable.LSN >= end {
		t.Errorf("durable up to %s with no room for it", s.Durable.LSN)
	}
	if out, err := exec.Command("mount", "-o", "remount,size=100m", dir).CombinedOutput(); err != nil {
		t.Fatalf("remount: %v: %s", err, out)
	}
	a.await(1, end.String())
	a.stop()
	c.Stop(t, pgtest.Fast)
	if segments, _ := compareWithServer(t, dir, 1<<20, c.DataDir); segments < 20 {
		t.Errorf("only %d segments", segments)
	}
}
