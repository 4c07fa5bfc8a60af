package basebackup_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pgbraid/pgbraid/basebackup"
	"github.com/pgbraid/pgbraid/internal/pgtest"
	"github.com/pgbraid/pgbraid/internal/progress"
)

func TestCloneOverTLSWithPassword(t *testing.T) {
	forEdges(t, func(t *testing.T, s pgtest.Server) {
		const password = `a\b 'c" ü`
		primary := s.Init(t, pgtest.TLS(), pgtest.Password(password))
		primary.Start(t)
		// By name: libpq before release 15 finds no addresses in certificates.
		address := net.JoinHostPort("localhost", strconv.Itoa(primary.Port))

		const wrong = "not-the-password"
		c := newClone(t, primary.ProxyConnString(address, "password="+wrong))
		err := c.run()
		var refused *pgconn.PgError
		if !errors.As(err, &refused) || refused.Code != "28P01" {
			t.Errorf("with a wrong password: %v", err)
		}
		if text := fmt.Sprintf("%v %+v", err, err); strings.Contains(text, wrong) {
			t.Errorf("the error has the password: %s", text)
		}
		c.mustHaveLeftNothing(primary)

		c = newClone(t, primary.ProxyConnString(address, "sslrootcert="+primary.TLS.ClientCert))
		if err := c.run(); err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("with another authority than the server's: %v", err)
		}
		c.mustHaveLeftNothing(primary)

		c = newClone(t, primary.ProxyConnString(address))
		if err := c.run(); err != nil {
			t.Fatal(err)
		}
		noWalsenders(t, primary)
		// The standby comes in by TCP, as the clone did: it has the password
		// and the authority's certificate.
		c.mustFollow(primary)
		if got := primary.Query(t, "SELECT DISTINCT ssl FROM pg_stat_replication JOIN pg_stat_ssl USING (pid)"); got != "t" {
			t.Errorf("the standby's connection uses TLS: %q", got)
		}
	})
}

func TestFirstHostOfSeveralIsDown(t *testing.T) {
	t.Parallel()
	primary := pgtest.Newest(t).Init(t)
	primary.Start(t)
	c := newClone(t, fmt.Sprintf("host=127.0.0.1,127.0.0.1 port=%s,%d user=postgres sslmode=disable", closedPort(t), primary.Port))
	if err := c.run(); err != nil {
		t.Fatal(err)
	}
	noWalsenders(t, primary)
	c.mustFollow(primary)
}

// The first host comes back as soon as the base backup's connection has been
// made to the second. It is of the same cluster, but may be ahead or behind.
func TestLogComesFromTheServerThatTheBaseBackupComesFrom(t *testing.T) {
	t.Parallel()
	primary := pgtest.Newest(t).Init(t)
	primary.Start(t)
	standby := pgtest.NewStandby(t, primary)
	standby.Start(t)
	c := newClone(t, fmt.Sprintf("host=127.0.0.1,127.0.0.1 port=%d,%d user=postgres sslmode=disable", primary.Port, standby.Port))
	dial, first := c.config.DialFunc, net.JoinHostPort("127.0.0.1", strconv.Itoa(primary.Port))
	var refused atomic.Int32
	c.config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr == first && refused.CompareAndSwap(0, 1) {
			return nil, errors.New("down for the moment")
		}
		return dial(ctx, network, addr)
	}
	if err := c.run(); err != nil {
		t.Fatal(err)
	}
	if refused.Load() != 1 {
		t.Error("the first host was not tried")
	}
	const fromClone = "walsender clone LOG:  received replication command: "
	for _, command := range []string{"BASE_BACKUP", "START_REPLICATION"} {
		if !strings.Contains(standby.Log(), fromClone+command) {
			t.Errorf("the second host was not asked for %s", command)
		}
		if strings.Contains(primary.Log(), fromClone+command) {
			t.Errorf("the first host was asked for %s", command)
		}
	}
	c.mustFollow(standby)
}

// The source is a standby whose primary does nothing: no checkpoint comes by,
// and no WAL that would end a wait.
func TestCloneOfAnIdleStandby(t *testing.T) {
	pgtest.ForEachVersion(t, func(t *testing.T, s pgtest.Server) {
		t.Parallel()
		primary := s.Init(t, pgtest.Config("checkpoint_timeout = '1h'"))
		primary.Start(t)
		far := primary.CreateTablespace(t, "far")
		primary.SQL(t, "CREATE TABLE t AS SELECT n FROM generate_series(1, 1000) AS n")
		source := pgtest.NewStandby(t, primary, pgtest.Slot("source"))
		source.Start(t)
		primary.SQL(t, "INSERT INTO t SELECT generate_series(1, 1000)")
		primary.WaitCatchup(t, source)

		c := newClone(t, source.ConnString())
		// The source has a copy of the tablespace of its own.
		for _, location := range strings.Fields(source.Query(t, "SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'far'")) {
			if location == far {
				t.Fatal("the standby uses the primary's tablespace")
			}
			c.options.Tablespaces = append(c.options.Tablespaces, basebackup.TablespaceMapping{Old: location, New: filepath.Join(c.root, "far")})
		}
		if err := c.run(); err != nil {
			t.Fatal(err)
		}
		noWalsenders(t, source)
		c.mustBeWhole(s)
		c.mustPassVerification(s)
		// It does not take the slot's name over, which the source has in its
		// own settings: the source has no such slot.
		standby := c.mustFollow(source)
		primary.SQL(t, "INSERT INTO t SELECT generate_series(1, 1000)")
		primary.WaitCatchup(t, source)
		source.WaitCatchup(t, standby)
		pgtest.AssertSameDigests(t, pgtest.Digest(t, standby), pgtest.Digest(t, primary))
		if got := source.Query(t, "SELECT count(*) FROM pg_stat_replication"); got != "1" {
			t.Errorf("%s standbys stream from the source, want 1", got)
		}
	})
}

