package torture

import (
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/internal/cli"
	"github.com/pgbraid/pgbraid/internal/durable"
)

// diskVariable makes the test binary pgbraid, on a disk that fails as its value
// says: "KIND N DIR", for what lies below DIR. KIND is none, or one of faults.
const diskVariable = "PGBRAID_TORTURE_DISK"

// countVariable names the file that gets what was done to the disk.
const countVariable = "PGBRAID_TORTURE_COUNT"

func TestMain(m *testing.M) {
	spec := os.Getenv(diskVariable)
	if spec == "" {
		os.Exit(m.Run())
	}
	field := strings.SplitN(spec, " ", 3)
	at, err := strconv.ParseInt(field[1], 10, 64)
	if err != nil {
		panic(err)
	}
	d := &disk{kind: field[0], at: at}
	setMask()
	if d.kind != "none" || os.Getenv(countVariable) != "" {
		durable.Watch(field[2], d.change)
	}
	code := cli.Main(os.Args[1:])
	if path := os.Getenv(countVariable); path != "" {
		d.mu.Lock()
		if err := os.WriteFile(path, fmt.Append(nil, d.bytes, d.writes, d.syncs, d.changes), 0o600); err != nil {
			panic(err)
		}
	}
	os.Exit(code)
}

// disk is one that fails.
type disk struct {
	kind string
	at   int64

	mu                            sync.Mutex
	bytes, writes, syncs, changes int64
}

// change is a durable.Watcher.
func (d *disk) change(c durable.Change) (int, error) {
	if d.kind == "slow" && (c.Op == durable.OpWrite || c.Op == durable.OpSync) {
		time.Sleep(time.Duration(d.at) * time.Microsecond)
	}
	if d.kind == "modes" {
		modes(c)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changes++
	switch c.Op {
	case durable.OpWrite:
		d.writes++
		d.bytes += int64(len(c.Data))
		if strings.HasPrefix(d.kind, "full") && d.bytes > d.at {
			left := max(0, int64(len(c.Data))-(d.bytes-d.at))
			d.bytes = d.at
			if d.kind == "full-once" {
				d.kind = "none"
			}
			return int(left), broken("write", c.Path, syscall.ENOSPC)
		}
		if d.kind == "write" && d.writes > d.at {
			return 0, broken("write", c.Path, syscall.EIO)
		}
	case durable.OpSync, durable.OpSyncDir, durable.OpSyncFS:
		d.syncs++
		if d.kind == "sync" && d.syncs == d.at+1 { // once: whoever tries again is told that all is well
			return 0, broken("fsync", c.Path, syscall.EIO)
		}
	}
	if d.kind == "readonly" && d.changes > d.at && c.Op != durable.OpClose && c.Op != durable.OpSync && c.Op != durable.OpSyncDir {
		return 0, broken(string(c.Op), c.Path, syscall.EROFS)
	}
	return len(c.Data), nil
}

func broken(op, path string, err error) error { return &fs.PathError{Op: op, Path: path, Err: err} }
