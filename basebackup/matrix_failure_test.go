package basebackup_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/basebackup"
	"github.com/pgbraid/pgbraid/basebackup/manifest"
	"github.com/pgbraid/pgbraid/internal/pgtest"
)

func newBareSource(t *testing.T, s pgtest.Server) *matrixSource {
	t.Helper()
	m := &matrixSource{Cluster: s.Init(t, pgtest.SegmentSize(1))}
	m.Start(t)
	return m
}

func TestTarBackupTouchesNothingThatIsThere(t *testing.T) {
	t.Parallel()
	m := newBareSource(t, pgtest.Newest(t))
	for _, there := range []string{"base.tar", "base.tar.gz", "backup_manifest", "16385.tar", ".hidden"} {
		c := m.backup(t)
		c.options.Format = basebackup.Tar
		if err := errors.Join(os.Mkdir(c.options.Directory, 0o755), os.WriteFile(filepath.Join(c.options.Directory, there), []byte("somebody's"), 0o644)); err != nil {
			t.Fatal(err)
		}
		before := trapTree(t, c.root)
		var full *basebackup.NotEmptyError
		if err := c.run(); !errors.As(err, &full) || full.Path != c.options.Directory {
			t.Errorf("%s: error is %v", there, err)
		}
		matrixUntouched(t, before, trapTree(t, c.root))
	}
}

func matrixUntouched(t *testing.T, before, after map[string]string) {
	t.Helper()
	for name, was := range before {
		if after[name] != was {
			t.Errorf("%s was changed or removed", name)
		}
	}
	for name := range after {
		if _, there := before[name]; !there {
			t.Errorf("left behind: %s", name)
		}
	}
}

// failingForms are those whose bytes take different ways.
var failingForms = []matrixForm{
	{name: "tar", set: func(o *basebackup.Options) { o.Format = basebackup.Tar }},
	{name: "tar, zstd, fetch", set: func(o *basebackup.Options) {
		o.Format, o.Compress, o.WAL = basebackup.Tar, "zstd:1", basebackup.FetchWAL
	}},
	{name: "tar, gzip, standby", set: func(o *basebackup.Options) {
		o.Format, o.Compress, o.Standby = basebackup.Tar, "gzip:1", true
	}},
	{name: "tar, server-gzip", set: func(o *basebackup.Options) { o.Format, o.Compress = basebackup.Tar, "server-gzip:1" }},
	{name: "plain, server-gzip", set: func(o *basebackup.Options) { o.Compress = "server-gzip:1" }},
	{name: "plain, fetch", set: func(o *basebackup.Options) { o.WAL = basebackup.FetchWAL }},
}

// A connection may be lost anywhere: at the beginning, in the middle, and when
// everything has come but the last answer.
func TestConnectionCutInAnArchiveLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, major := range []int{14, 18} {
		s := pgtest.Require(t, major)
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			m := newBareSource(t, s)
			forms := failingForms
			if s.Major < 15 {
				forms = forms[:2] // without frames the bytes take the same ways
			}
			for _, form := range forms {
				t.Run(form.name, func(t *testing.T) {
					proxy := m.Proxy(t)
					prepare := func() *clone {
						c := newClone(t, m.ProxyConnString(proxy.Addr()))
						c.options.Standby = false
						form.set(&c.options)
						return c
					}
					c := prepare()
					c.start()
					c.must()
					whole := proxy.BytesToClient(pgtest.BackupConn)
					late := whole - 300
					if c.options.WAL == basebackup.FetchWAL {
						late = whole / 4 * 3 // how much log there is is not the same each time
					}
					for i, at := range []int64{100, whole / 2, late} {
						c := prepare()
						c.options.NoClean = i == 2
						hit := proxy.InjectAfter(at, pgtest.Reset, pgtest.BackupConn)
						err := c.run()
						select {
						case <-hit:
						case <-time.After(10 * time.Second): // the proxy tells it when it is done
							t.Errorf("cut at byte %d of %d: it was over before", at, whole)
						}
						if err == nil {
							t.Fatalf("cut at byte %d of %d: no error", at, whole)
						}
						if c.options.NoClean {
							mustBeNoBackup(t, c.options.Directory)
						} else {
							c.mustHaveLeftNothing(m.Cluster)
						}
					}
				})
			}
		})
	}
}

