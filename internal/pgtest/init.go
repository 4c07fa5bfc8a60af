package pgtest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Init makes a cluster, which Start then starts: UTF8, locale C, superuser
// postgres, data checksums, settings that let it be backed up and replicated,
// and fsync off. Its directory is removed when the test ends.
func (s Server) Init(t testing.TB, opts ...Option) *Cluster {
	t.Helper()
	o := collect(opts)
	c := newCluster(t, s, o)
	c.DataDir = filepath.Join(c.dir, "data")
	if err := s.initData(c.DataDir, o); err != nil {
		t.Fatalf("initdb of %s: %v", s, err)
	}
	if o.tls {
		c.TLS = makeTLS(t, filepath.Join(c.dir, "tls"))
	}
	appendFile(t, filepath.Join(c.DataDir, "postgresql.conf"), o.serverConfig(s, c.TLS))
	if err := os.WriteFile(filepath.Join(c.DataDir, "pg_hba.conf"), []byte(o.hbaConfig()), 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

var templateMutex sync.Mutex

// initData makes the data directory: by initdb, or as a copy of one that
// initdb made before with the same arguments.
func (s Server) initData(dir string, o options) error {
	args := o.initdbArgs(s)
	if o.fresh {
		return s.runInitdb(dir, args)
	}
	base, err := baseDir()
	if err != nil {
		return err
	}
	info, err := os.Stat(s.program("postgres"))
	if err != nil {
		return err
	}
	key := sha256.Sum256(fmt.Appendf(nil, "%q %q %v %d %d %q", s.BinDir, s.Version, info.ModTime(), info.Size(), serverAccount().uid, args))
	template := filepath.Join(base, "template", fmt.Sprintf("%s-%x", s, key[:8]))

	templateMutex.Lock()
	defer templateMutex.Unlock()
	if _, err := os.Stat(filepath.Join(template, "data", "PG_VERSION")); err != nil {
		fresh, err := os.MkdirTemp(filepath.Join(base, "template"), "new-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(fresh)
		if err := errors.Join(os.Chmod(fresh, 0o711), s.runInitdb(filepath.Join(fresh, "data"), args)); err != nil {
			return err
		}
		// Another process may have been faster: its template is as good.
		if err := os.Rename(fresh, template); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	now := time.Now()
	return errors.Join(os.Chtimes(template, now, now), copyTree(dir, filepath.Join(template, "data"), nil))
}

// runInitdb makes dir and has initdb fill it.
func (s Server) runInitdb(dir string, args []string) error {
	if err := errors.Join(os.Mkdir(dir, 0o700), serverAccount().give(dir)); err != nil {
		return err
	}
	cmd := exec.Command(s.program("initdb"), append(slices.Clone(args), "-D", dir)...)
	cmd.Dir = dir
	out, err := run(cmd)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// OpenDataDir takes a data directory that something else wrote, such as a
// base backup, as a cluster that Start can start. The directory and its
// tablespaces become the server user's property. No file in it is changed:
// port, socket directory and all options go on the command line of postgres.
func OpenDataDir(t testing.TB, s Server, dir string, opts ...Option) *Cluster {
	t.Helper()
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	o := collect(opts)
	o.args = append([]string{"-c", "logging_collector=off", "-c", "log_destination=stderr", "-c", "fsync=off"}, o.args...)
	for _, line := range o.config {
		name, value, found := strings.Cut(line, "=")
		if !found {
			t.Fatalf("setting %q: want name = value", line)
		}
		o.args = append(o.args, "-c", strings.TrimSpace(name)+"="+unquoteConfig(strings.TrimSpace(value)))
	}
	c := newCluster(t, s, o)
	c.DataDir = dir
	c.passwordSet = true // it came with the data
	GiveToServer(t, dir)
	return c
}

// unquoteConfig takes a value of postgresql.conf as the command line wants it.
func unquoteConfig(value string) string {
	if len(value) >= 2 && value[0] == '\'' && value[len(value)-1] == '\'' {
		return strings.ReplaceAll(value[1:len(value)-1], "''", "'")
	}
	return value
}

func appendFile(t testing.TB, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Close(), serverAccount().give(path)); err != nil {
		t.Fatal(err)
	}
}
