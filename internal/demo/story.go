//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

type demo struct {
	ctx              context.Context
	quit             context.CancelCauseFunc
	pgbraid, bin     string
	dir, password    string
	account          account
	primary, standby *server
	load             *load
}

const fill = `
CREATE TABLE orders AS SELECT id, id % 10007 AS customer, now() - id * interval '1 s' AS placed, repeat(md5(id::text), 3) AS note
	FROM generate_series(1, 1200000) id;
CREATE TABLE events TABLESPACE side AS SELECT id, repeat(md5(id::text), 4) AS payload FROM generate_series(1, 600000::bigint) id;
ALTER TABLE events ADD PRIMARY KEY (id);
SELECT (sum(pg_database_size(oid)) / 1048576)::int FROM pg_database`

func (d *demo) startPrimary() {
	d.say("1. A primary with a tablespace, and writes that do not stop")
	began := time.Now()
	d.initdb("primary")
	d.primary = d.start("primary")
	d.mkdir("side")
	d.primary.row("CREATE TABLESPACE side LOCATION '" + d.dir + "/side'")
	size := d.primary.row(fill)[0]
	d.say("   PostgreSQL on 127.0.0.1:%d holds %s MB: table orders, and events in tablespace side (%.1f s)", d.primary.port, size, time.Since(began).Seconds())
	d.load = startLoad(d.ctx, d.primary)
	d.sleep(2 * time.Second)
	d.say("   write load into events: %d rows/s, %d in each transaction", d.load.rate(), batch)
}

func (d *demo) clone() {
	d.say("\n2. The clone: pgbraid copies data and log while the load goes on\n")
	line := fmt.Sprintf("%[1]s clone -h 127.0.0.1 -p %[2]d -U postgres -D %[3]s/standby -c fast -C -S demo -T %[3]s/side=%[3]s/standby-side",
		d.pgbraid, d.primary.port, d.dir)
	d.say("PGPASSWORD=%s %s\n", d.password, line)
	cmd := exec.Command(d.pgbraid, strings.Fields(line)[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "PGPASSWORD="+d.password)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	d.load.rate() // counts from here
	check(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var err error
	select {
	case err = <-ended:
	case <-d.ctx.Done():
		// Ctrl-C reaches pgbraid too, and a second signal would cut its
		// cleaning up short; other signals come to us alone.
		nudge := time.AfterFunc(2*time.Second, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
		err = <-ended
		nudge.Stop()
	}
	if err != nil {
		check(fmt.Errorf("%s clone: %w", d.pgbraid, err))
	}
	d.say("\n   meanwhile the primary took %d rows/s", d.load.rate())
}

func (d *demo) follow() {
	d.say("\n3. The clone becomes a standby, and catches up")
	if d.account.other {
		d.say("   chown -R %s: no server runs as root", d.account.name)
		d.give("standby")
		d.give("standby-side")
	}
	began := time.Now()
	d.standby = d.start("standby")
	d.catchUp()
	d.say("   postgres -D %s/standby -c port=%d\n   streams, and had caught up after %.1f s\n", d.dir, d.standby.port, time.Since(began).Seconds())

	const table = "   %-12s %-17s %-8s %-16s %s"
	d.say(table, "primary at", "standby replayed", "behind", "rows in primary", "in standby")
	for range 4 {
		rows := d.standby.row("SELECT count(*) FROM events")[0]
		p := d.primary.row(`SELECT pg_current_wal_lsn(), replay_lsn, pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn),
			(SELECT count(*) FROM events) FROM pg_stat_replication WHERE state = 'streaming'`)
		d.say(table, p[0], p[1], p[2]+" B", p[3], rows)
		d.sleep(500 * time.Millisecond)
	}
	d.say("\n   The load pauses, to compare all rows:")
	d.load.turn.Lock()
	defer d.load.turn.Unlock()
	d.catchUp()
	for _, table := range []string{"orders", "events"} {
		digest := "SELECT count(*) || ' rows, digest ' || md5(sum(hashtextextended(t::text, 0))::text) FROM " + table + " t"
		p, s := d.primary.row(digest)[0], d.standby.row(digest)[0]
		if p != s {
			check(fmt.Errorf("%s: %s in the primary, %s in the standby", table, p, s))
		}
		d.say("   %s: %s, on both", table, p)
	}
}

// catchUp waits until the standby streams and has replayed all that the
// primary has written by now.
func (d *demo) catchUp() {
	now := d.primary.row("SELECT pg_current_wal_lsn()")[0]
	d.wait("standby catching up", func() bool {
		check(d.standby.failure())
		return d.primary.row("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND replay_lsn >= '" + now + "'")[0] == "1"
	})
}

func (d *demo) failOver() {
	d.say("\n4. The primary dies in the middle of its load, and the standby takes over")
	d.sleep(time.Second)
	check(d.load.failure())
	before := d.standby.row("SELECT count(*), pg_last_wal_receive_lsn(), (SELECT received_tli FROM pg_stat_wal_receiver) FROM events")
	check(d.primary.kill())
	acknowledged := d.load.stop()
	d.say("   just before, the standby had the log up to %s, timeline %s, and showed %s rows", before[1], before[2], before[0])
	d.say("   primary killed (immediate shutdown) after it had acknowledged %d rows", acknowledged)
	d.standby.row("SELECT pg_promote()")
	// Rows are numbered from 1: none is missing if the last number is the count.
	after := d.standby.row("SELECT count(*), pg_last_wal_replay_lsn(), ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int," +
		"count(*) = max(id) AND count(*) >= " + before[0] + " AND pg_last_wal_replay_lsn() >= '" + before[1] + "' FROM events")
	if after[3] != "t" || after[2] == before[2] {
		check(fmt.Errorf("the promoted standby has %s rows up to number %s, log up to %s, timeline %s", after[0], d.standby.row("SELECT max(id) FROM events")[0], after[1], after[2]))
	}
	d.say("   standby promoted: it goes on from %s on timeline %s", after[1], after[2])
	d.say("   rows there: %s, no gap: every one that had been replicated", after[0])
	if lost := acknowledged - number(after[0]); lost > 0 {
		d.say("   the last %d died with the primary, not yet sent: replication is asynchronous here", lost)
	}
	d.standby.row("INSERT INTO events SELECT max(id) + 1, 'from the new primary' FROM events")
	d.say(`   and it takes writes

Seen: a primary was copied while it was written to; the copy streamed, had the
      same rows, and took over when the primary was gone.
Next: "make test" runs the tests on real servers; README.md tells the rest.`)
}

// clean stops and removes everything that was made.
func (d *demo) clean() (err error) {
	for _, s := range []*server{d.standby, d.primary} {
		if s != nil {
			err = errors.Join(err, s.kill())
		}
	}
	if d.load != nil {
		d.load.stop()
	}
	if d.dir == "" {
		return err
	}
	d.say("\n5. Stopping both servers, removing %s", d.dir)
	removeErr := os.RemoveAll(d.dir)
	for i := 0; i < 20 && removeErr != nil; i++ { // a killed initdb's child may still be ending
		time.Sleep(100 * time.Millisecond)
		removeErr = os.RemoveAll(d.dir)
	}
	return errors.Join(err, removeErr)
}
