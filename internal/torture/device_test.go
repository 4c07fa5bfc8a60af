package torture

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// What the matrix does between program and system is done here by an ext4: it is
// full, or its device fails.

func (b *bed) onFullDevice() {
	b.t.Helper()
	b.onDevice()
	disk := filepath.Dir(b.dir())
	if b.o.keeps {
		// Some segments find room. Of those that are compressed it is the
		// compressed one that does not, in the end.
		b.waitsForRoom(b.fill(disk, 5<<19))
		return
	}
	filler := b.fill(disk, b.clean.bytes/2)
	b.fails("no space left on device", "not enough space")
	left, err := os.ReadDir(disk)
	if err != nil || len(left) != 1 {
		b.t.Errorf("left behind: %v, %v", left, err)
	}
	if err := os.Remove(filler); err != nil {
		b.t.Fatal(err)
	}
	next := b.start("none 0")
	next.wait()
	if next.code != 0 {
		b.t.Fatalf("the next run ends with %d:\n%s", next.code, next.said.String())
	}
	b.o.whole(b, next)
}

func (b *bed) onFailingDevice() {
	b.t.Helper()
	// What is written back, some time after it was written, finds no room
	// below. With the journal gone nothing can be written at all.
	left := b.clean.bytes / 4
	if b.o.keeps {
		left = 512 << 10
	}
	b.fill(b.onDevice(), left)
	b.fails("no space left on device", "input/output error", "read-only file system")
}

// onDevice mounts an ext4 where the next run puts what it makes. Its device is
// a file in another file system, which gives it room as it is written to.
func (b *bed) onDevice() (below string) {
	t := b.t
	t.Helper()
	device, disk := filepath.Join(b.root, "device"), filepath.Dir(b.dir())
	for _, dir := range []string{device, disk} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	size := 2*b.clean.bytes + 64<<20
	pgtest.Mount(t, device, "-t", "tmpfs", "-o", fmt.Sprintf("size=%d", size), "none")
	pgtest.MountImage(t, disk, filepath.Join(device, "ext4"), size, "mkfs.ext4", "-q", "-m", "0", "-J", "size=4", "-N", "8192")
	if err := os.Remove(filepath.Join(disk, "lost+found")); err != nil {
		t.Fatal(err)
	}
	return device
}

// fails sees that a run does, for a cause, and leaves nothing that is not whole.
func (b *bed) fails(causes ...string) {
	b.t.Helper()
	p := b.start("none 0")
	p.wait()
	said := p.said.String()
	named := false
	for _, cause := range causes {
		named = named || strings.Contains(said, cause)
	}
	if p.code != 1 || !named {
		b.t.Errorf("exit code %d, and it does not say any of %q:\n%s", p.code, causes, said)
	}
	if what := b.o.looksWhole(b); what != "" {
		b.t.Errorf("what is left could be taken for a result: %s\n%s", what, said)
	}
}

// fill leaves some bytes of room on a disk.
func (b *bed) fill(disk string, left int64) (filler string) {
	b.t.Helper()
	filler = filepath.Join(disk, "filler")
	f, err := os.Create(filler)
	if err != nil {
		b.t.Fatal(err)
	}
	buf := make([]byte, 1<<20)
	size := int64(0)
	for err == nil {
		var n int
		n, err = f.Write(buf)
		size += int64(n)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		b.t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(size-left), f.Close()); err != nil {
		b.t.Fatal(err)
	}
	return filler
}

// waitsForRoom sees that a run goes on when there is room again.
func (b *bed) waitsForRoom(filler string) {
	b.t.Helper()
	p := b.start("none 0")
	for deadline := time.Now().Add(limit); strings.Count(p.said.String(), "no space left on device") < 3; p.sleep(10 * time.Millisecond) {
		select {
		case <-p.ended:
			b.t.Fatalf("exit code %d with no room\n%s", p.code, p.said.String())
		default:
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("it does not wait for room:\n%s", p.said.String())
		}
	}
	if said := p.said.String(); strings.Contains(b.o.name, "gzip") && !strings.Contains(said, ".gz.tmp") {
		b.t.Errorf("it is not the compressed segment that has no room:\n%s", said)
	}
	if err := os.Remove(filler); err != nil {
		b.t.Fatal(err)
	}
	p.wait()
	if p.code != 0 {
		b.t.Fatalf("exit code %d\n%s", p.code, p.said.String())
	}
	b.o.whole(b, p)
}
