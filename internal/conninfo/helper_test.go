package conninfo

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// isolate hides the environment's PG* variables and home directory from a
// test, and gives it an empty home. The test cannot be parallel.
func isolate(t testing.TB) (home string) {
	t.Helper()
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "PG") {
			t.Setenv(name, "")
			os.Unsetenv(name)
		}
	}
	home = t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("PGSYSCONFDIR", filepath.Join(home, "sysconf"))
	return home
}

func writeFile(t testing.TB, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func mustParse(t testing.TB, connString string) *Info {
	t.Helper()
	i, err := Parse(Flags{ConnString: connString}, "prog")
	if err != nil {
		t.Fatalf("Parse(%q): %v", connString, err)
	}
	return i
}
