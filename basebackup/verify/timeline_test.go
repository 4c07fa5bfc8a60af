package verify_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/pgbraid/pgbraid/basebackup/manifest"
	"github.com/pgbraid/pgbraid/basebackup/verify"
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
}
