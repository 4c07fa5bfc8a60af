package logstream_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pgbraid/pgbraid/internal/compress"
	"github.com/pgbraid/pgbraid/internal/durable"
	"github.com/pgbraid/pgbraid/internal/pgtest/powerloss"
	"github.com/pgbraid/pgbraid/logstream"
)

const (
	fifthStart = logstream.LSN(5 << 20)
	sixth      = "000000010000000000000006"
)

func readFile(t *testing.T, dir, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What is set aside is kept as it was received, is no segment to anything that
// lists or restores them, and is out of the partial segment.
func TestLostWALIsKeptUnderNamesOfItsOwn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store := logstream.NewDirStore(dir, mib1, logstream.DirOptions{})
	full, next := fakeSegment(1, 5), fakeSegment(1, 6)
	put(t, dir, "000000010000000000000004", fakeSegment(1, 4))
	put(t, dir, fifth+".partial", full)
	put(t, dir, sixth+".partial", next)
	put(t, dir, "000000020000000000000005.partial", fakeSegment(2, 5))
	from, to := fifthStart+5000, fifthStart+mb+600
	files, err := store.SetAside(1, from, to)
	want := []string{sixth + ".lost-0-600000-0-600258", fifth + ".lost-0-501388-0-600000"}
	if err != nil || !slices.Equal(files, want) {
		t.Fatalf("files %q, %v, want %q", files, err, want)
	}
	if !bytes.Equal(readFile(t, dir, want[1]), full) || !bytes.Equal(readFile(t, dir, want[0]), next) {
		t.Error("what is kept is not what was received")
	}
	if left := readFile(t, dir, fifth+".partial"); len(left) != len(full) || !bytes.Equal(left[:5000], full[:5000]) || len(bytes.Trim(left[5000:], "\x00")) != 0 {
		t.Error("the partial segment does not end where it was to")
	}
	if got := names(t, dir); strings.Contains(got, sixth+".partial") || !strings.Contains(got, "000000020000000000000005.partial") {
		t.Errorf("files: %s", got)
	}
	for _, name := range []string{sixth, want[0], want[1]} {
		if from, _, err := restoreInto(t, dir, name); from != "" || err != nil {
			t.Errorf("%s is handed out from %q, %v", name, from, err)
		}
	}
	list, err := logstream.ListSegments(dir, mib1)
	if err != nil || len(list) != 3 {
		t.Errorf("segments: %+v, %v", list, err)
	}

	// Once more, as after a crash: the same file. Other bytes get another.
	put(t, dir, fifth+".partial", full)
	if files, err = store.SetAside(1, from, to); err != nil || !slices.Equal(files, want[1:]) {
		t.Errorf("the same once more: %q, %v", files, err)
	}
	other := bytes.Clone(full)
	other[6000]++
	put(t, dir, fifth+".partial", other)
	if files, err = store.SetAside(1, from, to); err != nil || !slices.Equal(files, []string{want[1] + "-2"}) {
		t.Errorf("a second time: %q, %v", files, err)
	}
	if !bytes.Equal(readFile(t, dir, want[1]), full) || !bytes.Equal(readFile(t, dir, want[1]+"-2"), other) {
		t.Error("both are to be kept")
	}

	inventory, err := logstream.TakeInventory(t.Context(), dir, logstream.InventoryOptions{})
	if err != nil || len(inventory.Lost) != 3 || inventory.Other != 0 {
		t.Fatalf("inventory: %+v, %v", inventory, err)
	}
	if got := inventory.Lost[0]; got != (logstream.LostFile{Name: want[1], Timeline: 1, From: from, To: fifthStart + mb, Bytes: int64(mib1)}) {
		t.Errorf("inventory: %+v", got)
	}
}

// A compressed partial segment, as pg_receivewal leaves it, is not gone on from:
// the stream begins anew at its start.
func TestLostWALInACompressedPartialSegmentIsKeptAsItIs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	packed := pack(t, compress.Gzip, fakeSegment(1, 5))
	put(t, dir, fifth+".gz.partial", packed)
	files, err := logstream.NewDirStore(dir, mib1, logstream.DirOptions{}).SetAside(1, fifthStart+5000, fifthStart+6000)
	if want := fifth + ".lost-0-501388-0-501770.gz"; err != nil || !slices.Equal(files, []string{want}) || names(t, dir) != want {
		t.Fatalf("files %q, %v: %s", files, err, names(t, dir))
	}
	if !bytes.Equal(readFile(t, dir, files[0]), packed) {
		t.Error("what is kept is not what was received")
	}
	inventory, err := logstream.TakeInventory(t.Context(), dir, logstream.InventoryOptions{})
	if err != nil || len(inventory.Lost) != 1 {
		t.Errorf("inventory: %+v, %v", inventory, err)
	}
}

func TestNothingIsSetAsideFromACompleteSegment(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		file string
		o    logstream.DirOptions
	}{
		"sealed":         {fifth, logstream.DirOptions{}},
		"compressed":     {fifth + ".zst", logstream.DirOptions{}},
		"a later one":    {sixth, logstream.DirOptions{}},
		"data directory": {fifth + ".partial", logstream.DirOptions{DataDirectory: true}},
	} {
		dir := t.TempDir()
		put(t, dir, c.file, fakeSegment(1, 5))
		if c.file == sixth {
			put(t, dir, fifth+".partial", fakeSegment(1, 5))
		}
		before := names(t, dir)
		files, err := logstream.NewDirStore(dir, mib1, c.o).SetAside(1, fifthStart+5000, fifthStart+6000)
		if err == nil || len(files) != 0 || names(t, dir) != before {
			t.Errorf("%s: files %q, %v: %s", name, files, err, names(t, dir))
		}
	}
}

// At no moment are the lost bytes nowhere.
func TestPowerLossKeepsLostWAL(t *testing.T) {
	t.Parallel()
	powerloss.SkipWhereSlow(t)
	dir := t.TempDir()
	full := fakeSegment(1, 5)
	log := powerloss.Record(t, dir)
	f, err := durable.OpenFile(filepath.Join(dir, fifth+".partial"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(full, 0); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{f.Sync(), f.Close(), durable.SyncDir(dir)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	begun := log.Len()
	files, err := logstream.NewDirStore(dir, mib1, logstream.DirOptions{}).SetAside(1, fifthStart+5000, fifthStart+6000)
	if err != nil {
		t.Fatal(err)
	}
	if log.Len() < begun+6 {
		t.Fatalf("only %d steps", log.Len()-begun)
	}
	r := rand.New(rand.NewPCG(5, 6))
	for n := begun; n <= log.Len(); n++ {
		for _, survives := range []powerloss.Survivor{powerloss.None, powerloss.All, powerloss.Some(r)} {
			tree := log.Crash(n, survives)
			if !bytes.Equal(tree[fifth+".partial"], full) && !bytes.Equal(tree[files[0]], full) {
				t.Errorf("after %d of %d steps the lost WAL is in no file", n-begun, log.Len()-begun)
			}
			if n == log.Len() && len(bytes.Trim(tree[fifth+".partial"][5000:], "\x00")) != 0 {
				t.Error("at the end the partial segment still has what was lost")
			}
		}
	}
}
