package durable

import (
	"os"

	"golang.org/x/sys/unix"
)

// FreeSpace asks the file system that holds path, which must exist.
func FreeSpace(path string) (Space, error) {
	var st unix.Stat_t
	if err := retried(func() error { return unix.Stat(path, &st) }); err != nil {
		return Space{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	var fs unix.Statfs_t
	if err := retried(func() error { return unix.Statfs(path, &fs) }); err != nil {
		return Space{}, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	blocks := fs.Bavail
	if os.Geteuid() == 0 {
		blocks = fs.Bfree // what is kept back is kept for root
	}
	unit := fs.Frsize
	if unit == 0 {
		unit = fs.Bsize
	}
	space := Space{Device: uint64(st.Dev), Free: int64(blocks) * int64(unit)}
	switch fs.Type {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC:
		space.Certain = true
	case unix.TMPFS_MAGIC, unix.RAMFS_MAGIC:
		// A ramfs, and a tmpfs without a limit, have no number of blocks.
		space.Certain = fs.Blocks > 0
	}
	return space, nil
}
