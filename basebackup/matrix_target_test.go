package basebackup_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgbraid/pgbraid/basebackup"
	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// toTarget prepares a backup that stays on the server's side.
func (m *matrixSource) toTarget(t *testing.T, target, detail string) *clone {
	t.Helper()
	c := m.backup(t)
	c.options.Directory, c.options.WAL = "", basebackup.FetchWAL
	c.options.Target, c.options.TargetDetail = target, detail
	return c
}

func TestBackupStaysOnTheServersSide(t *testing.T) {
	t.Parallel()
	for _, s := range []pgtest.Server{pgtest.Distribution(t), pgtest.Newest(t)} {
		t.Run(s.String(), func(t *testing.T) {
			if s.Major < 15 {
				return // refused: see TestBackupThatTheServerCannotMakeIsRefused
			}
			t.Parallel()
			m := newMatrixSource(t, s, pgtest.SegmentSize(1))
			m.addTablespaces(t)
			for compress, suffix := range map[string]string{"": ".tar", "gzip:1": ".tar.gz"} {
				t.Run("server "+compress, func(t *testing.T) {
					there := pgtest.TempDir(t)
					pgtest.GiveToServer(t, there)
					c := m.toTarget(t, basebackup.ServerTarget, filepath.Join(there, "kept"))
					c.options.Compress = compress
					c.start()
					result := c.must()
					if result.Bytes != 0 || result.Directory != "" || result.End.LSN <= result.Start.LSN {
						t.Errorf("result is %+v", result)
					}
					if p := c.progress(); p.Done == 0 || p.Done < p.Total/2 || p.Tablespaces != p.Tablespace {
						t.Errorf("the last progress is %+v", p)
					}
					c.mustHaveLeftNothing(m.Cluster)
					if matrixSize(filepath.Join(there, "kept", "base"+suffix)) <= 0 {
						t.Errorf("there is no base%s", suffix)
					}
					matrixVerifyTar(t, m.Server, filepath.Join(there, "kept"))
					data := matrixUnpack(t, filepath.Join(there, "kept"), c.root)
					matrixVerify(t, m.Server, data)
					matrixRemap(t, data)
					m.mustRestore(t, data)

					c = m.toTarget(t, basebackup.ServerTarget, filepath.Join(there, "kept"))
					if err := c.run(); err == nil || !strings.Contains(err.Error(), "exists but is not empty") {
						t.Errorf("into the same directory: %v", err)
					}
				})
			}
			t.Run("blackhole", func(t *testing.T) {
				c := m.toTarget(t, basebackup.BlackholeTarget, "")
				c.start()
				if result := c.must(); result.End.LSN <= result.Start.LSN {
					t.Errorf("result is %+v", result)
				}
				c.mustHaveLeftNothing(m.Cluster)
			})
			t.Run("no such target", func(t *testing.T) {
				c := m.toTarget(t, "moon", "")
				if err := c.run(); err == nil || !strings.Contains(err.Error(), `unrecognized target: "moon"`) {
					t.Errorf("error is %v", err)
				}
				c.mustHaveLeftNothing(m.Cluster)
			})
		})
	}
}

// A backup of 17 and later may be the difference to an earlier one, and
// pg_combinebackup makes a whole one of such a chain.
func TestStockClientCombinesAChainOfBackups(t *testing.T) {
	t.Parallel()
	for _, major := range []int{17, 18} {
		s := pgtest.Require(t, major)
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			m := newMatrixSource(t, s, pgtest.Config("summarize_wal = on"))
			m.addTablespaces(t)
			root := pgtest.TempDir(t)
			var chain []string
			link := func(format basebackup.Format, compress string) {
				c := m.backup(t)
				c.options.Format, c.options.Compress = format, compress
				c.mapFar(m)
				if len(chain) > 0 {
					c.options.Incremental = filepath.Join(chain[len(chain)-1], "backup_manifest")
				}
				c.start()
				c.must()
				data := c.options.Directory
				if format == basebackup.Tar {
					data = matrixUnpack(t, data, c.root)
				}
				matrixVerify(t, s, data)
				if got := strings.Contains(readFile(filepath.Join(data, "backup_label")), "INCREMENTAL FROM LSN"); got != (len(chain) > 0) {
					t.Errorf("backup %d: incremental is %v", len(chain), got)
				}
				if len(chain) > 0 {
					parts := 0
					for name := range tree(t, data) {
						if strings.HasPrefix(filepath.Base(name), "INCREMENTAL.") {
							parts++
						}
					}
					if parts < 100 {
						t.Errorf("backup %d has only %d files as differences", len(chain), parts)
					}
				}
				chain = append(chain, data)
			}
			change := func(n string) {
				m.SQLIn(t, pgtest.MainDatabase, "UPDATE big SET b = 'changed "+n+"' WHERE id % 1000 = "+n+"; CREATE TABLE new"+n+" AS SELECT generate_series(1, 1000) AS i; DELETE FROM stock.item WHERE id = "+n)
				m.SQL(t, "UPDATE in_far SET t = 'changed "+n+"' WHERE id < 10; UPDATE in_near SET t = '"+n+"'")
				m.settle(t)
			}
			link(basebackup.Plain, "")
			change("1")
			link(basebackup.Tar, "")
			change("2")
			link(basebackup.Plain, "server-gzip:1")
			change("3")
			link(basebackup.Tar, "zstd")

			data := filepath.Join(root, "combined")
			args := []string{"-o", data, "--no-sync"}
			// The tool knows a tablespace by where the last backup has it.
			last := chain[len(chain)-1]
			for oid := range matrixMap(t, last) {
				if at, err := os.Readlink(filepath.Join(last, "pg_tblspc", oid)); err == nil {
					args = append(args, "-T", at+"="+filepath.Join(root, "far"))
				}
			}
			matrixRun(t, pgtest.ClientTool(t, major, "pg_combinebackup"), append(args, chain...)...)
			matrixVerify(t, s, data, "-n")
			matrixRemap(t, data)
			m.mustRestore(t, data)
		})
	}
}

