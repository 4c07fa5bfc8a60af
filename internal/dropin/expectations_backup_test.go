package dropin

import (
	"strings"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// serverCompression are the methods that release 18's own test has refused
// (src/bin/pg_basebackup/t/010_pg_basebackup.pl), and more of their kinds.
var serverCompression = []string{
	"extrasquishy", "gzip:", "gzip:thunk", "gzip:level", "gzip:level=", "gzip:level=high", "gzip:level=236", "gzip:level=9,", "gzip:workers=3", "gzip:long",
	":", "5x", "-1", "10", "none:1", "none:workers=1", "none:long", "gzip:0", "gzip: 5x", "gzip:level=1,level=99", "GZIP", "gzip:long=x",
	"lz4:13", "lz4:workers=1", "zstd:23", "zstd:workers=x", "zstd:long=maybe", "zstd:level=-9999999", "extra'squishy", "gzip:'",
}

func TestThatTheServerJudgesItsCompression(t *testing.T) {
	t.Parallel()
	c := distribution(t)
	b := newBed(t, "pg_basebackup").at(c)
	for _, method := range serverCompression {
		b.alikeIn(t, nil, "-D", "d", "-cfast", "-N", "-X", "none", "--compress", "server-"+method)
	}
	for _, line := range []string{
		"-D d -cfast -Ft --compress server-x", "-D d -cfast -n --compress server-x", "-D d -cfast --waldir DIR/w --compress server-x", "-D d -cfast -v --compress server-x",
		"-t blackhole -X none -cfast --compress x", "-t blackhole -X none -cfast --compress gzip:", "-t blackhole -X none -cfast --compress server-x:y", "-t server:relative -X none -cfast -Z gzip:99",
		"-D - -Ft -X none -cfast --compress server-x", "-D - -Ft -X none -cfast --compress server-gzip:99", "-D - -Ft -X fetch -cfast --compress server-gzip",
		"-D - -Ft -X none -cfast --compress server-none --no-manifest", "-D d -cfast -N -X none --compress server-none", "-D d -cfast -N -X none --compress server-0", "-D d -cfast -N -X none --compress server-",
		"-D d -cfast -N -X none --compress server-gzip:level=1,level=2", "-D d -cfast -N -Ft -X none --compress server-9",
	} {
		b.alikeIn(t, nil, words(line)...)
	}
	b.alikeIn(t, empty, words("-D d -cfast --compress server-x")...)
	b.alikeIn(t, occupied, words("-D d -cfast --compress server-x")...)
}

func TestThatWhatTheServerKnowsIsAskedOfIt(t *testing.T) {
	t.Parallel()
	c := distribution(t)
	c.SQL(t, "SELECT pg_create_physical_replication_slot('kept')")
	b := newBed(t, "pg_basebackup").at(c)
	for _, line := range []string{
		"-D d -cfast -i missing", "-D d -cfast -i /dev/null", "-D d -cfast -Ft -i missing", "-D d -cfast -n -i missing", "-D d -cfast -v -i missing",
		"-D d -cfast --manifest-checksums x", "-D d -cfast -n --manifest-checksums x", "-D d -cfast -N -X none --manifest-checksums sha256", "-D d -cfast --manifest-checksums=", "-t blackhole -X none -cfast --manifest-checksums x",
		"-t blackhole -X none -R", "-t nonesuch -X none -R", "-t : -X none", "-t blackhole: -X none -cfast", "-t server -X none -cfast", "-t server: -X none -cfast", "-t  -X none -cfast",
		"-D d -cfast -C -S Bad", "-D d -cfast -S missing", "-D d -cfast -C -S kept", "-D d -cfast -S mi\"ss", "-D d -Ft -cfast -S missing",
		"-D d -cfast -X none -d dbname=postgres", "-D d -cfast -d dbname=nonesuch -X none -N",
		"-D  -cfast", "-D  -Ft -cfast", "-D /dev/null -cfast", "-D /dev/null/x/y -cfast", "-D d/ -N -cfast -X none",
		"-D d -cfast -N -X none -T /nowhere=DIR/x", "-D d --waldir /dev/null/w -cfast",
		"-D d -N -cfast -X none -l ", "-D d -N -cfast -X none -s 0", "-D - -Ft -N -cfast -X fetch -v", "-D - -Fp -N -cfast -X none",
		"-D d -cfast -l " + strings.Repeat("x", 1100),
	} {
		b.alikeIn(t, nil, words(line)...)
	}
	for _, line := range []string{
		"-D d", "-D d/", "-D d -Ft", "-D d -n", "-D d -v", "-D d -i missing", "-D d -d dbname=nonesuch -U missing -w", "-D d -h /nonexistent", "-D e -h /nonexistent --waldir DIR/d", "-D e --waldir DIR/d", "-D e -n --waldir DIR/d", "-D d/f", "-D d/f/g",
	} {
		b.alikeIn(t, occupied, words(line)...)
	}
	for _, line := range []string{"-D d -cfast -N", "-D d -cfast -Ft -N", "-D d -cfast -S missing", "-D e --waldir DIR/d -cfast -S missing", "-D e --waldir DIR/d -cfast -N"} {
		b.alikeIn(t, empty, words(line)...)
	}
}

func TestThatOlderServersAreAskedInTheirGrammar(t *testing.T) {
	t.Parallel()
	c := pgtest.Require(t, 14).Init(t)
	c.Start(t)
	c.SQL(t, "SELECT pg_create_physical_replication_slot('kept')")
	b := newBed(t, "pg_basebackup").at(c)
	for _, line := range []string{
		"-D d -cfast -Z server-gzip", "-D d -cfast -Z server-none", "-D d -cfast -n -Z server-", "-t blackhole -X none", "-t blackhole -X none -R", "-t server:/x -X none -Z gzip", "-D d -i missing",
		"-D d -cfast -C -S kept", "-D d -cfast -C -S Bad", "-D d -cfast -S missing", "-D d -cfast --manifest-checksums x", "-D - -Ft -X none -cfast -Z server-gzip", "-D d -cfast -N -X none -v",
		"-D - -Ft -X fetch -cfast -v",
	} {
		b.alikeIn(t, nil, words(line)...)
	}
}

// TestThatALostServerIsTold has the server crash in the middle of a backup, or
// end the session while it makes its checkpoint.
func TestThatALostServerIsTold(t *testing.T) {
	t.Parallel()
	for _, release := range []int{14, 15, 18} {
		c := pgtest.Require(t, release).Init(t, pgtest.Config("checkpoint_timeout = 1h"))
		c.Start(t)
		b := newBed(t, "pg_basebackup").at(c)
		const sessions = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender' AND query LIKE 'BASE_BACKUP%'"
		for _, line := range []string{"-D d -cfast -r 32 -N -X none", "-D d -cfast -r 32 -v -N -X fetch", "-t blackhole -cfast -r 32 -X none"} {
			if release < 15 && strings.HasPrefix(line, "-t") {
				continue
			}
			b.bothRunning(t, line, func(t *testing.T, _ *running) {
				c.WaitFor(t, sessions+" AND wait_event = 'BaseBackupThrottle'", "1", 30*time.Second)
				c.Kill(t)
				c.Start(t)
			})
		}
		c.SQL(t, "CREATE TABLE t AS SELECT generate_series(1, 500000) n")
		b.bothRunning(t, "-D d -N -X none -v", func(t *testing.T, _ *running) {
			c.WaitFor(t, sessions, "1", 30*time.Second)
			c.TerminateWalsenders(t, "true")
		})
	}
}
