package replconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Walk goes through the servers that a configuration lists, one address at a
// time and in their order, for a caller who finds out only after connecting
// whether a server is the right one:
//
//	for walk := replconn.NewWalk(config, limit); ; {
//		c, err := walk.Next(ctx)
//		if err != nil {
//			return err // what each server answered
//		}
//		if err := use(c); err == nil {
//			return nil
//		}
//		walk.Reject(err)
//	}
//
// As in libpq, a server that target_session_attrs does not admit is passed
// over, with prefer-standby until no other is left, and one that refuses the
// user ends the walk (src/interfaces/libpq/fe-connect.c, PQconnectPoll). A Walk
// is for one goroutine.
type Walk struct {
	// GoOn makes a walk go on after a server that refuses the user: to somebody
	// who was let in before, that says something about the server.
	GoOn bool
	// Trying, if set, is called before each try to connect.
	Trying func()

	hosts    []*pgconn.Config // not looked up yet
	ready    []candidate      // addresses of the present host
	later    []candidate      // that admit this session if no other one does
	excluded string           // an address
	excuse   error            // why
	present  candidate
	host     int // of hosts, counted from 1
	failures []ServerError
}

// candidate is one address of one host.
type candidate struct {
	config  *pgconn.Config // of this address alone
	host    int
	name    string // host and port for a person
	address string // what is dialled
	second  bool   // any kind of session will do
}

// NewWalk begins a walk. Each address has config's ConnectTimeout to connect
// and log in or, where that is 0, limit; where both are 0, for ever.
func NewWalk(config *pgconn.Config, limit time.Duration) *Walk {
	return &Walk{hosts: hosts(LimitConnect(config, limit))}
}

// LimitConnect returns a copy of config that gives up connecting to a server
// after limit, unless config has a limit of its own.
func LimitConnect(config *pgconn.Config, limit time.Duration) *pgconn.Config {
	config = config.Copy()
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = max(limit, 0)
	}
	return config
}

// Next connects to the next server. Once none is left the error is what each
// of them answered: a *ServersError where there was more than one.
func (w *Walk) Next(ctx context.Context) (*Conn, error) {
	for {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		c, ok := w.next(ctx)
		if !ok {
			return nil, w.Err()
		}
		if w.Trying != nil {
			w.Trying()
		}
		conn, preferred, err := c.connect(ctx)
		switch {
		case err == nil:
			w.present = c
			return conn, nil
		case context.Cause(ctx) != nil:
			return nil, context.Cause(ctx)
		}
		w.fail(c, err)
		if !preferred {
			c.second = true
			w.later = append(w.later, c)
		}
		if refusesUser(err) && !w.GoOn {
			w.hosts, w.ready, w.later = nil, nil, nil
		}
	}
}

// Reject says why the server that Next connected to is not taken.
func (w *Walk) Reject(err error) { w.fail(w.present, err) }

// Exclude is Reject for a server that an earlier walk led to, by its Address.
func (w *Walk) Exclude(address string, err error) { w.excluded, w.excuse = address, err }

// More tells whether Next may have another server to try.
func (w *Walk) More() bool { return len(w.hosts)+len(w.ready)+len(w.later) > 0 }

// Server is the host and port, for a person, that Next connected to.
func (w *Walk) Server() string { return w.present.name }

// Err is what the servers answered so far.
func (w *Walk) Err() error {
	switch len(w.failures) {
	case 0:
		return errors.New("no server to connect to")
	case 1:
		return w.failures[0].Err
	}
	return &ServersError{slices.Clone(w.failures)}
}

// fail notes an answer. That of a later try takes the place of the one before.
func (w *Walk) fail(c candidate, err error) {
	w.failures = slices.DeleteFunc(w.failures, func(f ServerError) bool { return f.address == c.address && f.host == c.host })
	w.failures = append(w.failures, ServerError{Server: c.name, Err: err, host: c.host, address: c.address})
}

// next is the next address to try.
func (w *Walk) next(ctx context.Context) (c candidate, ok bool) {
	for len(w.ready) == 0 {
		if len(w.hosts) == 0 {
			w.ready, w.later = w.later, nil
			break
		}
		w.host++
		w.ready = w.lookUp(ctx, w.hosts[0])
		w.hosts = w.hosts[1:]
	}
	if len(w.ready) == 0 {
		return c, false
	}
	c, w.ready = w.ready[0], w.ready[1:]
	return c, true
}

