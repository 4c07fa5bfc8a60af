package pgdata

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestWithin(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	at := func(name string) string { return filepath.Join(root, name) }
	if err := errors.Join(os.MkdirAll(at("a/b"), 0o700), os.Symlink("a", at("link")), os.Symlink("../..", at("a/b/up")), os.Symlink("a/new", at("dangling")), os.Symlink("loop", at("loop"))); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		path, dir string
		want      bool
	}{
		{"a", "a", true}, {"a/b", "a", true}, {"a", "a/b", false}, {"ab", "a", false}, {"a", "ab", false},
		{"link", "a", true}, {"a", "link", true}, {"link/b/x", "a/b", true}, {"link/new/x", "a/new", true},
		{"a/new", "link/new/x", false}, {"a/new", "a/ne", false}, {"a/ne", "a/new", false}, {"a/new/x", "a/new/y", false},
		{"a/b/up/new", "new", true}, {"new", "a/b/up/new", true}, {"a/b/up/a/n", "link/n", true}, {"other/new", "a/new", false},
		{"dangling/x", "a/new", true}, {"a/new/x", "dangling", true}, {"dangling", "a/new/x", false},
	} {
		if got, err := Within(at(test.path), at(test.dir)); err != nil || got != test.want {
			t.Errorf("%s in %s: %v, %v", test.path, test.dir, got, err)
		}
	}
}

func TestCheckApart(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	d := func(what, name string) Directory { return Directory{What: what, Path: filepath.Join(root, name)} }
	for _, test := range []struct {
		dirs []Directory
		want string
	}{
		{[]Directory{d("one", "a"), d("two", "b"), d("three", "ab")}, ""},
		{[]Directory{d("one", "a"), d("two", "b"), d("three", "a/x")}, `three "` + root + `/a/x" lies in the one "` + root + `/a"`},
		{[]Directory{d("one", "a/x/y"), d("two", "a")}, `one "` + root + `/a/x/y" lies in the two "` + root + `/a"`},
		{[]Directory{d("one", "a"), d("two", "a")}, `two "` + root + `/a" is the one "` + root + `/a"`},
	} {
		text := ""
		if err := CheckApart(test.dirs...); err != nil {
			text = err.Error()
		}
		if text != test.want {
			t.Errorf("%q, want %q", text, test.want)
		}
	}
}
