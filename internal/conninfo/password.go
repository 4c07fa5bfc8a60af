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

// noPassword marks, in an error's Routine, that this package made it.
const noPassword = "conninfo: no password" //#nosec G101 -- it says that there is none

// passwordRequired stands in for the server's question where there is no
// password to answer it with. Being an error message with the code of a refused
// password, it ends pgconn's walk through its list of servers, as in libpq; and
// it comes before anything is sent, so that no failed log-in stands in the
// server's log.
var passwordRequired = pgproto3.ErrorResponse{
	Severity:            "FATAL",
	SeverityUnlocalized: "FATAL",
	Code:                "28P01",
	Message:             "the server asks for a password, and none was given",
	Routine:             noPassword,
}

// IsPasswordRequired says whether a connect ended because the server asked for
// a password and none was known. It goes by what the server asked, not by the
// text of its errors.
func IsPasswordRequired(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Routine == noPassword
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
// again after asking for a password: the server wants one (see
// IsPasswordRequired), it was not asked for yet, and -w was not given.
func (i *Info) NeedsPassword(err error) bool {
	return !i.flags.NoPassword && !i.prompted && IsPasswordRequired(err)
}

func (i *Info) passwordFor(e endpoint) string {
	if i.prompted || i.params["password"] != "" {
		return i.params["password"]
	}
	return i.passfilePassword(e)
}

// passwordSwitch is the password for one server.
type passwordSwitch struct{ host, port, password string }

// watchPasswords makes a connect stop with passwordRequired where it would
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

// authWatcher looks at the server's answer to the start-up message and, where
// that asks for a password, hands on passwordRequired in its place. Messages
// that may come before the question (notices, NegotiateProtocolVersion) are
// handed on as they are.
type authWatcher struct {
	r    io.Reader
	held []byte // read and not yet handed on
	done bool   // the question was seen, or there is none
	end  bool   // nothing comes after held
}

// Codes of the authentication request (manual, "Message Formats").
const (
	authCleartext = 3
	authMD5       = 5
	authSASL      = 10
)

// maxEarlyMessage caps a message that comes before the question, in bytes.
const maxEarlyMessage = 1 << 16

func (a *authWatcher) Read(p []byte) (int, error) {
	if len(a.held) == 0 && !a.done {
		if err := a.next(); err != nil {
			return 0, err
		}
	}
	if len(a.held) > 0 {
		n := copy(p, a.held)
		a.held = a.held[n:]
		return n, nil
	}
	if a.end {
		return 0, io.EOF
	}
	return a.r.Read(p)
}

// next reads one message, or as much of it as tells that it is not looked for.
func (a *authWatcher) next() error {
	head := make([]byte, 5, 9)
	if _, err := io.ReadFull(a.r, head); err != nil {
		return err
	}
	length := int64(binary.BigEndian.Uint32(head[1:]))
	more := int64(0)
	switch {
	case head[0] == 'R' && length >= 8:
		more, a.done = 4, true
	case (head[0] == 'N' || head[0] == 'v') && length >= 4 && length <= maxEarlyMessage: //#nosec G602 -- it has five
		more = length - 4
	default:
		a.done = true // an error message, or something that pgconn will refuse
	}
	a.held = append(head, make([]byte, more)...)
	if _, err := io.ReadFull(a.r, a.held[5:]); err != nil {
		return err
	}
	if head[0] != 'R' || more == 0 {
		return nil
	}
	switch binary.BigEndian.Uint32(a.held[5:]) {
	case authCleartext, authMD5, authSASL:
		var err error
		a.held, err = passwordRequired.Encode(nil)
		a.end = true
		return err
	}
	return nil
}
