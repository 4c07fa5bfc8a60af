package torture

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"time"

	"github.com/pgbraid/pgbraid/internal/pgtest"
	"github.com/pgbraid/pgbraid/logstream"
)

// promotedBehind kills the server at some moment after the receiver has WAL that
// its standby never gets, and has the address lead to that standby, which is
// promoted.
func promotedBehind(b *bed, r *rand.Rand) *process {
	old, end := b.cluster, b.end
	standby := pgtest.NewStandby(b.t, old)
	standby.Start(b.t)
	old.SQL(b.t, "SELECT pg_switch_wal()")
	old.WaitCatchup(b.t, standby)
	standby.Stop(b.t, pgtest.Fast)
	// In the segment at hand.
	old.SQL(b.t, fmt.Sprintf("SELECT pg_logical_emit_message(true, 'lost', repeat('x', %d))", 1+r.IntN(500000)))
	ahead, err := logstream.ParseLSN(old.CurrentLSN(b.t))
	if err != nil {
		b.t.Fatal(err)
	}
	b.end = (ahead + 4<<20).String() // on the standby's timeline
	p := b.start("none 0")
	for deadline := time.Now().Add(limit); ; p.sleep(10 * time.Millisecond) {
		have, err := logstream.TakeInventory(b.t.Context(), b.dir(), logstream.InventoryOptions{})
		if err == nil && have.Newest.LSN >= ahead {
			break
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("the receiver does not come to %s: %+v, %v\n%s", ahead, have, err, p.said.String())
		}
	}
	p.sleep(time.Duration(r.Int64N(int64(100 * time.Millisecond))))
	old.Kill(b.t)
	standby.Start(b.t)
	standby.Promote(b.t)
	standby.SQL(b.t, "SELECT pg_create_physical_replication_slot('run', true)")
	b.proxy.SetTarget(standby)
	b.cluster = standby
	writeLog(b, standby, 8)
	b.undo = func() {
		lost, err := filepath.Glob(filepath.Join(b.dir(), "00000001*.lost-*"))
		if err != nil || len(lost) != 1 {
			b.t.Errorf("what was lost is kept in %q, want one file", lost)
		}
		b.clear() // no other server has this history
		b.cluster, b.end = old, end
		standby.Stop(b.t, pgtest.Immediate)
		old.Start(b.t)
	}
	return p
}
