package durable

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestRecordKnowsWhatWasMadeHere makes names in every way, beside those of
// somebody else.
func TestRecordKnowsWhatWasMadeHere(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	dir := filepath.Join(root, "d")
	at := func(name string) string { return filepath.Join(dir, name) }
	must := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(dir, 0o700), os.WriteFile(at("theirs"), nil, 0o600), os.WriteFile(at("theirs too"), nil, 0o600))
	n := Record(dir)
	defer n.Stop()

	must(Mkdir(at("a"), 0o700), Mkdir(at("a/b"), 0o700), os.Mkdir(at("a/theirs"), 0o700), Symlink("x", at("link")),
		WriteFile(at("a/b/f"), nil, 0o600, true), WriteFile(at("theirs too"), nil, 0o600, false),
		Mkdir(at("gone"), 0o700), WriteFile(at("gone/f"), nil, 0o600, false), RemoveAll(at("gone")),
		Mkdir(filepath.Join(root, "dd"), 0o700))
	open := func(f *File, err error) {
		t.Helper()
		must(err)
		must(f.Close())
	}
	open(OpenFile(at("theirs"), os.O_RDWR|os.O_CREATE, 0o600))
	open(OpenFile(at("new"), os.O_RDWR|os.O_CREATE, 0o600))
	open(OpenFile(at("twice"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600))
	if _, err := OpenFile(at("twice"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err == nil {
		t.Error("it was made twice")
	}
	open(OpenFile(at("twice"), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600))
	must(Remove(at("new")))
	r, err := os.OpenRoot(dir)
	must(err)
	defer func() { _ = r.Close() }()
	must(MkdirIn(r, "in", 0o700), SymlinkIn(r, "x", "in/link"))
	open(OpenFileIn(r, "in/f", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600))
	must(RenameIn(r, "in/f", "in/g"), os.WriteFile(at("from"), nil, 0o600), LinkFile(at("from"), at("linked")))

	want := []string{"a", "a/b", "a/b/f", "in", "in/g", "in/link", "link", "linked", "theirs too", "twice"}
	got := slices.Collect(n.Inside)
	for i, name := range got {
		if parent := filepath.Dir(name); parent != "." && !slices.Contains(got[i:], parent) {
			t.Errorf("%s comes after its directory", name)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("recorded %q, want %q", got, want)
	}
	for name := range n.Inside {
		must(RemoveIn(r, name))
		if name == "a/b" {
			break
		}
	}
	n.Stop()
	must(Mkdir(at("later"), 0o700))
	if slices.Contains(slices.Collect(n.Inside), "later") {
		t.Error("it records after it was stopped")
	}
}

func TestRecordOfTheRootDirectory(t *testing.T) {
	t.Parallel()
	n := &Names{below: "/", in: map[string][]string{}}
	n.add("/a/b")
	n.add("/c")
	n.add("/")
	if got := slices.Collect(n.Inside); !slices.Equal(got, []string{"a/b", "c"}) {
		t.Errorf("%q", got)
	}
}
