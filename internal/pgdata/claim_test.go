package pgdata

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/pgbraid/pgbraid/internal/durable"
)

func data(path string) Directory {
	return Directory{What: "data directory", Path: path, Mode: 0o700, Private: true}
}

func mustClaim(t *testing.T, d Directory) *Claim {
	t.Helper()
	c, err := d.Claim()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Release)
	return c
}

func modeOf(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode() &^ fs.ModeDir
}

// put makes files as the run does, theirs as somebody else does.
func put(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if err := durable.WriteFile(path, []byte("x"), 0o600, false); err != nil {
			t.Fatal(err)
		}
	}
}

func theirs(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("theirs"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if err := durable.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

func mustBeEmpty(t *testing.T, dir string) {
	t.Helper()
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

// TestMaskOfTheUser is not parallel: the mask is the process's.
func TestMaskOfTheUser(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	defer userMask.Store(-1)
	for mask, want := range map[int]fs.FileMode{-1: 0o700, 0: 0o755, 0o022: 0o755, 0o027: 0o750, 0o077: 0o700, 0o777: 0o700} {
		root := t.TempDir()
		KeepMask(mask)
		path := filepath.Join(root, "a", "b", "c")
		d := data(path)
		d.Mode = 0o750 // must not be taken away from the server
		c := mustClaim(t, d)
		if mode := modeOf(t, path); mode != 0o750 {
			t.Errorf("mask %o: the directory's mode is %o", mask, mode)
		}
		for _, dir := range []string{"a", "a/b"} {
			if mode := modeOf(t, filepath.Join(root, dir)); mode != want {
				t.Errorf("mask %o: mode of %s is %o, want %o", mask, dir, mode, want)
			}
		}
		if err := c.Undo(); err != nil {
			t.Error(err)
		}
		mustBeEmpty(t, root)
	}
}

func TestDirectoryIsMadeWithThoseAboveItAndRemovedWithThem(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	path := filepath.Join(root, "a", "b", "c")
	c := mustClaim(t, data(path))
	if c.Existed || len(c.Made) != 3 {
		t.Errorf("existed %v, made %q", c.Existed, c.Made)
	}
	mkdir(t, filepath.Join(path, "d"), filepath.Join(path, "d", "e"))
	put(t, filepath.Join(path, "file"), filepath.Join(path, "d", "e", "f"))
	if err := c.Undo(); err != nil {
		t.Error(err)
	}
	mustBeEmpty(t, root)
}

func TestWhatOthersPutThereStays(t *testing.T) {
	t.Parallel()
	for _, existed := range []bool{false, true} {
		root := t.TempDir()
		path := filepath.Join(root, "a", "b")
		if existed {
			mkdir(t, filepath.Join(root, "a"), path)
		}
		c := mustClaim(t, data(path))
		mkdir(t, filepath.Join(path, "d"), filepath.Join(path, "e"))
		put(t, filepath.Join(path, "d", "f"), filepath.Join(path, "g"))
		theirs(t, filepath.Join(path, "d", "theirs"))
		theirs(t, filepath.Join(root, "a", "theirs"))
		var foreign *ForeignError
		if err := c.Undo(); !errors.As(err, &foreign) || foreign.Path != path {
			t.Errorf("existed %v: error is %v", existed, err)
		}
		var left []string
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if !d.IsDir() {
				left = append(left, strings.TrimPrefix(path, root))
			}
			return err
		})
		if err != nil || strings.Join(left, " ") != "/a/b/d/theirs /a/theirs" {
			t.Errorf("existed %v: left %q, %v", existed, left, err)
		}
	}
}

func TestDirectoryAboveThatSomebodyElseUsesStays(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	c := mustClaim(t, data(filepath.Join(root, "a", "b")))
	theirs(t, filepath.Join(root, "a", "other"))
	if err := c.Undo(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(root, "a", "b")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("b is still there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(root, "a", "other")); err != nil {
		t.Error(err)
	}
}

func TestEmptyDirectoryIsTakenAndGivenBackAsItWas(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		private        bool
		before, during fs.FileMode
	}{
		{true, 0o755, 0o700}, {true, 0o700, 0o700}, {true, 0o750, 0o750}, {true, 0o500, 0o700},
		{true, fs.ModeSetgid | 0o770, fs.ModeSetgid | 0o700}, {true, fs.ModeSticky | 0o777, fs.ModeSticky | 0o700},
		{false, 0o755, 0o755}, {false, fs.ModeSetgid | 0o770, fs.ModeSetgid | 0o770}, {false, 0o777, 0o777},
	} {
		root := t.TempDir()
		if err := os.Chmod(root, test.before); err != nil {
			t.Fatal(err)
		}
		d := data(root)
		d.Private = test.private
		if err := d.Check(); err != nil {
			t.Fatal(err)
		}
		c := mustClaim(t, d)
		if mode := modeOf(t, root); mode != test.during || !c.Existed || len(c.Made) > 0 {
			t.Errorf("%v: mode is %v while it is filled, want %v", test, mode, test.during)
		}
		put(t, filepath.Join(root, ".hidden"))
		if err := c.Undo(); err != nil {
			t.Error(err)
		}
		mustBeEmpty(t, root)
		if mode := modeOf(t, root); mode != test.before {
			t.Errorf("%v: mode is %v afterwards", test, mode)
		}
	}
}

func TestInheritedGroupBitIsKept(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := os.Chmod(root, fs.ModeSetgid|0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, "d")
	mustClaim(t, data(path))
	if mode := modeOf(t, path); mode != fs.ModeSetgid|0o700 {
		t.Errorf("mode is %v", mode)
	}
}

func TestDirectoryThatHoldsSomethingIsRefused(t *testing.T) {
	t.Parallel()
	for name, hint := range map[string]string{".hidden": "empty it", "lost+found": "mount point"} {
		root := t.TempDir()
		if err := os.Chmod(root, 0o755); err != nil {
			t.Fatal(err)
		}
		theirs(t, filepath.Join(root, name))
		d := data(root)
		_, err := d.Claim()
		for _, err := range []error{d.Check(), err} {
			var occupied *NotEmptyError
			if !errors.As(err, &occupied) || occupied.Path != root || occupied.Holds != name || !strings.Contains(occupied.Hint(), hint) {
				t.Errorf("%s: error is %v", name, err)
			}
		}
		if modeOf(t, root) != 0o755 {
			t.Errorf("%s: it was touched", name)
		}
		if err := d.Check(); errors.As(err, new(*InUseError)) {
			t.Error("the lock stayed")
		}
	}
}

func TestWhatIsNoDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	theirs(t, file)
	for _, path := range []string{file, filepath.Join(file, "below")} {
		d := data(path)
		if err := d.Check(); err == nil || !strings.Contains(err.Error(), "not a directory") {
			t.Errorf("%s: check: %v", path, err)
		}
		if c, err := d.Claim(); err == nil || c != nil || !strings.Contains(err.Error(), "not a directory") {
			t.Errorf("%s: claim: %v", path, err)
		}
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "theirs" || modeOf(t, file) != 0o600 {
		t.Errorf("the file was touched: %q, %v", got, err)
	}
}

// What a link in the directory leads to belongs to somebody else.
func TestUndoDoesNotFollowLinks(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	outside, path := filepath.Join(root, "outside"), filepath.Join(root, "d")
	mkdir(t, outside)
	theirs(t, filepath.Join(outside, "file"))
	c := mustClaim(t, data(path))
	mkdir(t, filepath.Join(path, "sub"))
	put(t, filepath.Join(path, "sub", "file"))
	if err := errors.Join(durable.Symlink(outside, filepath.Join(path, "link")), os.RemoveAll(filepath.Join(path, "sub")),
		os.Symlink(outside, filepath.Join(path, "sub"))); err != nil {
		t.Fatal(err)
	}
	_ = c.Undo() // what became of sub is not this run's doing
	if _, err := os.Stat(filepath.Join(outside, "file")); err != nil {
		t.Error(err)
	}
}

func TestDanglingLinkIsNoDirectory(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	link := filepath.Join(root, "link")
	if err := os.Symlink("no/where", link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{link, filepath.Join(link, "a")} {
		_, err := data(path).Claim()
		for _, err := range []error{data(path).Check(), err} {
			var dangling *DanglingError
			if !errors.As(err, &dangling) || dangling.Link != link || dangling.To != "no/where" || dangling.Path != path {
				t.Errorf("%s: error is %v", path, err)
			}
		}
	}
	if _, err := os.Lstat(link); err != nil {
		t.Error(err)
	}
}

// TestClaimIsOfTheDirectoryAndNotOfItsName comes by another name, and again
// when the first one has let go.
func TestClaimIsOfTheDirectoryAndNotOfItsName(t *testing.T) {
	t.Parallel()
	for _, existed := range []bool{false, true} {
		root := t.TempDir()
		path, alias := filepath.Join(root, "d"), filepath.Join(root, "alias")
		if existed {
			mkdir(t, path)
		}
		if err := os.Symlink("d", alias); err != nil {
			t.Fatal(err)
		}
		first := mustClaim(t, data(path))
		for range 2 {
			for _, name := range []string{path, alias} {
				var used *InUseError
				if c, err := data(name).Claim(); !errors.As(err, &used) || c != nil || used.Path != name {
					t.Errorf("existed %v: a second claim of %s: %v", existed, name, err)
				}
			}
			put(t, filepath.Join(path, "f"))
			if err := data(alias).Check(); !errors.As(err, new(*InUseError)) {
				t.Errorf("check of one that is being filled: %v", err)
			}
			if err := durable.Remove(filepath.Join(path, "f")); err != nil {
				t.Fatal(err)
			}
		}
		put(t, filepath.Join(path, "f"))
		first.Release()
		if _, err := data(alias).Claim(); !errors.As(err, new(*NotEmptyError)) {
			t.Errorf("after the first one has finished: %v", err)
		}
	}
}

// TestOneOfManyClaimsADirectory has all come at once, again and again.
func TestOneOfManyClaimsADirectory(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for range 20 {
		var all sync.WaitGroup
		var mu sync.Mutex
		have := 0
		for range 8 {
			all.Go(func() {
				for range 10 {
					c, err := data(filepath.Join(root, "a", "d")).Claim()
					switch {
					case errors.As(err, new(*InUseError)):
						continue
					case err != nil:
						t.Error(err)
						return
					}
					mu.Lock()
					if have++; have > 1 {
						t.Errorf("%d have it", have)
					}
					mu.Unlock()
					put(t, filepath.Join(c.Path, "f"))
					mu.Lock()
					have--
					mu.Unlock()
					if err := c.Undo(); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
	}
}

func TestNamesThatLookCompleteGoFirst(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "d")
	c := mustClaim(t, data(path))
	put(t, filepath.Join(path, "mine"), filepath.Join(path, "other"))
	theirs(t, filepath.Join(path, "theirs"))
	if err := c.Remove("mine", "theirs", "none"); err != nil {
		t.Error(err)
	}
	for name, stays := range map[string]bool{"mine": false, "other": true, "theirs": true} {
		if _, err := os.Stat(filepath.Join(path, name)); (err == nil) != stays {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUndoTellsWhatItCannotRemove(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "d")
	c := mustClaim(t, data(path))
	put(t, filepath.Join(path, "f"), filepath.Join(path, "g"))
	stop := durable.Watch(path, func(c durable.Change) (int, error) {
		if c.Op == durable.OpRemove && filepath.Base(c.Path) == "f" {
			return 0, syscall.EROFS
		}
		return len(c.Data), nil
	})
	defer stop()
	if err := c.Undo(); !errors.Is(err, syscall.EROFS) {
		t.Errorf("error is %v", err)
	}
	if _, err := os.Stat(filepath.Join(path, "g")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("it did not go on")
	}
}
