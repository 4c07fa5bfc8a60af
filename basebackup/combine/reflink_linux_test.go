package combine

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/pgbraid/pgbraid/internal/pgtest"
	"golang.org/x/sys/unix"
)

// TestCloneSharesWhatIsNotRebuilt combines on an XFS, which has reflinks.
func TestCloneSharesWhatIsNotRebuilt(t *testing.T) {
	disk, err := os.MkdirTemp("", "xfs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(disk) })
	mounted := filepath.Join(disk, "mounted")
	if err := errors.Join(os.Mkdir(mounted, 0o755), os.Chmod(disk, 0o755)); err != nil {
		t.Fatal(err)
	}
	pgtest.MountImage(t, mounted, filepath.Join(disk, "image"), 400<<20, "mkfs.xfs", "-q")
	const large, changed = 4096, 64 // blocks
	content := make([]byte, 0, large*blockSize)
	for n := range large {
		content = append(content, block(n)...)
	}
	before := bytes.Repeat(block(7), changed)
	dirs := writtenIn(t, mounted,
		made(0x2000028, 0, map[string][]byte{relation: content, "base/5/16385": before}),
		made(0x3000028, 0x2000028, map[string][]byte{
			changes:                                 incremental(large, nil),
			"base/5/" + incrementalPrefix + "16385": incremental(changed, map[uint32][]byte{3: block(9)}),
		}))
	o := testOptions(t, mounted, dirs)
	o.Method = Clone
	free := room(t, mounted)
	mustRun(t, o)
	unix.Sync()
	if took := free - room(t, mounted); took > large*blockSize/4 {
		t.Errorf("it took %d bytes of a disk on which it shares %d", took, len(content))
	}
	if got := read(t, filepath.Join(o.Output, relation)); !bytes.Equal(got, content) {
		t.Errorf("%d bytes differ from the %d of the full backup", len(got), len(content))
	}
	copy(before[3*blockSize:], block(9))
	if got := read(t, filepath.Join(o.Output, "base/5/16385")); !bytes.Equal(got, before) {
		t.Error("the rebuilt file differs")
	}
}

// room is how many bytes a disk has left.
func room(t *testing.T, dir string) int64 {
	t.Helper()
	var disk unix.Statfs_t
	if err := unix.Statfs(dir, &disk); err != nil {
		t.Fatal(err)
	}
	return int64(disk.Bfree) * disk.Bsize
}
