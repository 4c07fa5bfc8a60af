package basebackup_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/basebackup"
	"github.com/pgbraid/pgbraid/basebackup/manifest"
	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// matrixForm is one way to take a backup.
type matrixForm struct {
	name string
	set  func(o *basebackup.Options)
	// from is the oldest release that can.
	from int
	// all has it done on each release, and once on the distribution's only; it
	// is done on that and on the newest otherwise.
	all, once bool
	// rich needs a server that is built with lz4 and zstd.
	rich bool
}

func (f matrixForm) fits(t *testing.T, m *matrixSource) bool {
	s, d := m.Server, pgtest.Distribution(t)
	switch {
	case s.Major < f.from:
		return false
	case s.BinDir == d.BinDir:
		return true
	case s.Major == pgtest.Newest(t).Major:
		return !f.once && !f.rich
	}
	return f.all
}

var matrixForms = []matrixForm{
	{name: "plain", all: true, set: func(o *basebackup.Options) {}},
	{name: "plain, fetch, encoded", set: func(o *basebackup.Options) {
		o.WAL, o.Manifest, o.ManifestChecksums = basebackup.FetchWAL, basebackup.ForceEncodeManifest, "SHA512"
	}},
	{name: "plain, no log, no manifest", set: func(o *basebackup.Options) {
		o.WAL, o.Manifest = basebackup.NoWAL, basebackup.WithoutManifest
	}},
	{name: "plain, standby, syncfs, WAL directory, no size", set: func(o *basebackup.Options) {
		o.Standby, o.WALDirectory = true, filepath.Join(filepath.Dir(o.Directory), "wal")
		o.NoSync, o.SyncMethod, o.NoEstimateSize = false, basebackup.Syncfs, true
	}},
	{name: "plain, server-gzip", from: 15, set: func(o *basebackup.Options) { o.Compress = "server-gzip:1" }},
	{name: "plain, server-lz4, fetch", rich: true, set: func(o *basebackup.Options) {
		o.Compress, o.WAL = "server-lz4:1", basebackup.FetchWAL
	}},
	{name: "plain, server-zstd, standby", rich: true, set: func(o *basebackup.Options) {
		o.Compress, o.Standby = "server-zstd:level=1,workers=2", true
	}},

	{name: "tar", set: func(o *basebackup.Options) { o.Format = basebackup.Tar }},
	{name: "tar, fetch, durable, lz4", set: func(o *basebackup.Options) {
		o.Format, o.WAL, o.NoSync, o.Compress, o.ManifestChecksums = basebackup.Tar, basebackup.FetchWAL, false, "client-lz4", "SHA224"
	}},
	{name: "tar, no log, gzip", once: true, set: func(o *basebackup.Options) {
		o.Format, o.WAL, o.Compress, o.ManifestChecksums = basebackup.Tar, basebackup.NoWAL, "gzip:level=1,workers=1", "SHA384"
	}},
	{name: "tar, standby, gzip", all: true, set: func(o *basebackup.Options) {
		o.Format, o.Standby, o.Compress, o.ManifestChecksums = basebackup.Tar, true, "client-gzip:1", "SHA256"
	}},
	{name: "tar, lz4, syncfs", once: true, set: func(o *basebackup.Options) {
		o.Format, o.Compress, o.ManifestChecksums = basebackup.Tar, "lz4:level=2,workers=2", "NONE"
		o.NoSync, o.SyncMethod = false, basebackup.Syncfs
	}},
	{name: "tar, zstd, long", once: true, set: func(o *basebackup.Options) {
		o.Format, o.Compress = basebackup.Tar, "zstd:level=2,workers=2,long"
	}},
	{name: "tar, no manifest", once: true, set: func(o *basebackup.Options) {
		o.Format, o.Manifest = basebackup.Tar, basebackup.WithoutManifest
	}},
	{name: "tar, server-gzip", from: 15, once: true, set: func(o *basebackup.Options) {
		o.Format, o.Compress = basebackup.Tar, "server-gzip:level=2"
	}},
	{name: "tar, server-gzip, standby", from: 15, set: func(o *basebackup.Options) {
		o.Format, o.Compress, o.Standby = basebackup.Tar, "server-gzip:1", true
	}},
	{name: "tar, server-lz4", rich: true, set: func(o *basebackup.Options) {
		o.Format, o.Compress = basebackup.Tar, "server-lz4:level=9"
	}},
	{name: "tar, server-zstd, no manifest", rich: true, set: func(o *basebackup.Options) {
		o.Format, o.Compress, o.Manifest = basebackup.Tar, "server-zstd:level=3,workers=2", basebackup.WithoutManifest
	}},
	{name: "tar, server-lz4, standby, fetch", rich: true, set: func(o *basebackup.Options) {
		o.Format, o.Compress, o.Standby, o.WAL = basebackup.Tar, "server-lz4", true, basebackup.FetchWAL
	}},
}

