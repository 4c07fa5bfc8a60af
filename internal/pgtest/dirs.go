package pgtest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Temporary files of all test processes of one user are below one directory:
//
//	pgbraid-test-<uid>/run-<random>/   one test process: removed when its last test
//	                                   ends, or by the next process if it was killed
//	pgbraid-test-<uid>/template/       fresh clusters, kept to be copied
//	pgbraid-test-<uid>/port/           a locked file for each TCP port in use
//
// They are not in t.TempDir: the server's user could not reach that, and the
// path of a socket must fit into about 100 bytes.
var baseDir = sync.OnceValues(func() (string, error) {
	parent := os.Getenv(EnvDir)
	if parent == "" {
		parent = os.TempDir()
	}
	if len(parent) > 30 {
		parent = "/tmp"
	}
	base := filepath.Join(parent, "pgbraid-test-"+strconv.Itoa(os.Geteuid()))
	for _, dir := range []string{base, filepath.Join(base, "template"), filepath.Join(base, "port")} {
		if err := os.Mkdir(dir, 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", err
		}
	}
	info, err := os.Lstat(base)
	if err != nil {
		return "", err
	}
	// Somebody else could have made the directory to put files under our hands.
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || !info.IsDir() || int(st.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return "", fmt.Errorf("%s: not a directory of this user alone", base)
	}
	sweep(base)
	return base, nil
})

// sweep removes what killed test processes left and templates that nobody
// used for days.
func sweep(base string) {
	runs, _ := filepath.Glob(filepath.Join(base, "run-*"))
	for _, run := range runs {
		lock, err := lockFile(filepath.Join(run, "lock"), false)
		if err != nil {
			continue
		}
		// The lock last: while a killed process's server is still ending,
		// not all can be removed, and the next sweep must find the lock.
		dirs, _ := filepath.Glob(filepath.Join(run, "[0-9]*"))
		for _, dir := range dirs {
			err = errors.Join(err, os.RemoveAll(dir))
		}
		if err == nil {
			os.RemoveAll(run)
		}
		lock.Close()
	}
	templates, _ := filepath.Glob(filepath.Join(base, "template", "*"))
	for _, dir := range templates {
		if info, err := os.Stat(dir); err == nil && time.Since(info.ModTime()) > 72*time.Hour {
			os.RemoveAll(dir)
		}
	}
}

