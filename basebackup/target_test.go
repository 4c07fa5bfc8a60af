package basebackup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func targetMode(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

func targetFile(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTargetIsMadeWithItsParentsAndRemovedWithThem(t *testing.T) {
	root := t.TempDir()
	old := syscall.Umask(0o077) // must not take away what the server needs
	defer syscall.Umask(old)
	path := filepath.Join(root, "a", "b", "c")
	target, err := makeTarget("data directory", path, 0o750)
	if err != nil {
		t.Fatal(err)
	}
	if mode := targetMode(t, path); mode != 0o750 {
		t.Errorf("mode is %o", mode)
	}
	targetFile(t, filepath.Join(path, "file"))
	if err := os.MkdirAll(filepath.Join(path, "d", "e"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := target.remove(); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(root); err != nil || len(entries) != 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

func TestTargetKeepsParentsThatSomebodyElseUses(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	target, err := makeTarget("data directory", filepath.Join(root, "a", "b"), 0o700)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(root, "a", "other")
	targetFile(t, other)
	if err := target.remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(other); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(root, "a", "b")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("b is still there: %v", err)
	}
}

func TestEmptyTargetIsTakenAndGivenBackAsItWas(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := checkTarget("data directory", root); err != nil {
		t.Fatal(err)
	}
	target, err := makeTarget("data directory", root, 0o700)
	if err != nil {
		t.Fatal(err)
	}
	if mode := targetMode(t, root); mode != 0o700 {
		t.Errorf("mode is %o while it is filled", mode)
	}
	targetFile(t, filepath.Join(root, ".hidden"))
	if err := os.MkdirAll(filepath.Join(root, "d", "e"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := target.remove(); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(root); err != nil || len(entries) != 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
	if mode := targetMode(t, root); mode != 0o755 {
		t.Errorf("mode is %o afterwards", mode)
	}
}

func TestTargetThatHoldsSomethingIsRefused(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	hidden := filepath.Join(root, ".hidden")
	targetFile(t, hidden)
	check := func(err error) {
		t.Helper()
		var notEmpty *NotEmptyError
		if !errors.As(err, &notEmpty) || notEmpty.Path != root || notEmpty.What != "WAL directory" || notEmpty.Hint() == "" {
			t.Errorf("error is %v", err)
		}
	}
	check(checkTarget("WAL directory", root))
	target, err := makeTarget("WAL directory", root, 0o700)
	check(err)
	if target != nil {
		t.Error("a target that is not this run's was handed out for removal")
	}
	if _, err := os.Stat(hidden); err != nil || targetMode(t, root) != 0o755 {
		t.Errorf("it was touched: %v", err)
	}
}

func TestTargetThatIsNoDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	targetFile(t, file)
	for _, path := range []string{file, filepath.Join(file, "below")} {
		if err := checkTarget("data directory", path); err == nil {
			t.Errorf("%s passes the check", path)
		}
		if target, err := makeTarget("data directory", path, 0o700); err == nil || target != nil {
			t.Errorf("%s: %v, %v", path, target, err)
		}
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "x" || targetMode(t, file) != 0o600 {
		t.Errorf("the file was touched: %q, %v", got, err)
	}
}

// What a link in the target leads to belongs to somebody else.
func TestRemovingATargetDoesNotFollowLinks(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	outside := filepath.Join(root, "outside")
	if err := os.Mkdir(outside, 0o700); err != nil {
		t.Fatal(err)
	}
	targetFile(t, filepath.Join(outside, "file"))
	for _, existed := range []bool{false, true} {
		path := filepath.Join(root, "target")
		if existed {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		target, err := makeTarget("data directory", path, 0o700)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(outside, filepath.Join(path, "link")); err != nil {
			t.Fatal(err)
		}
		if err := target.remove(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Join(outside, "file")); err != nil {
			t.Errorf("existed %v: %v", existed, err)
		}
	}
}