// Each backup is accepted by pg_verifybackup, its archives by the programs that
// they are for, and what is restored from it holds what the source does.
func TestEveryFormOfABackupIsAcceptedAndRestored(t *testing.T) {
	t.Parallel()
	pgtest.ForEachVersion(t, func(t *testing.T, s pgtest.Server) {
		t.Parallel()
		m := newMatrixSource(t, s, pgtest.SegmentSize(1)) // there is little to log
		m.outputs(t)
		m.addTablespaces(t)
		for _, form := range matrixForms {
			if form.fits(t, m) {
				t.Run(form.name, func(t *testing.T) { m.take(t, form) })
			}
		}
	})
}

func (m *matrixSource) take(t *testing.T, form matrixForm) {
	c := m.backup(t)
	form.set(&c.options)
	c.mapFar(m)
	o := &c.options
	c.start()
	result := c.must()
	if o.WAL == basebackup.StreamWAL || o.WAL == "" {
		if result.WALBytes == 0 {
			t.Error("no WAL was streamed")
		}
	}
	m.checkManifest(t, c)
	var verify []string
	if o.WAL == basebackup.NoWAL {
		verify = []string{"-n"}
	}
	data := o.Directory
	if o.Format == basebackup.Tar {
		if o.Manifest != basebackup.WithoutManifest {
			matrixVerifyTar(t, m.Server, o.Directory)
		}
		m.checkNames(t, c)
		data = matrixUnpack(t, o.Directory, c.root)
	}
	if o.Manifest != basebackup.WithoutManifest {
		matrixVerify(t, m.Server, data, verify...)
	}
	matrixRemap(t, data)
	if o.WAL == basebackup.NoWAL {
		m.copyWAL(t, data)
	}
	if !o.Standby {
		m.mustRestore(t, data)
		return
	}
	o.Directory = data
	c.mustFollow(m.Cluster).Stop(t, pgtest.Immediate)
}

// checkManifest looks for the algorithm that was asked for.
func (m *matrixSource) checkManifest(t *testing.T, c *clone) {
	t.Helper()
	text := readFile(filepath.Join(c.options.Directory, "backup_manifest"))
	if c.options.Manifest == basebackup.WithoutManifest {
		if text != "" {
			t.Error("there is a manifest")
		}
		return
	}
	want := manifest.CRC32C
	if name := c.options.ManifestChecksums; name != "" {
		want, _ = manifest.ParseAlgorithm(name)
	}
	files := 0
	if _, err := manifest.Read(strings.NewReader(text), func(f manifest.File) error {
		files++
		if f.Algorithm != want {
			t.Errorf("%s has a checksum of %s", f.Path, f.Algorithm)
		}
		return nil
	}); err != nil || files < 500 {
		t.Errorf("manifest of %d files: %v", files, err)
	}
	if encoded := strings.Count(text, `"Encoded-Path"`); (c.options.Manifest == basebackup.ForceEncodeManifest) != (encoded == files) {
		t.Errorf("%d of %d paths are encoded", encoded, files)
	}
}

// checkNames wants nothing in a directory of archives but these.
func (m *matrixSource) checkNames(t *testing.T, c *clone) {
	t.Helper()
	suffix := map[string]string{"gzip": ".gz", "lz4": ".lz4", "zstd": ".zst", "": ""}
	method, _, _ := strings.Cut(c.options.Compress, ":")
	place, bare, placed := strings.Cut(method, "-")
	if placed {
		method = bare
	}
	want := map[string]bool{"base.tar" + suffix[method]: true}
	for _, ts := range c.result.Tablespaces {
		want[filepath.Base(ts.Path)] = true
		if !strings.HasSuffix(ts.Path, ".tar"+suffix[method]) {
			t.Errorf("archive is called %s", ts.Path)
		}
	}
	if c.options.WAL == basebackup.StreamWAL || c.options.WAL == "" {
		if place == "server" {
			method = "" // the log does not come from there
		}
		want["pg_wal.tar"+suffix[method]] = true
	}
	if c.options.Manifest != basebackup.WithoutManifest {
		want["backup_manifest"] = true
	}
	entries, err := os.ReadDir(c.options.Directory)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !want[e.Name()] {
			t.Errorf("%s is there", e.Name())
		}
		delete(want, e.Name())
		if info, err := e.Info(); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", e.Name(), info.Mode(), err)
		}
	}
	for name := range want {
		t.Errorf("%s is missing", name)
	}
}

