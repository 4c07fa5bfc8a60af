package logstream_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pgbraid/pgbraid/internal/durable"
	"github.com/pgbraid/pgbraid/internal/pgtest"
	"github.com/pgbraid/pgbraid/internal/pgtest/walsender"
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
	asked := filepath.Join(pgtest.TempDir(t), "asked")
	for _, command := range []logstream.RestoreCommand{"", logstream.RestoreCommand("echo %f >>" + asked + "; exit 1")} {
		a := archive(t, c.ConnString(), logstream.ArchiveOptions{Directory: dir, RestoreCommand: command, ArchiveTries: 3})
		var missing *logstream.WALMissingError
		if err := a.end(); !errors.As(err, &missing) || missing.Segment != first {
			t.Errorf("restore command %q: got %v, want that %s is missing", command, err, first)
		}
	}
	// The archive was asked as often as it was to be before that counted.
	if got, err := os.ReadFile(asked); err != nil || string(got) != strings.Repeat(first+"\n", 3) {
		t.Errorf("the archive was asked for %q, %v", got, err)
	}
	// A segment of another place in the log ends it as well.
	wrong := logstream.RestoreCommand("cp " + filepath.Join(dir, list[0].Name) + " %p")
	a := archive(t, c.ConnString(), logstream.ArchiveOptions{Directory: dir, RestoreCommand: wrong})
	var store *logstream.StoreError
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

// An archive that fails, in whatever way, has not said that it lacks the
// segment; and one that says so once may say otherwise soon.
func TestFailureOfTheArchiveIsNoGap(t *testing.T) {
	c, begun, kept := gap(t)
	for name, failure := range map[string]string{
		"exit code 7":                       "exit 7",
		"exit code 2":                       "exit 2",
		"over 125":                          "exit 200",
		"a signal":                          "kill -9 $$",
		"done, and no file":                 "exit 0",
		"a part, and that it is not there":  "echo begun >%p; exit 1",
		"that it is not there, a few times": "exit 1",
	} {
		t.Run(name, func(t *testing.T) {
			dir := pgtest.TempDir(t)
			for _, f := range strings.Fields(names(t, begun)) {
				put(t, dir, f, readFile(t, begun, f))
			}
			count := filepath.Join(pgtest.TempDir(t), "count")
			// The first four times.
			command := "echo >>" + count + "; test $(wc -l <" + count + ") -gt 4 || { " + failure + "; }; test -e " + kept + "/%f && cp " + kept + "/%f %p"
			a := archive(t, c.ConnString(), logstream.ArchiveOptions{Directory: dir, RestoreCommand: logstream.RestoreCommand(command), AllowGap: true})
			a.await(1, nextSegment(t, c, 1<<20))
			a.stop()
			if s := a.Status(); s.Gaps != 0 {
				t.Errorf("%d gaps", s.Gaps)
			}
			if n, _ := compareWithServer(t, dir, 1<<20, c.DataDir); n == 0 { // reports holes
				t.Error("nothing was compared")
			}
		})
	}
}

// Where nothing is tried again, the archive's failure is told as what it is.
func TestFailureOfTheArchiveIsTold(t *testing.T) {
	c, dir, _ := gap(t)
	a := archive(t, c.ConnString(), logstream.ArchiveOptions{Directory: dir, RestoreCommand: "exit 7", AllowGap: true, NoLoop: true})
	var failed *logstream.ArchiveError
	if err := a.end(); !errors.As(err, &failed) || !strings.Contains(err.Error(), "exit status 7") || logstream.ErrorClass(err) != logstream.ClassArchive {
		t.Errorf("got %v, want the command's failure", err)
	}
	if s := a.Status(); s.Gaps != 0 {
		t.Errorf("%d gaps", s.Gaps)
	}
}

