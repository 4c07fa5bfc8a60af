package verify_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pgbraid/pgbraid/basebackup/verify"
	"github.com/pgbraid/pgbraid/internal/compress"
	"github.com/pgbraid/pgbraid/internal/pgtest"
	"github.com/pgbraid/pgbraid/internal/progress"
)

// TestGoodBackups verifies backups in each form that pg_basebackup makes,
// with manifests of both versions.
func TestGoodBackups(t *testing.T) {
	t.Parallel()
	for _, major := range []int{15, 18} {
		b := newBed(t, major)
		for name, args := range map[string][]string{
			"plain":         {"--manifest-checksums=SHA256"},
			"plain, fetch":  {"-X", "fetch", "--manifest-checksums=NONE"},
			"tar":           {"-F", "t"},
			"tar, fetch":    {"-F", "t", "-X", "fetch"},
			"gzip":          {"-F", "t", "-Z", "client-gzip:1"},
			"gzip, fetch":   {"-F", "t", "-Z", "client-gzip:1", "-X", "fetch"},
			"lz4":           {"-F", "t", "-Z", "client-lz4"},
			"zstd, fetch":   {"-F", "t", "-Z", "client-zstd", "-X", "fetch"},
			"zstd, no sums": {"-F", "t", "-Z", "client-zstd", "--manifest-checksums=SHA512"},
		} {
			if major == 15 && name != "plain" && name != "tar, fetch" && name != "lz4" {
				continue // the archives are the same
			}
			t.Run(name, func(t *testing.T) {
				dir := b.backup(t, args...)
				o := verify.Options{Directory: dir}
				if strings.Contains(strings.Join(args, " "), "NONE") {
					o.SkipChecksums = true // there are none to compare with
				}
				r := mustBeGood(t, o)
				if want := 1 + (major-15)/3; r.ManifestVersion != want || (r.SystemIdentifier != 0) != (want == 2) {
					t.Errorf("manifest version %d, system identifier %d", r.ManifestVersion, r.SystemIdentifier)
				}
				if len(r.Ranges) != 1 || r.Ranges[0].End-r.Ranges[0].Start < 1<<20 {
					t.Errorf("the log does not cross a segment: %+v", r.Ranges)
				}
				o.NoWAL, o.SkipChecksums, o.Jobs = true, true, 1
				if r = mustBeGood(t, o); r.Bytes != 0 {
					t.Errorf("%d bytes were read for nothing", r.Bytes)
				}
				must(t, os.RemoveAll(dir))
			})
		}
		t.Run("log elsewhere", func(t *testing.T) { elsewhere(t, b) })
	}
}

// elsewhere verifies a backup without a log against the server's own, an
// archive of compressed segments, and tar files.
func elsewhere(t *testing.T, b *bed) {
	dir := b.backup(t, "-X", "none")
	wal := filepath.Join(b.cluster.DataDir, "pg_wal")
	r := mustBeGood(t, verify.Options{Directory: dir, WAL: wal})
	// A record begins where pg_waldump says that the last one does.
	w := r.Ranges[0]
	out, err := exec.CommandContext(t.Context(), pgtest.ClientTool(t, b.cluster.Server.Major, "pg_waldump"), "-p", wal, "-s", w.Start.String(), "-e", w.End.String()).Output()
	if err != nil {
		t.Fatal(err)
	}
	records := regexp.MustCompile(`lsn: ([0-9A-F]+)/0*([0-9A-F]+),`).FindAllStringSubmatch(string(out), -1)
	if last := records[len(records)-1]; int64(len(records)) != w.Records || last[1]+"/"+last[2] != w.Last.String() {
		t.Errorf("%d records, the last at %s; pg_waldump has %d, the last %q", w.Records, w.Last, len(records), last[0])
	}
	segments, err := filepath.Glob(filepath.Join(wal, strings.Repeat("[0-9A-F]", 24)))
	must(t, err)
	for _, method := range []compress.Method{compress.Gzip, compress.LZ4, compress.Zstd} {
		archive := t.TempDir()
		for i, s := range segments {
			content, err := os.ReadFile(s)
			must(t, err)
			name := filepath.Base(s) + method.Suffix()
			if i == len(segments)-1 {
				name += ".partial"
			}
			var packed bytes.Buffer
			z, err := compress.Spec{Method: method, Level: 1}.NewWriter(&packed)
			must(t, err)
			_, err = z.Write(content)
			must(t, errors.Join(err, z.Close(), os.WriteFile(filepath.Join(archive, name), packed.Bytes(), 0o600)))
		}
		mustBeGood(t, verify.Options{Directory: dir, WAL: archive})
		mustBeGood(t, verify.Options{Directory: dir, WAL: tarOf(t, segments, filepath.Join(archive, "pg_wal.tar"), method)})
	}
	mustBeGood(t, verify.Options{Directory: dir, WAL: tarOf(t, segments, filepath.Join(t.TempDir(), "pg_wal.tar"), compress.None)})
	mustFind(t, verified(t, verify.Options{Directory: dir}), finding{verify.MissingWAL, ""})
	mustFind(t, verified(t, verify.Options{Directory: dir, WAL: filepath.Join(dir, "nowhere")}), finding{verify.MissingWAL, "nowhere"})
}

// tarOf makes a tar file of files, in their order backwards.
func tarOf(t *testing.T, files []string, name string, method compress.Method) string {
	t.Helper()
	name += method.Suffix()
	f, err := os.Create(name)
	must(t, err)
	z := io.WriteCloser(f)
	if method != compress.None {
		z, err = compress.Spec{Method: method, Level: 1}.NewWriter(f)
		must(t, err)
	}
	w := tar.NewWriter(z)
	for _, s := range slices.Backward(files) {
		content, err := os.ReadFile(s)
		must(t, err)
		must(t, w.WriteHeader(&tar.Header{Name: filepath.Base(s), Size: int64(len(content)), Mode: 0o600}))
		_, err = w.Write(content)
		must(t, err)
	}
	must(t, errors.Join(w.Close(), z.Close()))
	if method != compress.None {
		must(t, f.Close())
	}
	return name
}

// TestProgressEndsAtAll checks that all that was announced is read.
func TestProgressEndsAtAll(t *testing.T) {
	t.Parallel()
	b := newBed(t, 18)
	for _, args := range [][]string{{"-F", "p"}, {"-F", "t", "-z"}} {
		var last progress.Snapshot
		o := verify.Options{Directory: b.backup(t, args...), OnProgress: func(s progress.Snapshot) { last = s }}
		mustBeGood(t, o)
		if last.Phase != progress.Verifying || last.Done != last.Total || last.Total == 0 {
			t.Errorf("%q: %+v", args, last)
		}
	}
}

func TestThatCancellingEndsIt(t *testing.T) {
	t.Parallel()
	b := newBed(t, 18)
	dir := b.backup(t)
	ctx, cancel := context.WithCancelCause(context.Background())
	enough := errors.New("enough")
	cancel(enough)
	if _, err := verify.Run(ctx, verify.Options{Directory: dir}); !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
}
