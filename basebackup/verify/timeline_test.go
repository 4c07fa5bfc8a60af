package verify_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pgbraid/pgbraid/basebackup/manifest"
	"github.com/pgbraid/pgbraid/basebackup/verify"
	"github.com/pgbraid/pgbraid/internal/compress"
	"github.com/pgbraid/pgbraid/internal/pgtest"
	"github.com/pgbraid/pgbraid/logstream"
)

// TestLogOfTwoTimelines walks a log over a promotion, as a backup needs that a
// standby gave while its primary was replaced.
func TestLogOfTwoTimelines(t *testing.T) {
	t.Parallel()
	b := newBed(t, 18)
	standby := pgtest.NewStandby(t, b.cluster)
	standby.Start(t)
	first := mustBeGood(t, verify.Options{Directory: b.backup(t)}).Ranges[0]
	b.cluster.Query(t, "SELECT pg_logical_emit_message(true, '', 'the fork is inside a segment')")
	b.cluster.WaitCatchup(t, standby)
	standby.Promote(t)
	promoted := &bed{cluster: standby, root: b.root, space: "/nowhere", taken: b.taken}
	dir := promoted.backup(t, "-X", "none", "-T", standby.Query(t, "SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'space'")+"="+filepath.Join(b.root, "space"))
	wal := filepath.Join(standby.DataDir, "pg_wal")
	content, err := os.ReadFile(filepath.Join(wal, "00000002.history"))
	must(t, err)
	history, err := logstream.ParseHistory(content)
	must(t, err)
	fork, ok := history.SwitchPoint(1)
	if !ok || fork <= first.End {
		t.Fatalf("fork at %s, %v, after %+v", fork, ok, first)
	}
	rewriteManifest(t, filepath.Join(dir, "backup_manifest"), func(s *manifest.Summary) {
		s.Ranges = []manifest.WALRange{{Timeline: 2, Start: fork, End: s.Ranges[0].End}, {Timeline: 1, Start: first.Start, End: fork}}
	})
	mustBeGood(t, verify.Options{Directory: dir, WAL: wal})

	// The new timeline's first segment begins as a copy of the old one's last.
	archive := filepath.Join(t.TempDir(), "archive")
	must(t, os.CopyFS(archive, os.DirFS(wal)))
	name := func(timeline logstream.TimelineID) string {
		return filepath.Join(archive, logstream.SegmentSize(segment).FileName(timeline, logstream.SegmentNumber(fork/segment)))
	}
	_ = os.Remove(name(1)) // the server may have removed it
	mustBeGood(t, verify.Options{Directory: dir, WAL: archive})
	must(t, os.Remove(name(2)))
	mustFind(t, verified(t, verify.Options{Directory: dir, WAL: archive}),
		finding{verify.MissingWAL, filepath.Base(name(1))}, finding{verify.MissingWAL, filepath.Base(name(2))})

	t.Run("history", func(t *testing.T) {
		archive := filepath.Join(t.TempDir(), "archive")
		must(t, os.CopyFS(archive, os.DirFS(wal)))
		history := filepath.Join(archive, "00000002.history")
		change(t, history, func(b []byte) []byte { return bytes.Replace(b, []byte("1\t0/"), []byte("1\t1/"), 1) })
		mustFind(t, verified(t, verify.Options{Directory: dir, WAL: archive}), finding{verify.DamagedWAL, "00000002.history"})
		must(t, os.Remove(history))
		mustFind(t, verified(t, verify.Options{Directory: dir, WAL: archive}), finding{verify.MissingHistory, "00000002.history"})
		mustBeGood(t, verify.Options{Directory: dir, WAL: archive, AsPgVerifybackup: true})

		// As a server looks for it: in the backup's own pg_wal, or an archive.
		inside := copyOf(t, dir)
		must(t, os.WriteFile(filepath.Join(inside, "pg_wal/00000002.history"), content, 0o600))
		mustBeGood(t, verify.Options{Directory: inside, WAL: archive})
		files, err := filepath.Glob(filepath.Join(wal, "0*"))
		must(t, err)
		for _, method := range []compress.Method{compress.None, compress.Zstd} {
			mustBeGood(t, verify.Options{Directory: dir, WAL: tarOf(t, files, filepath.Join(t.TempDir(), "pg_wal.tar"), method)})
			without := slices.DeleteFunc(slices.Clone(files), func(name string) bool { return filepath.Ext(name) != "" })
			mustFind(t, verified(t, verify.Options{Directory: dir, WAL: tarOf(t, without, filepath.Join(t.TempDir(), "pg_wal.tar"), method)}), finding{verify.MissingHistory, "00000002.history"})
		}
	})
}

// TestSegmentsThatNoServerReads has a backup's own segments compressed or named
// as incomplete. An archive may have them so: restoring unpacks them.
func TestSegmentsThatNoServerReads(t *testing.T) {
	t.Parallel()
	b := newBed(t, 18)
	dir := b.backup(t)
	segments, err := filepath.Glob(filepath.Join(dir, "pg_wal", strings.Repeat("[0-9A-F]", 24)))
	must(t, err)
	for _, suffix := range []string{".gz", ".lz4", ".zst", ".partial", ".gz.partial"} {
		t.Run(suffix, func(t *testing.T) {
			copied := copyOf(t, dir)
			method, _ := compress.BySuffix(strings.TrimSuffix(suffix, ".partial"))
			for _, name := range segments {
				content, err := os.ReadFile(name)
				must(t, err)
				name = filepath.Join(copied, "pg_wal", filepath.Base(name))
				must(t, errors.Join(os.Remove(name), os.WriteFile(name+suffix, pack(t, method, content), 0o600)))
			}
			r := verified(t, verify.Options{Directory: copied})
			mustFind(t, r, finding{verify.MissingWAL, filepath.Base(segments[0])})
			if want := "there is only " + filepath.Base(segments[0]) + suffix; len(r.Problems) == 1 && !strings.Contains(r.Problems[0].String(), want) {
				t.Errorf("%s, want %q", r.Problems[0], want)
			}
			mustBeGood(t, verify.Options{Directory: copied, WAL: filepath.Join(copied, "pg_wal")})
			mustFind(t, verified(t, verify.Options{Directory: copied, WAL: filepath.Join(copied, "pg_wal"), AsPgVerifybackup: true}), finding{verify.MissingWAL, filepath.Base(segments[0])})
		})
	}
}