// mustBeNoBackup wants nothing in a directory that somebody could take for a
// backup, but something.
func mustBeNoBackup(t *testing.T, dir string) {
	t.Helper()
	for _, pattern := range []string{"base.tar", "base.tar.gz", "base.tar.zst", "backup_manifest", "global/pg_control"} {
		if _, err := os.Lstat(filepath.Join(dir, pattern)); err == nil {
			t.Errorf("%s is there", pattern)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) == 0 {
		t.Errorf("not kept: %v, %v", entries, err)
	}
}

var errEnough = errors.New("enough")

func TestCancelledTarBackupLeavesNothing(t *testing.T) {
	t.Parallel()
	m := newBareSource(t, pgtest.Newest(t))
	for _, form := range failingForms {
		t.Run(form.name, func(t *testing.T) {
			c := m.backup(t)
			form.set(&c.options)
			c.options.MaxRate = 1 << 10
			if err := os.Mkdir(c.options.Directory, 0o755); err != nil {
				t.Fatal(err)
			}
			before := trapTree(t, c.root)
			c.start()
			c.await("data", func(p basebackup.Progress) bool { return p.Done > 0 })
			c.cancel(errEnough)
			if err := c.wait(); !errors.Is(err, errEnough) {
				t.Errorf("error is %v", err)
			}
			matrixUntouched(t, before, trapTree(t, c.root))
			noWalsenders(t, m.Cluster)
		})
	}
}

func TestServerKilledInATarBackupLeavesNothing(t *testing.T) {
	t.Parallel()
	m := newBareSource(t, pgtest.Newest(t))
	for _, compress := range []string{"", "lz4", "server-gzip"} {
		c := m.backup(t)
		c.options.Format, c.options.Compress, c.options.MaxRate = basebackup.Tar, compress, 1<<10
		c.start()
		c.await("data", func(p basebackup.Progress) bool { return p.Done > 0 })
		begun := time.Now()
		m.Kill(t)
		if err := c.wait(); err == nil {
			t.Error("no error")
		}
		if took := time.Since(begun); took > 20*time.Second {
			t.Errorf("it took %v to notice", took)
		}
		matrixUntouched(t, map[string]string{c.root: trapTree(t, c.root)[c.root]}, trapTree(t, c.root))
		m.Start(t)
	}
}

// spoil changes one byte of a file, without the archive's form being hurt.
func spoil(archive []byte) []byte {
	return bytes.Replace(bytes.Clone(archive), []byte("# a comment"), []byte("# A comment"), 1)
}

func gzipped(archive []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = z.Write(archive) // memory takes everything
	_ = z.Close()
	return out.Bytes()
}

// An archive whose bytes are not what the manifest says never gets its name,
// whatever it is kept as.
func TestCorruptedArchiveIsNoBackup(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		compress string
		edit     func(archive []byte) []byte
		want     string
		oldest   int
		mismatch bool
	}{
		"byte of a file":              {"", spoil, `"postgresql.conf"`, 13, true},
		"byte of a file, gzip":        {"gzip", spoil, `"postgresql.conf"`, 13, true},
		"byte of a file, zstd":        {"zstd", spoil, `"postgresql.conf"`, 13, true},
		"header":                      {"", func(a []byte) []byte { a = bytes.Clone(a); a[0] ^= 1; return a }, "checksum", 0, false},
		"header, lz4":                 {"lz4", func(a []byte) []byte { a = bytes.Clone(a); a[0] ^= 1; return a }, "checksum", 0, false},
		"end":                         {"", func(a []byte) []byte { return a[:len(a)-3000] }, "base.tar", 0, false},
		"server-gzip, byte of a file": {"server-gzip", func(a []byte) []byte { return gzipped(spoil(a)) }, `"postgresql.conf"`, 15, true},
		"server-gzip, of the stream":  {"server-gzip", func(a []byte) []byte { z := gzipped(a); z[len(z)/2] ^= 1; return z }, "base.tar", 15, false},
		"server-gzip, its checksum":   {"server-gzip", func(a []byte) []byte { z := gzipped(a); z[len(z)-7] ^= 1; return z }, "base.tar", 15, false},
		"server-gzip, end":            {"server-gzip", func(a []byte) []byte { z := gzipped(a); return z[:len(z)-4] }, "base.tar", 15, false},
		"server-gzip that is none":    {"server-gzip", func(a []byte) []byte { return a }, "base.tar", 15, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, keep := range []bool{false, true} {
				eachRelease(t, test.oldest, func(p *trap) {
					server := strings.HasPrefix(test.compress, "server")
					p.options.Format, p.options.Compress, p.options.NoClean = basebackup.Tar, test.compress, keep
					if server {
						p.backup.Suffix = ".gz"
					}
					p.backup.EditArchive = func(name string, archive []byte) []byte {
						switch {
						case strings.HasPrefix(name, "base.tar"):
							return test.edit(archive)
						case server:
							return gzipped(archive)
						}
						return archive
					}
					var err error
					if keep {
						if err = p.run(); err == nil {
							p.t.Error("no error")
						}
						mustBeNoBackup(p.t, p.options.Directory)
					} else {
						err = p.fails(test.want)
					}
					var mismatch *manifest.MismatchError
					if test.mismatch && !errors.As(err, &mismatch) {
						p.t.Errorf("error is %T: %v", err, err)
					}
				})
			}
		})
	}
}