func TestLogConnectionLostThreeTimes(t *testing.T) {
	forEdges(t, func(t *testing.T, s pgtest.Server) {
		for _, slot := range []string{"", "clone"} {
			primary := s.Init(t)
			primary.Start(t)
			writer := pgtest.StartWriter(t, primary, pgtest.WriterOptions{})
			c := newClone(t, primary.ConnString())
			c.options.Slot, c.options.CreateSlot = slot, slot != ""
			c.options.MaxRate = 16 << 10
			c.start()
			c.awaitStreams()
			before := "0"
			for range 3 {
				// Another walsender than before, and the one of the log: that
				// of the base backup is in state backup.
				primary.WaitFor(t, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND pid <> "+before, "1", 10*time.Second)
				writer.WaitCommitted(t, 200)
				before = primary.Query(t, "SELECT pid FROM pg_stat_replication WHERE state = 'streaming'")
				if n := primary.TerminateWalsenders(t, "state = 'streaming'"); n != 1 {
					t.Fatalf("%d walsenders terminated, want 1", n)
				}
			}
			if p := c.progress().Phase; p != progress.Copying {
				t.Errorf("phase is %s: the copy was over before the connection was lost three times", p)
			}
			c.must()
			writer.Stop(t)
			noWalsenders(t, primary)
			if got := primary.Query(t, "SELECT slot_name FROM pg_replication_slots"); got != slot {
				t.Errorf("slots afterwards: %q, want %q", got, slot)
			}
			c.mustBeWhole(s)
			c.mustPassVerification(s)
			standby := c.mustFollow(primary)
			writer.AssertContains(t, standby, writer.Committed())
			standby.Stop(t, pgtest.Fast)
			primary.Stop(t, pgtest.Fast)
		}
	})
}

// The data is there before the log is: the run has to wait for that.
func TestRunWaitsForTheLogUpToTheEndOfTheBackup(t *testing.T) {
	forEdges(t, func(t *testing.T, s pgtest.Server) {
		primary := s.Init(t)
		primary.Start(t)
		writer := pgtest.StartWriter(t, primary, pgtest.WriterOptions{})
		proxy := primary.Proxy(t)
		c := newClone(t, primary.ProxyConnString(proxy.Addr()))
		c.options.PrimaryConnInfo = primary.ConnString()
		c.options.MaxRate = 16 << 10
		c.start()
		c.awaitStreams()
		if n := proxy.Inject(pgtest.Silence, pgtest.LogConn); n != 1 {
			t.Fatalf("%d connections stream the log, want 1", n)
		}
		writer.WaitCommitted(t, 500)
		mustHave := writer.Committed()
		c.awaitPhase(progress.FinishingWAL)
		time.Sleep(500 * time.Millisecond)
		if p := c.progress(); p.Phase != progress.FinishingWAL {
			t.Errorf("phase is %s while the log is not there", p.Phase)
		}
		proxy.Lift()
		if result := c.must(); c.progress().WALPosition < uint64(result.End.LSN) {
			t.Errorf("log is kept up to %X, the backup ends at %s", c.progress().WALPosition, result.End)
		}
		alone := c.startAlone(s)
		writer.AssertContains(t, alone, mustHave)
	})
}

// The base backup's own connection cannot be taken up again.
func TestBackupConnectionLostEndsTheRun(t *testing.T) {
	t.Parallel()
	primary := pgtest.Newest(t).Init(t)
	primary.Start(t)
	for _, fault := range []pgtest.Fault{pgtest.Reset, pgtest.Hangup} {
		proxy := primary.Proxy(t)
		c := newClone(t, primary.ProxyConnString(proxy.Addr()))
		c.options.Slot, c.options.CreateSlot = "clone", true
		proxy.InjectAfter(4<<20, fault, pgtest.BackupConn)
		err := c.run()
		if err == nil || !strings.Contains(err.Error(), "base backup: ") {
			t.Errorf("error is %v, want one of the base backup", err)
		}
		if errors.Is(err, context.Canceled) {
			t.Errorf("error is %v: not the cause, but what it led to", err)
		}
		c.mustHaveLeftNothing(primary)
		if got := primary.Query(t, "SELECT slot_name FROM pg_replication_slots"); got != "" {
			t.Errorf("slot %q is left behind", got)
		}
	}
}