// A disk that is full while a segment comes from the archive is waited for: the
// command can only say that it failed.
func TestFullDiskWhileFetchingIsWaitedOut(t *testing.T) {
	// Two segments are there: one more finds room, or not even that.
	for _, size := range []string{"3500k", "2800k"} {
		t.Run(size, func(t *testing.T) {
			dir := pgtest.TempDir(t)
			pgtest.Mount(t, dir, "-t", "tmpfs", "-o", "size="+size, "none")
			fetchOntoFullDisk(t, dir, "none", func() {
				if out, err := exec.Command("mount", "-o", "remount,size=100m", dir).CombinedOutput(); err != nil {
					t.Fatalf("remount: %v: %s", err, out)
				}
			})
		})
	}
	// Or there is no room for what it is compressed to.
	t.Run("gzip", func(t *testing.T) {
		dir := pgtest.TempDir(t)
		var room atomic.Bool
		t.Cleanup(durable.Watch(dir, func(c durable.Change) (int, error) {
			if !room.Load() && c.Op == durable.OpWrite && strings.HasSuffix(c.Path, ".gz.tmp") {
				return 0, &os.PathError{Op: "write", Path: c.Path, Err: syscall.ENOSPC}
			}
			return len(c.Data), nil
		}))
		fetchOntoFullDisk(t, dir, "gzip:1", func() { room.Store(true) })
	})
}

// fetchOntoFullDisk has WAL fetched into a directory on a disk that becomes full
// with that, and then has room.
func fetchOntoFullDisk(t *testing.T, dir, method string, makeRoom func()) {
	t.Helper()
	c, from, kept := gap(t)
	list, err := logstream.ListSegments(from, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list[:min(2, len(list))] {
		put(t, dir, f.Name, readFile(t, from, f.Name))
	}
	compression, err := logstream.ParseCompression(method)
	if err != nil {
		t.Fatal(err)
	}
	a := archive(t, c.ConnString(), logstream.ArchiveOptions{
		Directory: dir, Compression: compression, AllowGap: true,
		RestoreCommand: logstream.RestoreCommand("test -e " + kept + "/%f && cp " + kept + "/%f %p"),
	})
	waitFor(t, "the disk to be full", func() bool {
		s := a.Status()
		return s.State == logstream.Waiting && logstream.ErrorClass(s.LastError) == logstream.ClassDiskFull
	}, func() any { return a.Status() })
	makeRoom()
	a.await(1, nextSegment(t, c, 1<<20))
	a.stop()
	if s := a.Status(); s.Gaps != 0 {
		t.Errorf("%d gaps", s.Gaps)
	}
	c.Stop(t, pgtest.Fast)
	compareWithServer(t, dir, 1<<20, c.DataDir) // reports holes
}

// waitFor waits until something holds.
func waitFor(t *testing.T, what string, holds func() bool, state func() any) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited for %s: %+v", what, state())
		}
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

// An allowed gap ends where the server has WAL again, and where the archive has
// some before that.
func TestAllowedGapEndsWithTheFirstSegmentThatIsThere(t *testing.T) {
	const size = logstream.SegmentSize(1 << 20)
	for _, archived := range []int{0, 2} {
		t.Run(fmt.Sprintf("archived %d", archived), func(t *testing.T) {
			c, dir, kept := gap(t)
			list, err := logstream.ListSegments(dir, size)
			if err != nil {
				t.Fatal(err)
			}
			missing := list[0].Number + 1
			for range 6 {
				c.SQL(t, "INSERT INTO t SELECT repeat('x', 1000) FROM generate_series(1, 1000)")
				c.SwitchWAL(t)
			}
			first := missing
			for ; ; first++ {
				if _, err := os.Stat(filepath.Join(c.DataDir, "pg_wal", size.FileName(1, first))); err == nil {
					break
				}
			}
			o := logstream.ArchiveOptions{Directory: dir, AllowGap: true, ArchiveTries: 2}
			want := []logstream.SegmentRange{{Timeline: 1, First: missing, Last: first - 1}}
			gaps := 1
			if archived != 0 {
				// Of what is missing, the archive has only this.
				n := missing + logstream.SegmentNumber(archived)
				one := pgtest.TempDir(t)
				put(t, one, size.FileName(1, n), readFile(t, kept, size.FileName(1, n)))
				o.RestoreCommand = logstream.RestoreCommand("test -e " + one + "/%f && cp " + one + "/%f %p")
				want = []logstream.SegmentRange{{Timeline: 1, First: missing, Last: n - 1}, {Timeline: 1, First: n + 1, Last: first - 1}}
				gaps = 2
			}
			a := archive(t, c.ConnString(), o)
			a.await(1, nextSegment(t, c, size))
			a.stop()
			if s := a.Status(); s.Gaps != gaps {
				t.Errorf("%d gaps, want %d", s.Gaps, gaps)
			}
			inventory, err := logstream.TakeInventory(t.Context(), dir, logstream.InventoryOptions{})
			if err != nil || !slices.Equal(inventory.Holes, want) {
				t.Errorf("holes %+v, %v, want %+v", inventory.Holes, err, want)
			}
		})
	}
}

