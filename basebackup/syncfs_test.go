package basebackup_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/pgbraid/pgbraid/basebackup"
	"github.com/pgbraid/pgbraid/internal/durable"
	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// The kernel tells a failure to write to whoever syncs the file system first,
// and to those that had opened it before. A backup that opens it in the end
// would take lost pages for durable ones.
func TestSyncfsTellsOfAFailureThatSomebodyElseWasTold(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("syncfs is Linux's")
	}
	t.Parallel()
	source := pgtest.Newest(t).Init(t)
	source.Start(t)
	for _, format := range []basebackup.Format{basebackup.Plain, basebackup.Tar} {
		t.Run(string(format), func(t *testing.T) {
			disk, device := pgtest.FailingDisk(t, 256<<20)
			c := newClone(t, source.ConnString())
			c.options.Directory, c.options.Format = filepath.Join(disk, "data"), format
			c.options.NoSync, c.options.NoDirectIO, c.options.SyncMethod = false, true, basebackup.Syncfs
			c.options.WAL, c.options.MaxRate = basebackup.FetchWAL, 8<<10
			c.start()
			c.await("data", func(p basebackup.Progress) bool { return p.Done > 0 })
			resume := stopWalsender(t, source)
			// What the backup has written is on the disk: only what is written
			// now gets lost.
			if err := syncNow(disk); err != nil {
				t.Fatal(err)
			}
			device.Fill(t)
			err := os.WriteFile(filepath.Join(disk, "lost"), make([]byte, 1<<20), 0o600)
			if err == nil {
				err = syncNow(disk)
			}
			device.MakeRoom(t)
			resume()
			if !errors.Is(err, syscall.EIO) && !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("the device does not fail: %v", err)
			}
			if err := c.wait(); !errors.Is(err, syscall.EIO) && !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("the backup ends with: %v", err)
			}
		})
	}
}

// syncNow syncs a file system that was not open before.
func syncNow(path string) error {
	f, err := durable.OpenFileSystem(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
