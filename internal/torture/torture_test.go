// Package torture breaks everything that pgbraid stands on, at random points,
// and looks at what is left: see docs/reliability.md.
package torture

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// limit is far more than any run needs: one that takes longer hangs.
const limit = time.Minute

// points is how many points each cell of the matrix is tried at.
func points(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(cmp.Or(os.Getenv("PGBRAID_TORTURE_SEEDS"), "1"))
	if err != nil || n < 1 {
		t.Fatalf("PGBRAID_TORTURE_SEEDS: %v", err)
	}
	return n
}

// firstSeed is that of the first point, for replaying one.
func firstSeed(t *testing.T) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(cmp.Or(os.Getenv("PGBRAID_TORTURE_FIRST"), "1"), 10, 64)
	if err != nil {
		t.Fatalf("PGBRAID_TORTURE_FIRST: %v", err)
	}
	return n
}

// TestMatrix tries each fault on each operation. A point is replayed by its
// seed:
//
//	PGBRAID_TORTURE_FIRST=17 go test ./internal/torture -run 'TestMatrix/clone/full$'
func TestMatrix(t *testing.T) {
	t.Parallel()
	for _, o := range operations {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, o)
			for _, f := range faults {
				if !f.applies(o) {
					continue
				}
				t.Run(f.name, func(t *testing.T) {
					b.t = t
					begun, ended := time.Now(), map[string]int{}
					for n := range points(t) {
						seed := firstSeed(t) + uint64(n)
						ended[b.try(f, seed)]++
						if t.Failed() {
							t.Fatalf("seed %d: PGBRAID_TORTURE_FIRST=%d", seed, seed)
						}
					}
					t.Logf("%d points in %s: %v", points(t), time.Since(begun).Round(time.Second), ended)
				})
			}
			if !o.writes {
				return
			}
			more := map[string]func(){"never open to others": b.neverOpen}
			if !o.oneDisk {
				more["full device"], more["failing device"] = b.onFullDevice, b.onFailingDevice
			}
			for name, try := range more {
				t.Run(name, func(t *testing.T) {
					b.t, b.proxy = t, b.cluster.Proxy(t)
					b.clear()
					try()
				})
			}
		})
	}
}

// bed is what an operation is tried on.
type bed struct {
	t       *testing.T
	o       *operation
	root    string // what the operation makes is below
	cluster *pgtest.Cluster
	proxy   *pgtest.Proxy
	twin    *pgtest.Cluster // for receive: the cluster before it wrote its log
	chain   []string        // for combine: a full backup and one on top of it
	end     string          // for receive: where it ends
	clean   measures
	run     int
	undo    func() // what a fault did to the bed
	listed  bool   // the server itself comes after the proxy in the list of hosts
}

// measures are those of a run without a fault.
type measures struct {
	took                          time.Duration
	bytes, writes, syncs, changes int64
	wire                          int64
}

func newBed(t *testing.T, o *operation) *bed {
	b := &bed{t: t, o: o, root: pgtest.TempDir(t)}
	b.cluster = pgtest.Newest(t).Init(t, pgtest.SegmentSize(1), pgtest.Config("wal_keep_size = '1GB'", "summarize_wal = on",
		// A server holds on to the slot of a connection that fell silent for so long.
		"wal_sender_timeout = '4s'",
		// A base backup's has no such limit: it stays until the proxy ends.
		"max_wal_senders = 200"))
	b.cluster.Start(t)
	b.cluster.Load(t)
	b.proxy = b.cluster.Proxy(t)
	if o.prepare != nil {
		o.prepare(b)
	}
	// A run that nothing happens to.
	counts := filepath.Join(b.root, "counts")
	before := b.proxy.BytesToClient(pgtest.AnyConn)
	p := b.start("none 0", countVariable+"="+counts)
	p.wait()
	b.clean.took = p.took
	if p.code != 0 {
		t.Fatalf("without a fault: exit code %d\n%s", p.code, p.said.String())
	}
	b.clean.wire = b.proxy.BytesToClient(pgtest.AnyConn) - before
	content, err := os.ReadFile(counts)
	if err == nil {
		_, err = fmt.Sscan(string(content), &b.clean.bytes, &b.clean.writes, &b.clean.syncs, &b.clean.changes)
	}
	if err != nil {
		t.Fatal(err)
	}
	o.whole(b, p)
	b.clear()
	return b
}

// dir is where the present run puts what it makes.
func (b *bed) dir() string { return filepath.Join(b.root, "out", strconv.Itoa(b.run), "d") }