// A server that was promoted has a history file beside its segments, which goes
// into each backup: streamed with the log, or fetched, when the manifest lists
// it.
func TestBackupOfALaterTimelineHasItsHistory(t *testing.T) {
	t.Parallel()
	forEdges(t, func(t *testing.T, s pgtest.Server) {
		primary := s.Init(t, pgtest.SegmentSize(1))
		primary.Start(t)
		primary.SQL(t, "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
		promoted := pgtest.NewStandby(t, primary)
		promoted.Start(t)
		primary.WaitCatchup(t, promoted)
		primary.Stop(t, pgtest.Fast)
		promoted.Promote(t)
		m := &matrixSource{Cluster: promoted}
		m.settle(t)
		for _, form := range []matrixForm{
			{name: "tar", set: func(o *basebackup.Options) { o.Format, o.Compress = basebackup.Tar, "lz4" }},
			{name: "plain, fetch", set: func(o *basebackup.Options) { o.WAL = basebackup.FetchWAL }},
		} {
			t.Run(form.name, func(t *testing.T) {
				c := m.backup(t)
				form.set(&c.options)
				c.start()
				if result := c.must(); result.Start.Timeline != 2 {
					t.Errorf("start is %s", result.Start)
				}
				data := c.options.Directory
				if c.options.Format == basebackup.Tar {
					data = matrixUnpack(t, data, c.root)
				}
				if got := readFile(filepath.Join(data, "pg_wal", "00000002.history")); !strings.HasPrefix(got, "1\t0/") {
					t.Errorf("the history is %q", got)
				}
				matrixVerify(t, s, data)
				m.mustRestore(t, data)
			})
		}
	})
}

// What a release does not have is refused before anything is made.
func TestBackupThatTheServerCannotMakeIsRefused(t *testing.T) {
	t.Parallel()
	sixteen, fourteen := pgtest.Require(t, 16), pgtest.Require(t, 14)
	manifest := filepath.Join(t.TempDir(), "backup_manifest")
	if err := os.WriteFile(manifest, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		server pgtest.Server
		set    func(o *basebackup.Options)
		want   string
	}{
		{"incremental", sixteen, func(o *basebackup.Options) { o.Incremental = manifest }, "server does not support incremental backup"},
		{"incremental, tar", sixteen, func(o *basebackup.Options) { o.Incremental, o.Format = manifest, basebackup.Tar }, "server does not support incremental backup"},
		{"compression that it is built without", sixteen, func(o *basebackup.Options) { o.Compress = "server-zstd" }, "does not support compression with ZSTD"},
		{"target", fourteen, func(o *basebackup.Options) {
			o.Directory, o.Target, o.WAL = "", basebackup.BlackholeTarget, basebackup.FetchWAL
		}, "backup targets are not supported by this server version"},
		{"compression", fourteen, func(o *basebackup.Options) { o.Compress = "server-gzip" }, "server does not support server-side compression"},
		{"manifest of another cluster", pgtest.Require(t, 18), func(o *basebackup.Options) { o.Incremental = manifest }, "manifest"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			source := test.server.Init(t)
			source.Start(t)
			c := (&matrixSource{Cluster: source}).backup(t)
			test.set(&c.options)
			if err := c.run(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want one with %q", err, test.want)
			}
			c.mustHaveLeftNothing(source)
		})
	}
}
