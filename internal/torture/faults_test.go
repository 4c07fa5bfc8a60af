package torture

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// fault is one thing that happens to a run.
type fault struct {
	name string
	// run starts the operation and does the fault to it.
	run func(b *bed, r *rand.Rand) *process
	// code is the exit code of a run that fails for it.
	code int
	// says has what one of must be in the message of such a run, in lower case.
	says []string
	// fatal says that a run fails for it, unless it mayMiss it by having ended
	// before; harmless that it must not.
	fatal, mayMiss, harmless bool
	// tidy says that such a run removes what it made.
	tidy bool
	// after mends what the fault broke.
	after func(b *bed)
	// applies tells whether the operation can meet it.
	applies func(o *operation) bool
}

func always(*operation) bool       { return true }
func connected(o *operation) bool  { return o.connects }
func resumes(o *operation) bool    { return o.connects && o.keeps }
func copies(o *operation) bool     { return o.connects && !o.keeps }
func writesDisk(o *operation) bool { return o.writes }

var connectionWords = []string{"connection", "terminat", "eof", "shut", "reset"}

var faults = []*fault{
	{name: "SIGKILL", applies: always, code: -1, fatal: true, mayMiss: true, run: signalled(syscall.SIGKILL)},
	{name: "SIGTERM", applies: ended143, code: 143, fatal: true, mayMiss: true, tidy: true, says: []string{"signal"}, run: signalled(syscall.SIGTERM)},
	{name: "SIGTERM ends it in order", applies: keepsOn, harmless: true, run: signalled(syscall.SIGTERM)},
	{name: "stopped for a while", applies: connected, harmless: true, run: stopped},
	{name: "connection reset", applies: copies, code: 1, tidy: true, mayMiss: true, says: connectionWords, run: wire(pgtest.Reset, pgtest.AnyConn)},
	{name: "connection reset, got over", applies: resumes, harmless: true, run: wire(pgtest.Reset, pgtest.LogConn)},
	{name: "connection silent", applies: copies, code: 1, tidy: true, mayMiss: true, says: []string{"nothing", "silen"}, run: wire(pgtest.Silence, pgtest.BackupConn)},
	{name: "connection silent, got over", applies: resumes, harmless: true, run: wire(pgtest.Silence, pgtest.LogConn)},
	{name: "silent while connecting, got over", applies: resumes, harmless: true, run: silentWhileConnecting},
	{name: "log connection reset", applies: copies, harmless: true, run: wire(pgtest.Reset, pgtest.LogConn)},
	{name: "log connection silent", applies: copies, harmless: true, run: wire(pgtest.Silence, pgtest.LogConn)},
	{name: "server crash", applies: copies, code: 1, tidy: true, mayMiss: true, says: connectionWords, run: ended(pgtest.Immediate), after: restart},
	{name: "server crash, got over", applies: resumes, harmless: true, run: endedAndStarted(pgtest.Immediate)},
	{name: "server fast shutdown", applies: copies, code: 1, tidy: true, mayMiss: true, says: connectionWords, run: ended(pgtest.Fast), after: restart},
	{name: "server fast shutdown, got over", applies: resumes, harmless: true, run: endedAndStarted(pgtest.Fast)},
	{name: "another server on the same timeline at reconnect", applies: resumes, code: 1, fatal: true, mayMiss: true,
		says: []string{"wal differs", "does not continue"}, run: anotherServer},
	{name: "a standby that is behind is promoted, got over", applies: resumes, harmless: true, run: promotedBehind,
		after: func(b *bed) { b.undo() }},
	{name: "another run in the same directory", applies: writesAnew, harmless: true, run: anotherRun},
	{name: "disk full for a moment, got over", applies: keepsOn, harmless: true, run: onDisk("full-once", func(m measures) int64 { return m.bytes })},
	{name: "disk full", applies: writesAnew, code: 1, fatal: true, tidy: true, says: []string{"no space left on device"},
		run: onDisk("full", func(m measures) int64 { return m.bytes })},
	{name: "EIO on write", applies: writesDisk, code: 1, fatal: true, tidy: true, says: []string{"input/output error"},
		run: onDisk("write", func(m measures) int64 { return m.writes })},
	{name: "EIO on fsync", applies: writesDisk, code: 1, fatal: true, tidy: true, says: []string{"input/output error"},
		run: onDisk("sync", func(m measures) int64 { return m.syncs })},
	{name: "read-only midway", applies: writesDisk, code: 1, fatal: true, says: []string{"read-only file system"},
		run: onDisk("readonly", func(m measures) int64 { return m.changes })},
	{name: "slow disk", applies: writesDisk, harmless: true, run: func(b *bed, r *rand.Rand) *process {
		return b.start(fmt.Sprintf("slow %d", 100+r.IntN(1000)))
	}},
}

// Commands that end in order when they are told to, and those that fail then.
func keepsOn(o *operation) bool  { return o.keeps }
func ended143(o *operation) bool { return !o.keeps }

