package walsender

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgproto3/v2"
)

// What a Hook may return to direct the conversation.
var (
	// Pass leaves a command to the handler that was added before.
	Pass = errors.New("left to another handler") //nolint:staticcheck // no failure, so not called ErrPass
	// Stop ends the answer here, without the rest of it and without failing
	// the test.
	Stop = errors.New("answer ends here") //nolint:staticcheck // likewise
)

// ErrClientGone is returned by whatever waits for a client that closed the
// connection. It does not fail the test.
var ErrClientGone = errors.New("client has gone")

// errClosed is the state of a connection that a hook closed or cut.
var errClosed = errors.New("connection was closed by the script")

// Conn is a client's connection. Only the hook that runs may use it.
//
// The methods that send return nothing: the first failure sticks, Err returns
// it, later ones do nothing, and the handler's end looks at it.
type Conn struct {
	server  *Server
	id      int
	net     net.Conn
	backend *pgproto3.Backend
	out     *faultWriter
	inbox   *inbox

	startup map[string]string
	query   string
	err     error
	before  func(c *Conn)
	inside  bool // before is running

	sent LSN // how far WAL was streamed
}

func newConn(s *Server, socket net.Conn) *Conn {
	c := &Conn{
		server:  s,
		net:     socket,
		backend: pgproto3.NewBackend(pgproto3.NewChunkReader(socket), socket),
		inbox:   newInbox(),
	}
	c.out = &faultWriter{conn: socket.(*net.TCPConn), left: -1}
	return c
}

// ID numbers the connections of a server that sent a StartupMessage, from 1 on.
// The process ID that the client is told is 1000 more.
func (c *Conn) ID() int { return c.id }

// Server is the server that the connection belongs to.
func (c *Conn) Server() *Server { return c.server }

// Query is the command that is being answered.
func (c *Conn) Query() string { return c.query }

// Startup returns the parameters of the start-up message.
func (c *Conn) Startup() map[string]string { return c.startup }

// SentLSN is the position behind the last WAL that was sent.
func (c *Conn) SentLSN() LSN { return c.sent }

// Err is the first failure of a method that sends.
func (c *Conn) Err() error { return c.err }

// serve is the life of a connection.
func (c *Conn) serve() {
	defer c.net.Close()
	if !c.handshake() {
		return
	}
	var reader sync.WaitGroup
	reader.Go(c.read)
	defer reader.Wait()
	defer c.net.Close()

	welcome := c.server.options.OnStartup
	if welcome == nil {
		welcome = func(c *Conn) error { c.Welcome(); return nil }
	}
	if !c.verdict("start-up", welcome(c)) {
		return
	}
	for {
		m, err := c.inbox.next(nil)
		if err != nil {
			return
		}
		// What is left of a COPY that ended early is skipped, as a real
		// server does.
		q, ok := m.(*pgproto3.Query)
		if !ok {
			if !isCopy(m) {
				c.Fatal("08P01", fmt.Sprintf("message %T has no place in the replication protocol", m))
				return
			}
			continue
		}
		if !c.answer(q.String) {
			return
		}
	}
}

// handshake reads up to the StartupMessage. false means that the connection is
// at its end.
func (c *Conn) handshake() bool {
	for {
		m, err := c.backend.ReceiveStartupMessage()
		if err != nil {
			return false
		}
		switch m := m.(type) {
		case *pgproto3.SSLRequest, *pgproto3.GSSEncRequest:
			if _, err := c.net.Write([]byte{'N'}); err != nil {
				return false
			}
		case *pgproto3.StartupMessage:
			c.startup = m.Parameters
			c.server.record(func() {
				c.server.startups = append(c.server.startups, m.Parameters)
				c.id = len(c.server.startups)
			})
			return true
		case *pgproto3.CancelRequest:
			c.server.record(func() { c.server.cancels++ })
			return false
		default:
			return false
		}
	}
}

// Welcome is what a server without passwords answers a StartupMessage.
func (c *Conn) Welcome() {
	c.Send(&pgproto3.AuthenticationOk{})
	o := &c.server.options
	usual := []struct{ name, value string }{
		{"application_name", c.startup["application_name"]},
		{"client_encoding", "UTF8"},
		{"DateStyle", "ISO, MDY"},
		{"in_hot_standby", "off"},
		{"integer_datetimes", "on"},
		{"IntervalStyle", "postgres"},
		{"is_superuser", "off"},
		{"server_encoding", "UTF8"},
		{"server_version", o.Version},
		{"session_authorization", c.startup["user"]},
		{"standard_conforming_strings", "on"},
		{"TimeZone", "Etc/UTC"},
	}
	said := map[string]bool{}
	for _, p := range usual {
		said[p.name] = true
		if v, ok := o.Parameters[p.name]; ok {
			p.value = v
		}
		if p.value != "-" {
			c.ParameterStatus(p.name, p.value)
		}
	}
	for name, value := range o.Parameters {
		if !said[name] && value != "-" {
			c.ParameterStatus(name, value)
		}
	}
	c.Send(&pgproto3.BackendKeyData{ProcessID: uint32(1000 + c.id), SecretKey: 0x5EC2E7})
	c.ReadyForQuery()
}

// answer runs the handlers for a command. false ends the connection.
func (c *Conn) answer(query string) bool {
	c.query = query
	c.server.record(func() { c.server.asked = append(c.server.asked, Asked{c.id, query}) })
	tried := map[*handler]bool{}
	for {
		h := c.server.takeHandler(query, tried)
		if h == nil {
			c.server.t.Errorf("walsender: connection %d: no answer to %q", c.id, query)
			c.Fail("42601", "syntax error")
			return c.err == nil
		}
		err := h.run(c)
		if errors.Is(err, Pass) {
			continue
		}
		return c.verdict(strconv.Quote(query), err)
	}
}

// verdict reports a hook's error unless it only says that the connection has
// ended. It tells whether the connection goes on.
func (c *Conn) verdict(what string, err error) bool {
	if err == nil || errors.Is(err, Stop) {
		err = c.err
	}
	if err == nil {
		return true
	}
	var socket *net.OpError
	switch {
	case errors.Is(err, errClosed):
		c.linger()
	case errors.Is(err, ErrClientGone), errors.As(err, &socket):
	default:
		c.server.t.Errorf("walsender: connection %d: %s: %v", c.id, what, err)
	}
	return false
}

// linger lets the client take what was sent before the end of the stream:
// closing a socket with unread data would reset the connection.
func (c *Conn) linger() {
	select {
	case <-c.inbox.gone:
	case <-time.After(time.Second):
	}
}