// The server goes on removing WAL while it is asked what it has.
func TestGapThatGrowsWhileItsEndIsLookedForIsOne(t *testing.T) {
	t.Parallel()
	b := script(t, 12, func(_ *walsender.Options, _ *logstream.DirOptions, o *logstream.Options) { o.AllowGap = true })
	b.wal.Remove(walsender.LSN(origin + 5*mb))
	asked := 0
	b.server.Handle("START_REPLICATION "+(origin+5*mb).String(), func(*walsender.Conn) error {
		if asked++; asked == 2 { // the first time the end of the gap was looked for
			b.wal.Remove(walsender.LSN(origin + 7*mb))
		}
		return walsender.Pass
	})
	b.mustReceive(at(1, origin), at(1, origin+12*mb))
	b.holds(1, origin+7*mb, origin+12*mb, false)
	for n := b.size.Segment(origin); n < b.size.Segment(origin+7*mb); n++ {
		b.none(b.size.FileName(1, n) + "*")
	}
	if s := b.Status(); s.Gaps != 1 || asked != 2 {
		t.Errorf("%d gaps, want 1; asked %d times for where it first ended, want 2", s.Gaps, asked)
	}
}

// listOf leads to several scripted servers.
func listOf(t *testing.T, beds ...*scripted) *pgconn.Config {
	t.Helper()
	var hosts, ports []string
	for _, b := range beds {
		c := b.config()
		hosts, ports = append(hosts, c.Host), append(ports, fmt.Sprint(c.Port))
	}
	config, err := pgconn.ParseConfig("host=" + strings.Join(hosts, ",") + " port=" + strings.Join(ports, ",") + " user=postgres dbname=postgres sslmode=disable replication=true")
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// Of several servers the one counts that has the most.
func TestGapEndsWhereAnyServerHasWALAgain(t *testing.T) {
	t.Parallel()
	for _, most := range []int{0, 1} {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			t.Parallel()
			beds := [2]*scripted{}
			for i := range beds {
				beds[i] = script(t, 12, func(_ *walsender.Options, _ *logstream.DirOptions, o *logstream.Options) { o.AllowGap = true })
				beds[i].wal.Remove(walsender.LSN(origin + 8*mb))
			}
			beds[most].wal.Remove(walsender.LSN(origin + 5*mb))
			b := beds[0]
			b.Receiver = logstream.NewReceiver(listOf(t, beds[0], beds[1]), logstream.Options{
				AllowGap: true, GiveUpAfter: -1, SegmentSize: b.size, Store: b.store,
				Logger: slog.New(slog.NewTextHandler(scriptLog{t}, &slog.HandlerOptions{Level: slog.LevelDebug})),
			})
			b.mustReceive(at(1, origin), at(1, origin+12*mb))
			b.holds(1, origin+5*mb, origin+12*mb, false)
			if s := b.Status(); s.Gaps != 1 {
				t.Errorf("%d gaps, want 1", s.Gaps)
			}
		})
	}
}

// Over a promotion the gap may end on either timeline.
func TestGapOverAPromotionEndsOnTheTimelineThatHasTheSegment(t *testing.T) {
	t.Parallel()
	for removed, timeline := range map[logstream.LSN]logstream.TimelineID{origin + 3*mb: 1, origin + 6*mb: 2, origin + 9*mb: 2} {
		t.Run(removed.String(), func(t *testing.T) {
			t.Parallel()
			b := script(t, 8, func(_ *walsender.Options, _ *logstream.DirOptions, o *logstream.Options) { o.AllowGap = true })
			b.promote(origin+6*mb+5000, 2, origin+12*mb)
			b.wal.Remove(walsender.LSN(removed))
			b.mustReceive(at(1, origin), at(2, origin+12*mb))
			b.holds(timeline, removed, min(removed+mb, origin+12*mb), false)
			b.holds(2, max(removed, origin+6*mb), origin+12*mb, false)
			b.history(2)
			if s := b.Status(); s.Gaps != 1 {
				t.Errorf("%d gaps, want 1", s.Gaps)
			}
		})
	}
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