// lookUp finds the addresses of a host.
func (w *Walk) lookUp(ctx context.Context, host *pgconn.Config) []candidate {
	name := serverName(host)
	if isUnix(host) {
		_, path := pgconn.NetworkAddress(host.Host, host.Port)
		return w.admit(nil, candidate{config: host, host: w.host, name: name, address: path})
	}
	if host.ConnectTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, host.ConnectTimeout)
		defer cancel()
	}
	ips, err := host.LookupFunc(ctx, host.Host)
	if err != nil {
		w.fail(candidate{host: w.host, name: name, address: name}, fmt.Errorf("%s: %w", name, err))
		return nil
	}
	var list []candidate
	for _, ip := range ips {
		one := host.Copy()
		one.LookupFunc = func(context.Context, string) ([]string, error) { return []string{ip}, nil }
		c := candidate{config: one, host: w.host, name: name, address: dialled(ip, host.Port)}
		if ip != host.Host {
			c.name += " (" + ip + ")"
		}
		list = w.admit(list, c)
	}
	return list
}

// admit appends a candidate, unless it is the one that is excluded.
func (w *Walk) admit(list []candidate, c candidate) []candidate {
	if w.excluded != "" && c.address == w.excluded {
		w.fail(c, w.excuse)
		return list
	}
	return append(list, c)
}

// connect connects to this address alone. preferred is false where the server
// will do if there is no other.
func (c *candidate) connect(ctx context.Context) (conn *Conn, preferred bool, err error) {
	preferred = true
	config := c.config.Copy()
	if validate := config.ValidateConnect; validate != nil {
		config.ValidateConnect = func(ctx context.Context, pg *pgconn.PgConn) error {
			err := validate(ctx, pg)
			if _, second := err.(*pgconn.NotPreferredError); second { //nolint:errorlint // pgconn tells it in this way
				if c.second {
					return nil
				}
				// pgconn would connect once more to one that is not preferred.
				preferred = false
				return errors.Unwrap(err)
			}
			return err
		}
	}
	conn, err = Connect(ctx, config)
	return conn, preferred, err
}

// refusesUser tells whether a server refused the user or the database, upon
// which libpq tries no other (pgconn/pgconn.go, connectPreferred).
func refusesUser(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && slices.Contains([]string{"28P01", "3D000", "42501"}, pg.Code)
}

// hosts makes a configuration of its own of each host in config's list. What
// pgconn has as several entries with one host and port are the ways of using
// TLS with it.
func hosts(config *pgconn.Config) []*pgconn.Config {
	first := &pgconn.FallbackConfig{Host: config.Host, Port: config.Port, TLSConfig: config.TLSConfig}
	var list []*pgconn.Config
	for _, f := range append([]*pgconn.FallbackConfig{first}, config.Fallbacks...) {
		if n := len(list); n > 0 && list[n-1].Host == f.Host && list[n-1].Port == f.Port {
			list[n-1].Fallbacks = append(list[n-1].Fallbacks, f)
			continue
		}
		one := config.Copy()
		one.Host, one.Port, one.TLSConfig, one.Fallbacks = f.Host, f.Port, f.TLSConfig, nil
		list = append(list, one)
	}
	return list
}

func isUnix(config *pgconn.Config) bool {
	network, _ := pgconn.NetworkAddress(config.Host, config.Port)
	return network == "unix"
}

func serverName(config *pgconn.Config) string {
	return net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port)))
}

// dialled is the address that pgconn dials for what a lookup brought, which may
// have a port of its own.
func dialled(ip string, port uint16) string {
	if _, _, err := net.SplitHostPort(ip); err == nil {
		return ip
	}
	_, address := pgconn.NetworkAddress(ip, port)
	return address
}

// ServerError is what one server of a list answered.
type ServerError struct {
	Server string // host and port, and the address where that is another
	Err    error

	host    int
	address string
}

// Error names the server, once.
func (e *ServerError) Error() string {
	var connect *pgconn.ConnectError
	if errors.As(e.Err, &connect) {
		return e.Err.Error() // which names it
	}
	return "server " + e.Server + ": " + e.Err.Error()
}

// Unwrap is the answer.
func (e *ServerError) Unwrap() error { return e.Err }

// ServersError is what the servers of a list answered, none of which can be
// used.
type ServersError struct{ List []ServerError }

func (e *ServersError) Error() string {
	var all []string
	for i := range e.List {
		all = append(all, e.List[i].Error())
	}
	return strings.Join(all, "; ")
}

// Unwrap has the answers as a list.
func (e *ServersError) Unwrap() []error {
	var all []error
	for i := range e.List {
		all = append(all, &e.List[i])
	}
	return all
}

// All tells whether every host of the list gave an answer for which proof
// holds. A name with several addresses is one host: on one of them the server
// may not listen.
func (e *ServersError) All(proof func(error) bool) bool {
	proved := map[int]bool{}
	for _, f := range e.List {
		proved[f.host] = proved[f.host] || proof(f.Err)
	}
	for _, yes := range proved {
		if !yes {
			return false
		}
	}
	return true
}