// clear goes on to the next run, in a place of its own.
func (b *bed) clear() {
	b.t.Helper()
	if err := os.RemoveAll(filepath.Join(b.root, "out")); err != nil {
		b.t.Fatal(err)
	}
	b.run++
}

// process is pgbraid at work.
type process struct {
	b     *bed
	cmd   *exec.Cmd
	said  pgtest.Output
	begun time.Time
	ended chan struct{}
	took  time.Duration
	code  int // -1: a signal ended it
}

// start runs the operation on a disk.
func (b *bed) start(disk string, env ...string) *process {
	b.t.Helper()
	if err := os.MkdirAll(filepath.Dir(b.dir()), 0o700); err != nil {
		b.t.Fatal(err)
	}
	if b.o.keeps {
		if err := os.MkdirAll(b.dir(), 0o700); err != nil {
			b.t.Fatal(err)
		}
	}
	p := &process{b: b, ended: make(chan struct{}), begun: time.Now()}
	p.cmd = exec.Command(os.Args[0], b.o.args(b)...)
	p.cmd.Env = append(os.Environ(), append(env, diskVariable+"="+disk+" "+filepath.Join(b.root, "out"), "HOME="+b.root)...)
	p.cmd.Stdout, p.cmd.Stderr = &p.said, &p.said
	if err := p.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // the state tells
		p.took = time.Since(p.begun)
		p.code = p.cmd.ProcessState.ExitCode()
		close(p.ended)
	}()
	b.t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
	})
	return p
}

// wait waits for the end.
func (p *process) wait() {
	p.b.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(limit):
		_ = p.cmd.Process.Signal(syscall.SIGQUIT) // to see where it is
		select {
		case <-p.ended:
		case <-time.After(5 * time.Second):
			_ = p.cmd.Process.Kill()
		}
		p.b.t.Fatalf("it hangs:\n%s", p.said.String())
	}
}

// signal is the one that ended it.
func (p *process) signal() syscall.Signal {
	return p.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal()
}

// sleep waits for a moment of the run, or its end.
func (p *process) sleep(d time.Duration) {
	select {
	case <-p.ended:
	case <-time.After(d):
	}
}

// try does a fault to the operation at the point that seed gives, looks at what
// is left, and sees that the next run succeeds. It tells how the run ended.
func (b *bed) try(f *fault, seed uint64) string {
	b.t.Helper()
	b.clear()
	b.proxy = b.cluster.Proxy(b.t)
	hash := fnv.New64()
	fmt.Fprint(hash, b.o.name, f.name)
	r := rand.New(rand.NewPCG(seed, hash.Sum64()))
	p := f.run(b, r)
	p.wait()
	said := p.said.String()
	complain := func(format string, args ...any) {
		b.t.Helper()
		b.t.Errorf("%s\nexit code %d, after %s, and said:\n%s", fmt.Sprintf(format, args...), p.code, p.took, said)
	}
	how := "failed"
	switch {
	case p.code == -1 && f.code != -1 && p.signal() == syscall.SIGTERM && said == "":
		how = "had not begun" // to look out for signals
	case p.code == 0:
		how = "succeeded"
		if f.fatal && !f.mayMiss && !b.o.spare {
			complain("it succeeded all the same")
		}
		b.o.whole(b, p)
	default:
		if f.harmless {
			complain("it failed")
		}
		if p.code != f.code {
			complain("exit code %d, want %d", p.code, f.code)
		}
		named := len(f.says) == 0
		for _, words := range f.says {
			named = named || strings.Contains(strings.ToLower(said), words)
		}
		if !named {
			complain("it does not name the cause: want one of %q", f.says)
		}
		switch what := b.o.looksWhole(b); {
		case what == "":
		case p.code == -1 && !b.o.keeps:
			b.o.whole(b, p) // it was killed at its very end
		default:
			complain("what is left could be taken for a result: %s", what)
		}
		if f.code == 1 && f.tidy && !b.o.keeps {
			if left, err := os.ReadDir(filepath.Dir(b.dir())); err != nil || len(left) != 0 {
				complain("left behind: %v, %v", left, err)
			}
		}
	}
	if f.after != nil {
		f.after(b)
	}
	// Whatever is left of a process that was killed has to be removed by whoever
	// looks at it, as the README says; a receiver goes on in its directory.
	if !b.o.keeps && p.code != 0 {
		b.clear()
	}
	if p.code == 0 && !b.o.keeps {
		return how
	}
	b.proxy = b.cluster.Proxy(b.t) // without what that one still has in mind
	next := b.start("none 0")
	next.wait()
	if next.code != 0 {
		complain("the next run ends with %d:\n%s", next.code, next.said.String())
		return how
	}
	b.o.whole(b, next)
	return how
}
