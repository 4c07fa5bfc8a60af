package tarx

import (
	"errors"
	"testing"
)

func TestCleanNameKeepsNamesInsideTheTree(t *testing.T) {
	t.Parallel()
	good := map[string]string{
		"base/1/1259":               "base/1/1259",
		"pg_wal/":                   "pg_wal",
		"./pg_wal/archive_status/":  "pg_wal/archive_status",
		"././/a//b/./c///":          "a/b/c",
		"..a/b..":                   "..a/b..",
		"...":                       "...",
		`back\slash`:                `back\slash`,
		"PG_18_202506291/5/1 space": "PG_18_202506291/5/1 space",
	}
	for name, want := range good {
		if got, err := CleanName(name); err != nil || got != want {
			t.Errorf("CleanName(%q) = %q, %v, want %q", name, got, err, want)
		}
	}
	for _, name := range []string{
		"", ".", "./", ".//", "./.", "/", "//", "/etc/passwd", "..", "../", "../a", "a/..", "a/../b", "a/../../b", "./../a", "a\x00b", "\x00",
	} {
		if got, err := CleanName(name); !errors.Is(err, ErrUnsafeName) || got != "" {
			t.Errorf("CleanName(%q) = %q, %v, want ErrUnsafeName", name, got, err)
		}
	}
}

func TestTrimmingNeverMakesANameAbsolute(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{".//etc": "etc", "./": ".", "/": "/", "//": "/", "././": ".", "a/./": "a/.", "": ""} {
		if got := trimName(name); got != want {
			t.Errorf("trimName(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestSafeLinkKeepsRelativeTargetsInsideTheTree(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, target string
		ok           bool
	}{
		{"pg_tblspc/16384", "/srv/space", true}, // the sink's business
		{"pg_tblspc/16384", "/srv/../space", true},
		{"pg_tblspc/16384", "../spaces/one", true},
		{"pg_tblspc/16384/", "..", true},
		{"pg_wal", "elsewhere/wal", true},
		{"pg_wal", "./wal/", true},
		{"a/b/c", "../../d", true},
		{"a/b/c", "./.././../d", true},
		{"a/b/c", "../../../d", false},
		{"./a//b", "../../d", false},
		{"pg_wal", "..", false},
		{"pg_wal", "../x", false},
		{"pg_tblspc/16384", "x/../../y", false},
		{"pg_tblspc/16384", "x/../y", false}, // x may be a link itself
		{"pg_wal", "", false},
		{"pg_wal", "a\x00", false},
		{"pg_wal", "/a\x00", false},
		{"../pg_wal", "a", false},
		{"/pg_wal", "/a", false},
	}
	for _, test := range tests {
		err := SafeLink(test.name, test.target)
		if test.ok != (err == nil) || err != nil && !errors.Is(err, ErrUnsafeName) {
			t.Errorf("SafeLink(%q, %q) = %v", test.name, test.target, err)
		}
	}
}
