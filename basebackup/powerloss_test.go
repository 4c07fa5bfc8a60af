package basebackup_test

import (
	"bytes"
	"math/rand/v2"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgbraid/pgbraid/basebackup"
	"github.com/pgbraid/pgbraid/basebackup/verify"
	"github.com/pgbraid/pgbraid/internal/pgtest"
	"github.com/pgbraid/pgbraid/internal/pgtest/powerloss"
)

// TestPowerLossLeavesNoBackupThatIsNone has the power go after each step near
// the end of a backup, and at some before.
func TestPowerLossLeavesNoBackupThatIsNone(t *testing.T) {
	t.Parallel()
	powerloss.SkipWhereSlow(t)
	m := newMatrixSource(t, pgtest.Newest(t))
	m.addTablespaces(t)
	for name, change := range map[string]func(*basebackup.Options){
		"plain":   func(*basebackup.Options) {},
		"standby": func(o *basebackup.Options) { o.Standby = true },
		"cached":  func(o *basebackup.Options) { o.NoDirectIO = true },
		"syncfs":  func(o *basebackup.Options) { o.SyncMethod = basebackup.Syncfs },
		"tar":     func(o *basebackup.Options) { o.Format = basebackup.Tar },
		"gzip":    func(o *basebackup.Options) { o.Format, o.Compress = basebackup.Tar, "gzip:1" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := m.backup(t)
			c.options.NoSync = false
			change(&c.options)
			c.mapFar(m)
			log := powerloss.Record(t, c.root)
			c.start()
			c.must()
			last := log.Crash(log.Len(), powerloss.All)
			if what := lacks(log.Crash(log.Len(), powerloss.None), last); what != "" {
				t.Errorf("when all is done, %s is not durable", what)
			}
			// Until the first of these gets its name nothing looks like a backup.
			first := log.First(func(name string) bool { return name == "pg_control" || name == "backup_manifest" })
			if first < 0 || last["data/backup_manifest"] == nil {
				t.Fatalf("of %d changes, number %d is the first that shows", log.Len(), first)
			}
			r := rand.New(rand.NewPCG(1, 2))
			for n := r.IntN(first / 5); n < first; n += 1 + r.IntN(first/5) {
				if looksWhole(log.Crash(n, powerloss.All)) {
					t.Errorf("after %d changes it looks whole", n)
				}
			}
			seen := 0
			for n := first; n <= log.Len(); n++ {
				ways := []powerloss.Survivor{powerloss.None, powerloss.All}
				for range 3 {
					ways = append(ways, powerloss.Some(r))
				}
				for _, survives := range ways {
					tree := log.Crash(n, survives)
					if !looksWhole(tree) {
						continue
					}
					seen++
					if what := lacks(tree, last); what != "" {
						t.Errorf("after %d of %d changes it looks whole, and %s is not there", n, log.Len(), what)
					}
				}
			}
			if seen == 0 {
				t.Error("it never looks whole")
			}
			if name == "plain" || name == "gzip" {
				again := filepath.Join(pgtest.TempDir(t), "again")
				if err := log.Crash(log.Len(), powerloss.None).Write(again); err != nil {
					t.Fatal(err)
				}
				report, err := verify.Run(t.Context(), verify.Options{Directory: filepath.Join(again, "data")})
				if err != nil {
					t.Fatal(err)
				}
				for _, p := range report.Problems {
					if !strings.HasPrefix(p.Path, "pg_tblspc/") { // a link to where the backup was
						t.Error(p)
					}
				}
			}
		})
	}
}

// looksWhole tells whether a server could start from it, or somebody take it
// for a backup.
func looksWhole(tree powerloss.Tree) bool {
	return tree["data/backup_manifest"] != nil || tree["data/global/pg_control"] != nil
}

// lacks names something of a backup that another tree has, "" if that is all
// there. The manifest may be missing where pg_control is not; marks for the
// server's archiver are not made durable, and the log's own directory of a tar
// backup is removed at any time.
func lacks(tree, whole powerloss.Tree) string {
	for name, want := range whole {
		got, there := tree[name]
		switch {
		case path.Ext(name) == ".done" || strings.HasPrefix(name, "data/pg_wal.tmp/"):
		case name == "data/backup_manifest" && !there && tree["data/global/pg_control"] != nil:
		case !there:
			return name
		case !bytes.Equal(got, want):
			return "all of " + name
		}
	}
	return ""
}
