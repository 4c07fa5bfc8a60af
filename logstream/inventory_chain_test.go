package logstream_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgbraid/pgbraid/internal/compress"
	"github.com/pgbraid/pgbraid/internal/pgtest"
	"github.com/pgbraid/pgbraid/logstream"
)

// checked takes the inventory and gives the names of the bad files.
func checked(t *testing.T, dir string) (bad string) {
	t.Helper()
	i, err := logstream.TakeInventory(t.Context(), dir, logstream.InventoryOptions{Check: true})
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, f := range i.Bad {
		list = append(list, f.Name)
		t.Logf("%s: %v", f.Name, f.Err)
	}
	return strings.Join(list, " ")
}

// Whatever is wrong inside of a segment is found, wherever it lies, and nothing
// is found where nothing is.
func TestCheckReadsAllWALAlongItsChain(t *testing.T) {
	p := newPair(t, pgtest.Newest(t))
	dir := pgtest.TempDir(t)
	a := archive(t, p.bothHosts(), logstream.ArchiveOptions{Directory: dir})
	// Records over the borders of segments, and one that is longer than a segment.
	fill := func(c *pgtest.Cluster) {
		for range 3 {
			c.SQL(t, "SELECT pg_logical_emit_message(false, 'p', repeat(md5(random()::text), 700000)) FROM generate_series(1, 2)")
			c.SQL(t, "INSERT INTO t SELECT generate_series(1, 10000)")
		}
	}
	fill(p.primary)
	nextSegment(t, p.primary, mib16)
	p.primary.SQL(t, "INSERT INTO t SELECT generate_series(1, 20000)")
	a.await(1, p.primary.CurrentLSN(t))
	p.primary.WaitCatchup(t, p.standby)
	p.primary.Stop(t, pgtest.Immediate)
	p.standby.Promote(t)
	fill(p.standby)
	a.await(2, nextSegment(t, p.standby, mib16))
	p.standby.SQL(t, "INSERT INTO t SELECT generate_series(1, 1000)")
	a.await(2, p.standby.CurrentLSN(t))
	a.stop()
	if bad := checked(t, dir); bad != "" {
		t.Fatalf("%s: bad files %s", names(t, dir), bad)
	}
	sealed := func(timeline string) (list []string) {
		for _, name := range strings.Fields(names(t, dir)) {
			if len(name) == 24 && strings.HasPrefix(name, timeline) {
				list = append(list, name)
			}
		}
		return list
	}
	first, second := sealed("00000001"), sealed("00000002")
	if len(first) < 4 || len(second) < 4 {
		t.Fatalf("too few segments: %s", names(t, dir))
	}
	random := rand.NewChaCha8([32]byte{1})
	const size = int(mib16)
	for _, tt := range []struct {
		name, file string
		change     func(p []byte)
	}{
		{"random bytes", first[1], func(p []byte) { _, _ = random.Read(p[5<<20 : 5<<20+4_900_000]) }},
		{"random bytes up to the end", first[0], func(p []byte) { _, _ = random.Read(p[size-100_000:]) }},
		{"a bit", first[2], func(p []byte) { p[3<<20+777] ^= 4 }},
		{"a bit, on the second timeline", second[1], func(p []byte) { p[9<<20+1000] ^= 4 }},
		{"a page of zeros", second[0], func(p []byte) { clear(p[8<<20 : 8<<20+8192]) }},
		{"the first page's system identifier", second[2], func(p []byte) { p[24] ^= 1 }},
		{"something after a segment switch", second[len(second)-1], func(p []byte) { p[size-1] = 1 }},
		{"the part before the fork", second[0], func(p []byte) { p[8192+500] ^= 4 }},
	} {
		path := filepath.Join(dir, tt.file)
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		changed := append([]byte(nil), content...)
		tt.change(changed)
		for _, m := range []compress.Method{compress.None, compress.Zstd} {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			put(t, dir, tt.file+m.Suffix(), pack(t, m, changed))
			bad := checked(t, dir)
			// A record shows its damage where it ends.
			if tt.name == "a bit, on the second timeline" && strings.HasPrefix(bad, second[2]) {
				bad = tt.file + m.Suffix()
			}
			if !strings.HasPrefix(bad, tt.file+m.Suffix()) {
				t.Errorf("%s: bad files %q, want %s", tt.name, bad, tt.file+m.Suffix())
			}
			if err := os.Remove(path + m.Suffix()); err != nil {
				t.Fatal(err)
			}
			put(t, dir, tt.file, content)
		}
	}
	if bad := checked(t, dir); bad != "" {
		t.Errorf("mended: bad files %s", bad)
	}
}