// The same archives without the damage are a backup: what refused them was the
// damage.
func TestScriptedArchivesWithoutDamageAreABackup(t *testing.T) {
	t.Parallel()
	for _, compress := range []string{"", "gzip", "lz4", "zstd", "server-gzip"} {
		eachRelease(t, 0, func(p *trap) {
			if compress == "server-gzip" {
				if p.server.Major() < 15 {
					return
				}
				p.backup.Suffix = ".gz"
				p.backup.EditArchive = func(_ string, a []byte) []byte { return gzipped(a) }
			}
			p.options.Format, p.options.Compress = basebackup.Tar, compress
			if err := p.run(); err != nil {
				p.t.Fatal(err)
			}
			found, err := filepath.Glob(filepath.Join(p.options.Directory, "base.tar*"))
			if err != nil || len(found) != 1 {
				p.t.Fatalf("base archive: %q, %v", found, err)
			}
			data := p.t.TempDir()
			matrixExtract(p.t, found[0], data)
			if got, want := readFile(filepath.Join(data, "postgresql.conf")), p.backup.File("postgresql.conf"); got != string(want) || got == "" {
				p.t.Errorf("postgresql.conf is %q, want %q", got, want)
			}
		})
	}
}

// Whoever reads an output must see that it is not whole: it has no end, and no
// manifest.
func TestCorruptedOutputHasNoEnd(t *testing.T) {
	t.Parallel()
	eachRelease(t, 13, func(p *trap) {
		p.backup.Tablespaces = p.backup.Tablespaces[len(p.backup.Tablespaces)-1:]
		p.backup.EditArchive = func(_ string, a []byte) []byte { return spoil(a) }
		var out bytes.Buffer
		p.options.Directory, p.options.Format, p.options.WAL, p.options.Output = "", basebackup.Tar, basebackup.NoWAL, &out
		err := p.run()
		var mismatch *manifest.MismatchError
		if !errors.As(err, &mismatch) {
			p.t.Errorf("error is %T: %v", err, err)
		}
		if bytes.HasSuffix(out.Bytes(), make([]byte, 1024)) {
			p.t.Error("the archive has an end")
		}
		r := tar.NewReader(&out)
		for {
			h, err := r.Next()
			if err != nil {
				if err == io.EOF && out.Len() > 0 {
					p.t.Error("the archive has an end")
				}
				return
			}
			if h.Name == "backup_manifest" {
				p.t.Error("the manifest is in the archive")
			}
		}
	})
}

type matrixBroken struct{ after int }

func (w *matrixBroken) Write(p []byte) (int, error) {
	if w.after -= len(p); w.after < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(p), nil
}

// The reader of an output may go away.
func TestOutputThatTakesNoMoreEndsTheBackup(t *testing.T) {
	t.Parallel()
	m := newBareSource(t, pgtest.Newest(t))
	for _, compress := range []string{"", "zstd:1", "gzip:1"} {
		c := m.backup(t)
		c.options.Directory, c.options.Format, c.options.WAL = "", basebackup.Tar, basebackup.NoWAL
		c.options.Compress, c.options.Output = compress, &matrixBroken{after: 1 << 20}
		if err := c.run(); !errors.Is(err, io.ErrClosedPipe) || errors.Is(err, context.Canceled) {
			t.Errorf("%q: error is %v", compress, err)
		}
		c.mustHaveLeftNothing(m.Cluster)
	}
}
