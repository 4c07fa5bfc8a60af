package basebackup_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/pgbraid/pgbraid/basebackup/verify"
	"github.com/pgbraid/pgbraid/internal/pgtest"
	"github.com/pgbraid/pgbraid/logstream"
)

// mustNeedHistory checks that a clone over a promotion is good, and that
// without the history file of its last timeline it is not, as the server finds
// that is started from it.
func (h *held) mustNeedHistory(s pgtest.Server, last logstream.TimelineID) {
	h.t.Helper()
	if s.Major < 13 {
		return // there is no manifest
	}
	copied := filepath.Join(pgtest.TempDir(h.t), "copied")
	if err := os.CopyFS(copied, os.DirFS(h.options.Directory)); err != nil {
		h.t.Fatal(err)
	}
	problems := func() []verify.Problem {
		report, err := verify.Run(h.t.Context(), verify.Options{Directory: copied})
		if err != nil {
			h.t.Fatal(err)
		}
		return report.Problems
	}
	if found := problems(); len(found) > 0 {
		h.t.Errorf("verify: %v", found)
	}
	if err := os.Remove(filepath.Join(copied, "pg_wal", last.HistoryFileName())); err != nil {
		h.t.Fatal(err)
	}
	if found := problems(); len(found) != 1 || found[0].Kind != verify.MissingHistory {
		h.t.Errorf("verify without the history: %v", found)
	}
	// A standby would ask its primary for it.
	_ = os.Remove(filepath.Join(copied, "standby.signal"))
	if err := os.Chmod(copied, 0o700); err != nil {
		h.t.Fatal(err)
	}
	c := pgtest.OpenDataDir(h.t, s, copied)
	if err := c.TryStart(h.t.Context()); err == nil {
		c.Stop(h.t, pgtest.Immediate)
		h.t.Error("the server started without the history")
	}
}

// TestHistoryOfAPromotionIsNeeded clones over one.
func TestHistoryOfAPromotionIsNeeded(t *testing.T) {
	forEdges(t, func(t *testing.T, s pgtest.Server) {
		c := newChain(t, s, 3)
		h := c.hold(t)
		c[0].SQL(t, "INSERT INTO t SELECT generate_series(1, 1000)")
		c.waitCatchup(t, 0)
		c.promote(t, 1, 2)
		h.awaitLog(2, c.last().CurrentLSN(t))
		h.proxy.Lift()
		if result := h.must(); result.Start.Timeline != 1 || result.End.Timeline != 2 {
			t.Fatalf("backup from %s to %s", result.Start, result.End)
		}
		h.mustNeedHistory(s, 2)
	})
}
