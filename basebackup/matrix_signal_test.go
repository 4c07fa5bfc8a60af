//go:build linux

package basebackup_test

import (
	"path/filepath"
	"syscall"
	"testing"

	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// pgbraid backup that is told to end while an archive comes leaves nothing.
func TestSignalInATarBackupLeavesNothing(t *testing.T) {
	t.Parallel()
	c := newFailureCluster(t, pgtest.Newest(t))
	for name, args := range map[string][]string{
		"tar":                {"-Ft", "-Xfetch"},
		"tar, gzip":          {"-Ft", "-Z", "gzip"},
		"tar, server-gzip":   {"-Ft", "-Z", "server-gzip"},
		"plain, server-gzip": {"-Fp", "-Z", "server-gzip"},
	} {
		t.Run(name, func(t *testing.T) {
			c.idle(t)
			root := pgtest.TempDir(t)
			before := trapTree(t, root)
			dir := filepath.Join(root, "data")
			r := failureStart(t, "", c.env, append([]string{"backup", "-D", dir, "-c", "fast", "-r", "256", "-T" + c.space + "=" + filepath.Join(root, "space")}, args...)...).start()
			failureWait(t, "copy", func() bool {
				return c.Query(t, "SELECT count(*) FROM pg_stat_progress_basebackup WHERE phase = 'streaming database files' AND backup_streamed > 0") == "1"
			})
			if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			r.check(143, "signal", "")
			failureSame(t, before, trapTree(t, root))
			c.idle(t)
		})
	}
}
