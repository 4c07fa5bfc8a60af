package replconn_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pgbraid/pgbraid/internal/conninfo"
	"github.com/pgbraid/pgbraid/internal/pgtest/walsender"
	"github.com/pgbraid/pgbraid/internal/replconn"
)

// listed makes the configuration of a list of servers.
func listed(t *testing.T, more string, servers ...*walsender.Server) *pgconn.Config {
	t.Helper()
	var hosts, ports []string
	for _, s := range servers {
		host, port, _ := net.SplitHostPort(s.Addr())
		hosts, ports = append(hosts, host), append(ports, port)
	}
	info, err := conninfo.Parse(conninfo.Flags{ConnString: fmt.Sprintf("host=%s port=%s user=u sslmode=disable %s",
		strings.Join(hosts, ","), strings.Join(ports, ","), more)}, "test")
	if err != nil {
		t.Fatal(err)
	}
	config, err := info.Config()
	if err != nil {
		t.Fatal(err)
	}
	return config
}

var errRejected = errors.New("not this one")

// walk rejects each server and returns the ports of those that were brought.
func walk(t *testing.T, w *replconn.Walk) (brought []string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		c, err := w.Next(ctx)
		if err != nil {
			return brought, err
		}
		brought = append(brought, c.Address())
		if !strings.Contains(w.Server(), c.Address()) {
			t.Errorf("server %q at %q", w.Server(), c.Address())
		}
		_ = c.Close()
		w.Reject(errRejected)
	}
}

func standby(t *testing.T, yes string) *walsender.Server {
	return walsender.New(t, walsender.Options{Parameters: map[string]string{"in_hot_standby": yes, "default_transaction_read_only": "off"}})
}

func TestWalkBringsEachServerThatIsAdmittedInTheOrderOfTheList(t *testing.T) {
	t.Parallel()
	primary, other := standby(t, "off"), standby(t, "off")
	first, second := standby(t, "on"), standby(t, "on")
	gone := standby(t, "off")
	gone.Stop()
	list := []*walsender.Server{primary, gone, first, other, second}
	for attrs, want := range map[string][]*walsender.Server{
		"any":            {primary, first, other, second},
		"read-write":     {primary, other},
		"standby":        {first, second},
		"prefer-standby": {first, second, primary, other},
	} {
		w := replconn.NewWalk(listed(t, "target_session_attrs="+attrs, list...), time.Minute)
		got, err := walk(t, w)
		var ports []string
		for _, s := range want {
			ports = append(ports, s.Addr())
		}
		if !slices.Equal(got, ports) {
			t.Errorf("%s: %q, want %q", attrs, got, ports)
		}
		var all *replconn.ServersError
		if !errors.As(err, &all) || len(all.List) != len(list) || !errors.Is(err, errRejected) || w.More() {
			t.Fatalf("%s: %v", attrs, err)
		}
		for _, s := range list {
			if !strings.Contains(err.Error(), s.Addr()) {
				t.Errorf("%s: %q does not name %s", attrs, err, s.Addr())
			}
		}
		rejected := func(err error) bool { return errors.Is(err, errRejected) }
		if all.All(rejected) || !all.All(func(error) bool { return true }) {
			t.Errorf("%s: all of them were rejected, says %v", attrs, err)
		}
	}
	// Of one server the error is its own.
	if _, err := walk(t, replconn.NewWalk(listed(t, "", primary), 0)); err != errRejected {
		t.Errorf("got %v", err)
	}
}

func TestWalkLeavesOutTheServerThatIsExcluded(t *testing.T) {
	t.Parallel()
	a, b := standby(t, "off"), standby(t, "off")
	w := replconn.NewWalk(listed(t, "", a, b), 0)
	excuse := errors.New("it was tried before")
	w.Exclude(a.Addr(), excuse)
	if got, err := walk(t, w); !slices.Equal(got, []string{b.Addr()}) || !errors.Is(err, excuse) {
		t.Errorf("%q, %v", got, err)
	}
}

// Each address has its time, whatever the ones before took.
func TestServerThatDoesNotAnswerTheLogInIsPassedOver(t *testing.T) {
	t.Parallel()
	for _, more := range []string{"connect_timeout=1", "connect_timeout=0"} {
		silent := func() *walsender.Server { return walsender.New(t, walsender.Options{OnStartup: walsender.Hang}) }
		a, b, c := silent(), silent(), standby(t, "off")
		w := replconn.NewWalk(listed(t, more, a, b, c), time.Second)
		if got, err := walk(t, w); !slices.Equal(got, []string{c.Addr()}) || strings.Count(err.Error(), "timeout") != 2 {
			t.Errorf("%s: %q, %v", more, got, err)
		}
	}
}

func TestRefusedUserEndsTheWalkUnlessItIsToGoOn(t *testing.T) {
	t.Parallel()
	a, b := walsender.New(t, walsender.Options{OnStartup: walsender.Failing("28P01", "password authentication failed")}), standby(t, "off")
	config := listed(t, "", a, b)
	if got, err := walk(t, replconn.NewWalk(config, 0)); len(got) != 0 || !strings.Contains(err.Error(), "28P01") {
		t.Errorf("%q, %v", got, err)
	}
	w := replconn.NewWalk(config, 0)
	w.GoOn = true
	if got, _ := walk(t, w); !slices.Equal(got, []string{b.Addr()}) {
		t.Errorf("going on: %q", got)
	}
}

// Whoever has pinned a configuration has a list of one.
func TestPinnedConfigurationLeadsToOneServer(t *testing.T) {
	t.Parallel()
	a, b, c := standby(t, "off"), standby(t, "on"), standby(t, "off")
	config := listed(t, "target_session_attrs=standby", a, b, c)
	conn, err := replconn.Connect(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	pinned := conn.Pin(config)
	_ = conn.Close()
	if got, err := walk(t, replconn.NewWalk(pinned, 0)); !slices.Equal(got, []string{b.Addr()}) || err != errRejected {
		t.Errorf("%q, %v", got, err)
	}
}

func TestWalkEndsWithItsContext(t *testing.T) {
	t.Parallel()
	a := walsender.New(t, walsender.Options{OnStartup: walsender.Hang})
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("somebody ended it")
	time.AfterFunc(20*time.Millisecond, func() { cancel(cause) })
	if _, err := replconn.NewWalk(listed(t, "", a, a), time.Minute).Next(ctx); !errors.Is(err, cause) || len(a.Startups()) != 1 {
		t.Errorf("%v after %d connections", err, len(a.Startups()))
	}
}
