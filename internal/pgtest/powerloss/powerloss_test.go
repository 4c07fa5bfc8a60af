package powerloss

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/pgbraid/pgbraid/internal/durable"
)

// TestOnlyWhatWasSyncedIsThereForCertain goes through a file's life.
func TestOnlyWhatWasSyncedIsThereForCertain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := Record(t, dir)
	must := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	equal := func(got Tree, want map[string]string) bool {
		return maps.EqualFunc(got, want, func(a []byte, b string) bool { return string(a) == b })
	}
	type Tree = map[string]string
	expect := func(what string, certain, possible Tree) {
		t.Helper()
		if got := l.Crash(l.Len(), None); !equal(got, certain) {
			t.Errorf("%s: for certain %q, want %q", what, got, certain)
		}
		if got := l.Crash(l.Len(), All); !equal(got, possible) {
			t.Errorf("%s: possibly %q, want %q", what, got, possible)
		}
	}
	path := filepath.Join(dir, "f")
	f, err := durable.OpenFile(path+".tmp", os.O_RDWR|os.O_CREATE, 0o600)
	must(err)
	_, err = f.Write([]byte("abc"))
	must(err)
	expect("written", Tree{}, Tree{"f.tmp": "abc"})
	must(f.Sync())
	expect("synced without its name", Tree{}, Tree{"f.tmp": "abc"})
	must(durable.SyncDir(dir))
	expect("with its name", Tree{"f.tmp": "abc"}, Tree{"f.tmp": "abc"})
	_, err = f.WriteAt([]byte("XY"), 2)
	must(err)
	expect("written over", Tree{"f.tmp": "abc"}, Tree{"f.tmp": "abXY"})
	must(f.Truncate(1), f.Close(), durable.RenameOnly(path+".tmp", path))
	expect("renamed", Tree{"f.tmp": "abc"}, Tree{"f": "a"})
	must(durable.SyncDir(dir))
	expect("renamed for certain, and the content not", Tree{"f": "abc"}, Tree{"f": "a"})
	must(durable.Mkdir(filepath.Join(dir, "d"), 0o700), durable.WriteFile(filepath.Join(dir, "d", "g"), []byte("g"), 0o600, true))
	expect("in a directory without a name", Tree{"f": "abc"}, Tree{"f": "a", "d/": "", "d/g": "g"})
	all, err := durable.OpenFileSystem(dir)
	must(err)
	must(all.Sync())
	all.Close()
	expect("all of it", Tree{"f": "a", "d/": "", "d/g": "g"}, Tree{"f": "a", "d/": "", "d/g": "g"})
	must(durable.Remove(path))
	expect("removed", Tree{"f": "a", "d/": "", "d/g": "g"}, Tree{"d/": "", "d/g": "g"})

	again := filepath.Join(t.TempDir(), "again")
	must(l.Crash(l.Len(), All).Write(again))
	if got, err := os.ReadFile(filepath.Join(again, "d", "g")); err != nil || string(got) != "g" {
		t.Errorf("written out: %q, %v", got, err)
	}
	if n := l.First(func(name string) bool { return name == "g" }); n < 0 || n >= l.Len() {
		t.Errorf("the first change that names it is number %d", n)
	}
}