// outputs takes backups that go through a pipe. It is for sources without
// tablespaces: only one archive can.
func (m *matrixSource) outputs(t *testing.T) {
	for _, form := range []matrixForm{
		{name: "output", all: true, set: func(o *basebackup.Options) { o.WAL = basebackup.FetchWAL }},
		{name: "output, gzip, standby", set: func(o *basebackup.Options) {
			o.WAL, o.Compress, o.Standby = basebackup.FetchWAL, "gzip", true
		}},
		{name: "output, no log, zstd", once: true, set: func(o *basebackup.Options) { o.WAL, o.Compress = basebackup.NoWAL, "zstd:1" }},
		{name: "output, server-gzip", from: 15, once: true, set: func(o *basebackup.Options) {
			o.WAL, o.Compress, o.Manifest = basebackup.FetchWAL, "server-gzip:1", basebackup.WithoutManifest
		}},
	} {
		if form.fits(t, m) {
			t.Run(form.name, func(t *testing.T) { m.pipe(t, form) })
		}
	}
}

func (m *matrixSource) pipe(t *testing.T, form matrixForm) {
	c := m.backup(t)
	o := &c.options
	form.set(o)
	o.Directory, o.Format = "", basebackup.Tar
	data := filepath.Join(c.root, "data")
	var packer []string
	switch {
	case strings.Contains(o.Compress, "gzip"):
		packer = []string{"-z"}
	case strings.Contains(o.Compress, "zstd"):
		packer = []string{"--zstd"}
	}
	tar := newMatrixTar(t, data, packer...)
	o.Output = tar.in
	c.start()
	c.must()
	tar.wait(t)
	if o.Manifest != basebackup.WithoutManifest {
		args := []string{}
		if o.WAL == basebackup.NoWAL {
			args = []string{"-n"}
		}
		matrixVerify(t, m.Server, data, args...)
	}
	if o.WAL == basebackup.NoWAL {
		m.copyWAL(t, data)
	}
	if o.Standby {
		o.Directory = data
		c.mustFollow(m.Cluster).Stop(t, pgtest.Immediate)
		return
	}
	m.mustRestore(t, data)
}

// A second tablespace has no place in an output.
func TestOutputTakesOneArchiveOnly(t *testing.T) {
	t.Parallel()
	source := pgtest.Newest(t).Init(t)
	source.Start(t)
	source.CreateTablespace(t, "far")
	m := &matrixSource{Cluster: source}
	c := m.backup(t)
	written := &matrixCount{}
	c.options.Directory, c.options.Format, c.options.WAL, c.options.Output = "", basebackup.Tar, basebackup.FetchWAL, written
	err := c.run()
	if err == nil || !strings.Contains(err.Error(), "can only write single tablespace to stdout, database has 2") {
		t.Errorf("error is %v", err)
	}
	if written.n != 0 {
		t.Errorf("%d bytes were written", written.n)
	}
	c.mustHaveLeftNothing(source)
}

type matrixCount struct{ n int }

func (w *matrixCount) Write(p []byte) (int, error) { w.n += len(p); return len(p), nil }

// What goes to an output goes there while it comes, not at the end.
func TestOutputIsWrittenAsItComes(t *testing.T) {
	t.Parallel()
	source := pgtest.Newest(t).Init(t)
	source.Start(t)
	m := &matrixSource{Cluster: source}
	c := m.backup(t)
	first := make(chan time.Time, 1)
	c.options.Directory, c.options.Format, c.options.WAL = "", basebackup.Tar, basebackup.NoWAL
	c.options.MaxRate = 16 << 10
	c.options.Output = matrixFirst(first)
	c.start()
	c.must()
	if ended := time.Now(); ended.Sub(<-first) < 500*time.Millisecond {
		t.Error("the first byte came with the last")
	}
}

type matrixFirst chan time.Time

func (w matrixFirst) Write(p []byte) (int, error) {
	select {
	case w <- time.Now():
	default:
	}
	return len(p), nil
}
