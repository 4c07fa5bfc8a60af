package conninfo

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// ErrPasswordRequired says that the server asked for a password and none is
// known. A connect that fails so has sent nothing after the server's question,
// so that no failed log-in stands in the server's log.
var ErrPasswordRequired = errors.New("server asks for a password, and none was given")

// passwordRequired is ErrPasswordRequired in a form that ends pgconn's walk
// through its list of servers, as a refused password does: libpq too goes on
// to no other server then.
type passwordRequired struct{}

func (passwordRequired) Error() string        { return ErrPasswordRequired.Error() }
func (passwordRequired) Is(target error) bool { return target == ErrPasswordRequired }
func (passwordRequired) Unwrap() error {
	return &pgconn.PgError{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: "28P01", Message: ErrPasswordRequired.Error()}
}

// SetPassword keeps a password that was typed in, for all configurations that
// are made from now on. It beats one from any other source.
func (i *Info) SetPassword(password string) {
	i.params["password"] = password
	i.prompted = true
}

// PasswordFirst says whether to ask for a password before the first connect:
// -W was given, and none has been typed yet.
func (i *Info) PasswordFirst() bool { return i.flags.ForcePassword && !i.prompted }

// NeedsPassword says whether a connect that failed with err is to be tried
// again after asking for a password: the server wants one, no source has one,
// it was not asked for yet, and -w was not given. It goes by what the server
// asked, not by the text of its errors.
func (i *Info) NeedsPassword(err error) bool {
	return !i.flags.NoPassword && !i.prompted && errors.Is(err, ErrPasswordRequired)
}

func (i *Info) passwordFor(e endpoint) string {
	if i.prompted || i.params["password"] != "" {
		return i.params["password"]
	}
	return i.passfilePassword(e)
}

// passwordSwitch is the password for one server.
type passwordSwitch struct{ host, port, password string }

// watchPasswords makes a connect stop with ErrPasswordRequired where it would
// send an empty password, and, where the passfile has different passwords for
// the hosts of a list, gives each server its own. pgconn has one password per
// Config; but just before the start-up it calls AfterNetConnect with the
// Config that it uses.
func watchPasswords(config *pgconn.Config, list []passwordSwitch) {
	var mu sync.Mutex
	table := make(map[string]string)
	add := func(host, addr string) {
		mu.Lock()
		defer mu.Unlock()
		for _, s := range list {
			if s.host != host {
				continue
			}
			key := canonicalAddr(net.JoinHostPort(addr, s.port))
			if _, taken := table[key]; !taken {
				table[key] = s.password
			}
		}
	}
	several := !sameForAll(list)
	if several {
		lookup := config.LookupFunc
		config.LookupFunc = func(ctx context.Context, host string) ([]string, error) {
			addrs, err := lookup(ctx, host)
			for _, a := range addrs {
				add(host, a)
			}
			return addrs, err
		}
		for _, s := range list {
			if isSocketDir(s.host) {
				port, _ := strconv.ParseUint(s.port, 10, 16)
				_, path := pgconn.NetworkAddress(s.host, uint16(port))
				table[path] = s.password
			}
		}
	}

	// BuildFrontend is called next with the same connection, but without the
	// Config; this remembers which connections have no password.
	var without sync.Map
	config.AfterNetConnect = func(_ context.Context, c *pgconn.Config, conn net.Conn) (net.Conn, error) {
		if several {
			mu.Lock()
			c.Password = table[canonicalAddr(conn.RemoteAddr().String())]
			mu.Unlock()
		}
		if c.Password == "" {
			without.Store(conn, true)
		}
		return conn, nil
	}
	build := config.BuildFrontend
	config.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		if _, ok := without.LoadAndDelete(w); ok {
			r = &authWatcher{r: r}
		}
		return build(r, w)
	}
}

// canonicalAddr is one spelling for all spellings of a numeric address; other
// text, such as a socket's path, stays.
func canonicalAddr(s string) string {
	if a, err := netip.ParseAddrPort(s); err == nil {
		return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()).String()
	}
	return strings.TrimSpace(s)
}

// authWatcher reads along with the server's answer to the start-up message and
// fails as soon as that asks for a password. Messages that may come before the
// question (notices, NegotiateProtocolVersion) are stepped over.
type authWatcher struct {
	r    io.Reader
	head []byte // of the message at hand: type, length, and 4 bytes more
	skip int    // bytes left of a message that is of no interest
	done bool
}

// Codes of the authentication request (manual, "Message Formats").
const (
	authCleartext = 3
	authMD5       = 5
	authSASL      = 10
)

func (a *authWatcher) Read(p []byte) (int, error) {
	n, err := a.r.Read(p)
	for b := p[:n]; len(b) > 0 && !a.done; {
		if a.skip > 0 {
			k := min(a.skip, len(b))
			a.skip -= k
			b = b[k:]
			continue
		}
		a.head = append(a.head, b[0])
		b = b[1:]
		if len(a.head) == 5 && a.head[0] != 'R' {
			length := int(binary.BigEndian.Uint32(a.head[1:]))
			if a.head[0] != 'N' && a.head[0] != 'v' || length < 4 || length > 1<<16 {
				a.done = true // an error, or something that pgconn will refuse
				break
			}
			a.skip, a.head = length-4, a.head[:0]
		}
		if len(a.head) == 9 {
			a.done = true
			switch binary.BigEndian.Uint32(a.head[5:]) {
			case authCleartext, authMD5, authSASL:
				return 0, passwordRequired{}
			}
		}
	}
	return n, err
}
