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