// A receiver waits for room on a disk that is full.
func writesAnew(o *operation) bool { return o.writes && !o.keeps }

// signalled sends a signal at some moment of the run.
func signalled(s syscall.Signal) func(*bed, *rand.Rand) *process {
	return func(b *bed, r *rand.Rand) *process {
		p := b.start("none 0")
		p.sleep(moment(b, r))
		_ = p.cmd.Process.Signal(s) // it may have ended
		return p
	}
}

// stopped has the process stand still for longer than it bears silence, as it
// is when a machine sleeps or moves: to it, the clocks jump.
func stopped(b *bed, r *rand.Rand) *process {
	p := b.start("none 0")
	p.sleep(moment(b, r))
	_ = p.cmd.Process.Signal(syscall.SIGSTOP) // it may have ended
	p.sleep(silenceLimit + silenceLimit/2)
	_ = p.cmd.Process.Signal(syscall.SIGCONT)
	return p
}

func moment(b *bed, r *rand.Rand) time.Duration {
	return time.Duration(r.Int64N(int64(b.clean.took)))
}

// wire does a fault to a connection of a kind at some byte.
func wire(f pgtest.Fault, kind pgtest.ConnKind) func(*bed, *rand.Rand) *process {
	return func(b *bed, r *rand.Rand) *process {
		most := b.clean.wire
		if kind == pgtest.LogConn && !b.o.keeps {
			most = 64 << 10 // little comes on it, at any time of the copy
		}
		b.proxy.InjectAfter(r.Int64N(most), f, kind)
		return b.start("none 0")
	}
}

// silentWhileConnecting has the first server of a list fall silent at some byte
// of the log-in, of the questions that follow, or of the stream's beginning.
func silentWhileConnecting(b *bed, r *rand.Rand) *process {
	b.proxy.InjectAfter(r.Int64N(1000), pgtest.Silence, pgtest.AnyConn)
	b.listed = true
	defer func() { b.listed = false }()
	return b.start("none 0")
}

// ended stops the server at some moment.
func ended(mode pgtest.StopMode) func(*bed, *rand.Rand) *process {
	return func(b *bed, r *rand.Rand) *process {
		p := b.start("none 0")
		if b.o.keeps { // it is the first connection that is not tried again
			for n := 0; n < 1000 && b.proxy.Open(pgtest.LogConn) == 0; n++ {
				p.sleep(time.Millisecond)
			}
		}
		p.sleep(moment(b, r))
		b.cluster.Stop(b.t, mode)
		return p
	}
}

// endedAndStarted does so and starts it again.
func endedAndStarted(mode pgtest.StopMode) func(*bed, *rand.Rand) *process {
	return func(b *bed, r *rand.Rand) *process {
		p := ended(mode)(b, r)
		b.cluster.Start(b.t)
		return p
	}
}

// anotherServer has the address lead to another server, of the same cluster and
// on the same timeline but with other WAL, once the connection was lost.
func anotherServer(b *bed, r *rand.Rand) *process {
	if !b.twin.Running() {
		// Not a standby: it goes on from where it was copied.
		if err := os.Remove(filepath.Join(b.twin.DataDir, "standby.signal")); err != nil {
			b.t.Fatal(err)
		}
		b.twin.Start(b.t)
		b.twin.SQL(b.t, "SELECT pg_create_physical_replication_slot('run', true)")
		writeLog(b, b.twin, logSize+4)
	}
	hit := b.proxy.InjectAfter(b.clean.wire/4+r.Int64N(b.clean.wire/2), pgtest.Reset, pgtest.LogConn)
	p := b.start("none 0")
	select {
	case <-hit:
		// What has passed the proxy need not have come to the receiver: with
		// nothing there, the other server would be as good.
		if there, _ := filepath.Glob(filepath.Join(b.dir(), "0000*")); len(there) > 0 {
			b.proxy.SetTarget(b.twin)
		}
	case <-p.ended:
	}
	return p
}

// anotherRun starts the operation twice, with the same directory. One of them
// gets it, and the other one leaves that alone.
func anotherRun(b *bed, r *rand.Rand) *process {
	first := b.start("none 0")
	first.sleep(moment(b, r))
	second := b.start("none 0")
	first.wait()
	second.wait()
	winner, loser := first, second
	if first.code != 0 {
		winner, loser = second, first
	}
	if said := loser.said.String(); loser.code != 1 || !strings.Contains(said, b.dir()) {
		b.t.Errorf("the other run: exit code %d, want 1 and a word of the directory:\n%s", loser.code, said)
	}
	return winner
}

func restart(b *bed) { b.cluster.Start(b.t) }

// onDisk has the disk fail at some point of all that is done to it.
func onDisk(kind string, most func(measures) int64) func(*bed, *rand.Rand) *process {
	return func(b *bed, r *rand.Rand) *process {
		return b.start(fmt.Sprintf("%s %d", kind, r.Int64N(max(1, most(b.clean)*9/10))))
	}
}
