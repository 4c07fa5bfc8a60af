package walread_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/internal/pgtest"
	"github.com/pgbraid/pgbraid/internal/walread"
)

// TestRealServers reads what each release wrote and compares the end with
// what the server itself holds for it: the checkpoint in pg_control after a
// shutdown, and the last record of its own recovery after a crash. The files
// ahead are recycled ones. Where there is a pg_waldump of the release, each
// record is compared with its output.
func TestRealServers(t *testing.T) {
	pgtest.ForEachVersion(t, func(t *testing.T, s pgtest.Server) {
		opts := []pgtest.Option{pgtest.Fresh(), pgtest.Config(
			"min_wal_size = 32MB", "max_wal_size = 64MB", "checkpoint_timeout = 1h", "wal_buffers = 64kB")}
		if s.Major >= 11 { // release 10 has no initdb --wal-segsize
			opts[len(opts)-1] = pgtest.Config(
				"min_wal_size = 8MB", "max_wal_size = 16MB", "checkpoint_timeout = 1h", "wal_buffers = 64kB")
			opts = append(opts, pgtest.SegmentSize(1))
		}
		c := s.Init(t, opts...)
		c.Start(t)
		c.SQL(t, "CREATE TABLE t (id int, v text)")
		work := func() {
			c.SQL(t, "INSERT INTO t SELECT g, repeat('x', g % 700) FROM generate_series(1, 5000) g")
			c.SQL(t, "CREATE INDEX IF NOT EXISTS i ON t (id)")
			c.SQL(t, "SELECT pg_logical_emit_message(false, 'p', repeat('y', 3000000 + 77))")
			c.SQL(t, "UPDATE t SET v = v || 'z' WHERE id % 7 = 0")
			c.SwitchWAL(t)
			c.SQL(t, "DELETE FROM t WHERE id % 3 = 0")
		}
		for range 3 { // the checkpoints recycle segments
			work()
			c.SQL(t, "CHECKPOINT")
		}
		work()
		c.Stop(t, pgtest.Fast)

		reach := walkCluster(t, c)
		if reach.Stop.Ending != walread.Clean {
			t.Errorf("after a shutdown: %v", reach.Stop)
		}
		if want := checkpointLSN(t, c); reach.Last.LSN != want {
			t.Errorf("last record %X, shutdown checkpoint %X", reach.Last.LSN, want)
		}

		c.Start(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		done := make(chan error, 1)
		go func() {
			// A generate_series in FROM would be gathered whole before the first row.
			_, err := c.TryQuery(ctx, "postgres", "INSERT INTO t SELECT g, repeat('x', g % 700) FROM (SELECT generate_series(1, 100000000) AS g) s")
			done <- err
		}()
		time.Sleep(400 * time.Millisecond)
		c.Stop(t, pgtest.Immediate) // every process leaves at once and writes no more WAL
		if err := <-done; err == nil {
			t.Error("the insert ended before the crash")
		}
		reach = walkCluster(t, c)
		t.Logf("after a crash: %v", reach.Stop)
		if reach.Stop.Ending == walread.Invalid {
			t.Errorf("after a crash: %v", reach.Stop)
		}
		crash := reach
		keep := "wal_keep_size = 10GB"
		if s.Major < 13 {
			keep = "wal_keep_segments = 10000"
		}
		c.Configure(t, keep)
		log := len(c.Log())
		c.Start(t)
		m := regexp.MustCompile(`redo done at ([0-9A-F]+/[0-9A-F]+)`).FindStringSubmatch(c.Log()[log:])
		if m == nil {
			t.Fatalf("the server did not recover:\n%s", c.Log()[log:])
		}
		if want := parseLSN(t, m[1]); reach.Last.LSN != want {
			t.Errorf("last record %X, the server's recovery ended with %X", reach.Last.LSN, want)
		}
		// The log goes on over the record that the crash cut.
		work()
		c.Stop(t, pgtest.Fast)
		reach = walkCluster(t, c)
		if want := checkpointLSN(t, c); reach.Last.LSN != want || reach.Stop.Ending != walread.Clean {
			t.Errorf("last record %X, shutdown checkpoint %X, %v", reach.Last.LSN, want, reach.Stop)
		}
		if reach.Start >= crash.End {
			t.Errorf("the walk from %X does not cross the crash at %X", reach.Start, crash.End)
		}
		if crash.Stop.Ending == walread.Torn && crash.Stop.Reason == walread.OldPage {
			if rec := recordAt(t, c, crash.End); rec.Aborted == 0 || rec.RmgrID != 0 || rec.Info != 0xD0 {
				t.Errorf("after the record that was cut: %+v, want XLOG_OVERWRITE_CONTRECORD", rec)
			}
		}
	})
}

// recordAt reads one record of a stopped cluster.
func recordAt(t *testing.T, c *pgtest.Cluster, lsn uint64) walread.Record {
	t.Helper()
	size := uint32(1 << 20)
	if c.Server.Major < 11 {
		size = 16 << 20
	}
	src, err := walread.NewDirSource(filepath.Join(c.DataDir, "pg_wal"), 1, size)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	r, err := walread.NewReader(src, lsn, walread.Options{SegmentSize: size})
	if err != nil {
		t.Fatal(err)
	}
	rec, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// walkCluster walks a stopped cluster's WAL from its oldest segment on.
func walkCluster(t *testing.T, c *pgtest.Cluster) walread.Reach {
	t.Helper()
	dir := filepath.Join(c.DataDir, "pg_wal")
	names, err := filepath.Glob(filepath.Join(dir, "000000010*"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no WAL: %v", err)
	}
	head := make([]byte, 40)
	f, err := os.Open(names[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.ReadAt(head, 0); err != nil {
		t.Fatal(err)
	}
	h, err := walread.ParsePageHeader(head)
	if err != nil {
		t.Fatal(err)
	}
	if h.Major() != c.Server.Major {
		t.Errorf("magic %04X taken for release %d, server is %d", h.Magic, h.Major(), c.Server.Major)
	}
	src, err := walread.NewDirSource(dir, 1, h.SegmentSize)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	opts := walread.Options{SegmentSize: h.SegmentSize, SystemID: h.SystemID, Timeline: 1}
	reach, err := walread.EndOfWAL(src, h.Address, opts)
	if err != nil {
		t.Fatal(err)
	}
	if reach.Records < 100 {
		t.Errorf("only %d records: %v", reach.Records, reach.Stop)
	}
	checkChain(t, src, h.Address, reach, opts)
	if waldump, ok := c.Server.Tool("pg_waldump"); ok {
		compareWaldump(t, waldump, dir, src, reach, opts)
	}
	return reach
}

// checkChain has a Chain take the same WAL, as a stream brings it.
func checkChain(t *testing.T, src walread.Source, start uint64, reach walread.Reach, opts walread.Options) {
	t.Helper()
	chain, err := walread.NewChain(start, opts)
	if err != nil {
		t.Fatal(err)
	}
	piece := make([]byte, 128<<10)
	for at := start; at < reach.End; {
		n, err := src.ReadWAL(piece[:min(uint64(len(piece)), reach.End-at)], at)
		if err != nil {
			t.Fatal(err)
		}
		if err := chain.Feed(piece[:n]); err != nil {
			t.Fatalf("as a stream: %v", err)
		}
		at += uint64(n)
	}
	if !chain.Known() || chain.End() != reach.End {
		t.Errorf("as a stream the WAL ends at %X, want %X", chain.End(), reach.End)
	}
}

var waldumpLine = regexp.MustCompile(`^rmgr: (\S+) +len \(rec/tot\): +\d+/ *(\d+), tx: +(\d+), lsn: (\S+), prev (\S+), `)

var rmgrNames = []string{"XLOG", "Transaction", "Storage", "CLOG", "Database", "Tablespace", "MultiXact", "RelMap",
	"Standby", "Heap2", "Heap", "Btree", "Hash", "Gin", "Gist", "Sequence", "SPGist", "BRIN", "CommitTs",
	"ReplicationOrigin", "Generic", "LogicalMessage"}

// compareWaldump holds every record against the line that pg_waldump has for it.
func compareWaldump(t *testing.T, waldump, dir string, src walread.Source, reach walread.Reach, opts walread.Options) {
	t.Helper()
	// It exits with an error where the WAL ends; what it has printed counts.
	var out, diag bytes.Buffer
	cmd := exec.Command(waldump, "-p", begunSegments(t, dir), "-s", fmt.Sprintf("%X/%X", uint32(reach.Start>>32), uint32(reach.Start)))
	cmd.Stdout, cmd.Stderr = &out, &diag
	_ = cmd.Run()
	r, err := walread.NewReader(src, reach.Start, opts)
	if err != nil {
		t.Fatal(err)
	}
	var last uint64
	lines := uint64(0)
	for line := range strings.Lines(out.String()) {
		m := waldumpLine.FindStringSubmatch(line)
		if m == nil {
			if strings.HasPrefix(line, "rmgr:") {
				t.Fatalf("pg_waldump says %q", line)
			}
			continue
		}
		lines++
		rec, err := r.Next()
		if err != nil {
			t.Fatalf("%v, but pg_waldump says %q", err, line)
		}
		name := strconv.Itoa(int(rec.RmgrID))
		if int(rec.RmgrID) < len(rmgrNames) {
			name = rmgrNames[rec.RmgrID]
		}
		if name != m[1] || strconv.Itoa(int(rec.Length)) != m[2] || strconv.Itoa(int(rec.XID)) != m[3] ||
			rec.LSN != parseLSN(t, m[4]) || rec.Prev != parseLSN(t, m[5]) {
			t.Fatalf("got %+v, pg_waldump says %q", rec, line)
		}
		last = rec.LSN
	}
	if last != reach.Last.LSN || lines != reach.Records {
		t.Errorf("%d records up to %X, pg_waldump has %d up to %X\n%s", reach.Records, reach.Last.LSN, lines, last, diag.String())
	}
	t.Logf("%d records as pg_waldump has them; it ends with: %s", lines, strings.TrimSpace(diag.String()))
}

// begunSegments has links to the segments of a directory that hold WAL. A server
// makes some ahead, of zeros, and pg_waldump takes the segment size from the
// first file that it comes upon.
func begunSegments(t *testing.T, dir string) string {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(dir, "????????????????????????"))
	if err != nil {
		t.Fatal(err)
	}
	links := t.TempDir()
	for _, segment := range segments {
		f, err := os.Open(segment)
		if err != nil {
			t.Fatal(err)
		}
		var head [8]byte
		_, err = io.ReadFull(f, head[:])
		_ = f.Close() // only read from
		if err != nil {
			t.Fatal(err)
		}
		if head == [8]byte{} {
			continue
		}
		if err := os.Symlink(segment, filepath.Join(links, filepath.Base(segment))); err != nil {
			t.Fatal(err)
		}
	}
	return links
}

// checkpointLSN is the checkPoint field of pg_control, at offset 32 in every
// release.
func checkpointLSN(t *testing.T, c *pgtest.Cluster) uint64 {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(c.DataDir, "global", "pg_control"))
	if err != nil || len(b) < 40 {
		t.Fatalf("pg_control: %v", err)
	}
	return binary.LittleEndian.Uint64(b[32:])
}

func parseLSN(t *testing.T, s string) uint64 {
	t.Helper()
	var hi, lo uint32
	if _, err := fmt.Sscanf(s, "%X/%X", &hi, &lo); err != nil {
		t.Fatalf("LSN %q: %v", s, err)
	}
	return uint64(hi)<<32 | uint64(lo)
}
