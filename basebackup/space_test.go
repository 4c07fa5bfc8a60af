//go:build linux

package basebackup_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pgbraid/pgbraid/basebackup"
	"github.com/pgbraid/pgbraid/internal/durable"
	"github.com/pgbraid/pgbraid/internal/pgdata"
	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// TestBackupThatDoesNotFitIsRefusedBeforeItsFirstByte has disks that hold less
// than the server says that it has.
func TestBackupThatDoesNotFitIsRefusedBeforeItsFirstByte(t *testing.T) {
	t.Parallel()
	for _, major := range []int{14, 18} {
		s := pgtest.Require(t, major)
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			m := newBareSource(t, s)
			far := m.CreateTablespace(t, "far")
			m.SQL(t, "CREATE TABLE filled TABLESPACE far AS SELECT repeat('x', 1000) FROM generate_series(1, 16000)")
			m.SQL(t, "CHECKPOINT")
			first := m.backup(t)
			first.options.Tablespaces = []basebackup.TablespaceMapping{{Old: far, New: filepath.Join(first.root, "far")}}
			first.start()
			sizes := map[bool]int64{}
			for _, space := range first.must().Tablespaces {
				sizes[space.OID == 0] += space.Size
			}
			base, space := sizes[true], sizes[false]
			if base < 10<<20 || space < 10<<20 {
				t.Fatalf("the server says that it has %d and %d bytes", base, space)
			}
			for name, test := range map[string]struct {
				size int64
				set  func(o *basebackup.Options, disk string)
				fits bool
			}{
				// Each alone has room there, and both have not.
				"data and tablespace": {base + space/2, func(o *basebackup.Options, disk string) {
					o.Directory, o.Tablespaces[0].New = filepath.Join(disk, "data"), filepath.Join(disk, "far")
				}, false},
				"tablespace":     {space / 2, func(o *basebackup.Options, disk string) { o.Tablespaces[0].New = filepath.Join(disk, "a", "far") }, false},
				"data directory": {base / 2, func(o *basebackup.Options, disk string) { o.Directory = filepath.Join(disk, "data") }, false},
				"log":            {512 << 10, func(o *basebackup.Options, disk string) { o.WALDirectory = filepath.Join(disk, "wal") }, false},
				"archives": {base + space/2, func(o *basebackup.Options, disk string) {
					o.Format, o.Directory, o.Tablespaces = basebackup.Tar, filepath.Join(disk, "data"), nil
				}, false},
				"compressed archives": {base/2 + space/2, func(o *basebackup.Options, disk string) {
					o.Format, o.Directory, o.Tablespaces, o.Compress = basebackup.Tar, filepath.Join(disk, "data"), nil, "gzip:1"
				}, true},
				"enough": {base + space + 16<<20, func(o *basebackup.Options, disk string) {
					o.Directory, o.Tablespaces[0].New = filepath.Join(disk, "data"), filepath.Join(disk, "far")
				}, true},
			} {
				t.Run(name, func(t *testing.T) {
					c := m.backup(t)
					c.options.Tablespaces = []basebackup.TablespaceMapping{{Old: far, New: filepath.Join(c.root, "far")}}
					disk := pgtest.TempDir(t)
					pgtest.Mount(t, disk, "-t", "tmpfs", "-o", fmt.Sprintf("size=%d", test.size), "none")
					test.set(&c.options, disk)
					var written atomic.Int64 // the WAL comes alongside
					stop := durable.Watch(disk, func(change durable.Change) (int, error) {
						if change.Op == durable.OpWrite {
							written.Add(int64(len(change.Data)))
						}
						return len(change.Data), nil
					})
					err := c.run()
					stop()
					if test.fits {
						if err != nil {
							t.Errorf("it fits, and the error is %v", err)
						}
						return
					}
					var shortage *pgdata.SpaceError
					if !errors.As(err, &shortage) || !strings.HasPrefix(shortage.Path, disk) || shortage.Free > test.size+4096 || shortage.Need <= shortage.Free {
						t.Fatalf("error is %v", err)
					}
					mustContain(t, "error", err.Error(), fmt.Sprint(shortage.Need), fmt.Sprint(shortage.Free))
					if n := written.Load(); n > 0 {
						t.Errorf("%d bytes were written", n)
					}
					if left, err := os.ReadDir(disk); err != nil || len(left) > 0 {
						t.Errorf("left behind: %v, %v", left, err)
					}
				})
			}
		})
	}
}