// lockFile takes a lock that ends with the process, however that ends.
func lockFile(path string, create bool) (*os.File, error) {
	flags := os.O_RDWR
	if create {
		flags |= os.O_CREATE
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

var runState struct {
	sync.Mutex
	dir   string
	lock  *os.File
	users int
	next  int
}

// TempDir is like t.TempDir, but its path is short and the server's user can
// go through it. The directory belongs to the user who runs the test.
func TempDir(t testing.TB) string {
	t.Helper()
	dir, err := acquireDir()
	if err != nil {
		t.Fatalf("temporary directory: %v", err)
	}
	t.Cleanup(func() {
		if err := releaseDir(dir); err != nil {
			t.Errorf("temporary directory: %v", err)
		}
	})
	return dir
}

func acquireDir() (string, error) {
	base, err := baseDir()
	if err != nil {
		return "", err
	}
	runState.Lock()
	defer runState.Unlock()
	if runState.dir == "" {
		// It gets the name that sweep looks at once the lock is held.
		fresh, err := os.MkdirTemp(base, "new-")
		if err != nil {
			return "", err
		}
		lock, err := lockFile(filepath.Join(fresh, "lock"), true)
		if err != nil {
			return "", err
		}
		name := filepath.Join(base, "run-"+strings.TrimPrefix(filepath.Base(fresh), "new-"))
		if err := errors.Join(os.Chmod(fresh, 0o711), os.Rename(fresh, name)); err != nil {
			lock.Close()
			return "", err
		}
		runState.dir, runState.lock = name, lock
	}
	runState.next++
	dir := filepath.Join(runState.dir, strconv.Itoa(runState.next))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	runState.users++
	return dir, nil
}

func releaseDir(dir string) error {
	err := os.RemoveAll(dir)
	runState.Lock()
	defer runState.Unlock()
	runState.users--
	if runState.users == 0 {
		err = errors.Join(err, os.RemoveAll(runState.dir), runState.lock.Close())
		runState.dir, runState.lock = "", nil
	}
	return err
}

// reservePort finds a TCP port for a server and holds it against other tests
// until the file is closed. The ports are below those that the kernel gives to
// outgoing connections.
func reservePort() (int, *os.File, error) {
	base, err := baseDir()
	if err != nil {
		return 0, nil, err
	}
	for range 1000 {
		port := 20000 + rand.IntN(12000)
		lock, err := lockFile(filepath.Join(base, "port", strconv.Itoa(port)), true)
		if err != nil {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort(loopback, strconv.Itoa(port)))
		if err != nil {
			lock.Close()
			continue
		}
		l.Close()
		return port, lock, nil
	}
	return 0, nil, errors.New("no free TCP port from 20000 to 31999")
}

// GiveToServer makes the server's user the owner of paths, of everything below
// them, and of the tablespace directories that links in pg_tblspc point to.
// Directories above them are opened for passing through. A data directory that
// was written by the test process needs this before a server can use it; run
// by a user other than root, it does nothing.
func GiveToServer(t testing.TB, paths ...string) {
	t.Helper()
	a := serverAccount()
	if !a.other {
		return
	}
	for _, path := range paths {
		if err := giveTree(a, path); err != nil {
			t.Fatalf("give %s to the server's user: %v", path, err)
		}
		makeReachable(path)
	}
}

func giveTree(a account, root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a running server may remove files meanwhile
		}
		if err != nil {
			return err
		}
		if err := a.give(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if d.Type()&fs.ModeSymlink == 0 {
			return nil
		}
		// Tablespaces and a pg_wal that was put elsewhere.
		target, err := filepath.EvalSymlinks(path)
		if err != nil {
			return nil
		}
		makeReachable(target)
		return giveTree(a, target)
	})
}

// makeReachable lets others pass through the directories of ours above path.
func makeReachable(path string) {
	for dir := filepath.Dir(path); dir != "/" && dir != "."; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			continue
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok || int(st.Uid) != os.Geteuid() || !strings.HasPrefix(dir, os.TempDir()+"/") {
			return
		}
		if info.Mode().Perm()&0o111 != 0o111 {
			_ = os.Chmod(dir, info.Mode().Perm()|0o111)
		}
	}
}

// copyTree copies directories, files and links from src to dst, which must
// not exist, keeps their permissions, and gives all to the server's user.
// Where skip says so, a path (relative to src) is left out; for a directory
// that means its content. Files that vanish meanwhile are left out too.
func copyTree(dst, src string, skip func(rel string, d fs.DirEntry) bool) error {
	a := serverAccount()
	return filepath.WalkDir(src, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path != src {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, path)
		if err != nil {
			return err
		}
		skipped := skip != nil && skip(rel, d)
		if skipped && !d.IsDir() {
			return nil
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		target := filepath.Join(dst, rel)
		switch {
		case d.IsDir():
			err = os.Mkdir(target, info.Mode().Perm())
		case d.Type().IsRegular():
			err = copyFile(target, path, info.Mode().Perm())
		case d.Type()&fs.ModeSymlink != 0:
			var link string
			if link, err = os.Readlink(path); err == nil {
				err = os.Symlink(link, target)
			}
		default:
			return nil
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			err = a.give(target)
		}
		if err == nil && skipped {
			return fs.SkipDir
		}
		return err
	})
}

func copyFile(dst, src string, perm fs.FileMode) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Chmod(perm), out.Close())
}
