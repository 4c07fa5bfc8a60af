// Package replconn is a connection to a walsender. pgconn makes the
// connection (addresses, TLS, authentication); then replconn takes it over and
// frames the messages itself, so that COPY data is handed on in place, without
// a copy or an allocation per message.
//
// A Conn speaks the simple query protocol only, as a walsender does
// (src/bin/pg_basebackup/streamutil.c). One goroutine reads; SendCopyData may be called beside
// it from another.
package replconn

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// ErrClosedByServer says that the server ended the connection without an
// error message.
var ErrClosedByServer = errors.New("server closed the connection")

// Conn is a walsender connection.
type Conn struct {
	net    net.Conn
	frames *frameReader
	hijack *pgconn.HijackedConn
	params map[string]string

	// address is what was dialled, so that a second connection can be made
	// to the same server where the configuration names several.
	address string

	writing sync.Mutex
	out     []byte // reused by SendCopyData

	// ctx is the one that Watch holds now; its end ends a blocked read.
	ctx atomic.Pointer[context.Context]

	// broken is why Break ended the connection. taking is held while net is
	// exchanged, so that Break ends the one that is read from.
	broken atomic.Pointer[error]
	taking sync.Mutex

	// excused is what ExcuseSilence said.
	excused atomic.Bool

	// OnNotice, if set, gets every notice and warning of the server. It is
	// called from the goroutine that reads.
	OnNotice func(*pgconn.Notice)
}

// Connect opens a connection. config must come from pgconn.ParseConfig and
// have the runtime parameter replication=true. An error that the server sent
// is, or wraps, a *pgconn.PgError; when ctx ends it is ctx's cause.
func Connect(ctx context.Context, config *pgconn.Config) (*Conn, error) {
	config = config.Copy()
	var address string
	dial := config.DialFunc
	config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err == nil {
			address = addr
		}
		return c, err
	}
	// pgconn reads in the background when a write takes long, as the start-up
	// message may on a busy machine. Such a read may still be under way when the
	// connection is taken over, and would swallow the first answer: so what
	// pgconn reads through is read through here as well.
	var reader io.Reader
	build := config.BuildFrontend
	config.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		reader = r
		return build(r, w)
	}
	pg, err := pgconn.ConnectConfig(ctx, config)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return nil, cause // pgconn names only the cancellation
	}
	if err != nil {
		return nil, err
	}
	hijack, err := pg.Hijack()
	if err != nil {
		pg.Close(ctx)
		return nil, fmt.Errorf("taking over the connection: %w", err)
	}
	if hijack.Frontend.ReadBufferLen() > 0 {
		hijack.Conn.Close()
		return nil, fmt.Errorf("%w: data before the first command", ErrMalformed)
	}
	// A deadline that pgconn set for its own context must not outlive it.
	if err := hijack.Conn.SetDeadline(time.Time{}); err != nil {
		hijack.Conn.Close()
		return nil, err
	}
	c := &Conn{
		net:     hijack.Conn,
		frames:  newFrameReader(reader),
		hijack:  hijack,
		params:  hijack.ParameterStatuses,
		address: address,
	}
	if v := c.params["integer_datetimes"]; v != "on" {
		c.Close()
		return nil, fmt.Errorf("server setting integer_datetimes is %q, want \"on\"", v)
	}
	return c, nil
}

// Pin returns a copy of config that connects to no other server than the one
// that c is connected to. Servers of one cluster have one system identifier
// but not one history: the log of a base backup must come from where the base
// backup comes from.
func (c *Conn) Pin(config *pgconn.Config) *pgconn.Config {
	pinned := config.Copy()
	dial, want := config.DialFunc, c.address
	// The other hosts are left out, so that nobody takes them for servers that
	// could not be reached.
	var list []*pgconn.FallbackConfig
	for _, h := range hosts(config) {
		if !mayLeadTo(h, want) {
			continue
		}
		list = append(list, &pgconn.FallbackConfig{Host: h.Host, Port: h.Port, TLSConfig: h.TLSConfig})
		list = append(list, h.Fallbacks...)
	}
	if len(list) > 0 {
		pinned.Host, pinned.Port, pinned.TLSConfig = list[0].Host, list[0].Port, list[0].TLSConfig
		pinned.Fallbacks = list[1:]
	}
	if lookup := config.LookupFunc; lookup != nil {
		pinned.LookupFunc = func(ctx context.Context, host string) ([]string, error) {
			ips, err := lookup(ctx, host)
			same := slices.DeleteFunc(slices.Clone(ips), func(ip string) bool { return !sameHost(ip, want) })
			if len(same) == 0 {
				return ips, err // the dial says why not
			}
			return same, err
		}
	}
	pinned.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr != want {
			return nil, fmt.Errorf("passed over %s: the base backup comes from %s", addr, want)
		}
		return dial(ctx, network, addr)
	}
	return pinned
}

// mayLeadTo tells whether a host, which has not been looked up, may have an
// address.
func mayLeadTo(host *pgconn.Config, address string) bool {
	if _, path := pgconn.NetworkAddress(host.Host, host.Port); isUnix(host) {
		return path == address
	}
	_, port, err := net.SplitHostPort(address)
	return err == nil && port == strconv.Itoa(int(host.Port))
}

// sameHost tells whether a lookup brought the host of an address.
func sameHost(ip, address string) bool {
	if host, _, err := net.SplitHostPort(ip); err == nil {
		ip = host
	}
	host, _, err := net.SplitHostPort(address)
	return err == nil && host == ip
}

// Address is what was dialled.
func (c *Conn) Address() string { return c.address }

// ServerVersion is the server's version as the setting server_version_num has
// it: 150018 for 15.18. 0 means that the server did not say.
func (c *Conn) ServerVersion() int { return parseVersion(c.params["server_version"]) }

// Parameter is the value of a setting that the server reports of itself, such
// as in_hot_standby (14+) or server_version.
func (c *Conn) Parameter(name string) string { return c.params[name] }

// PID is the process ID of the walsender.
func (c *Conn) PID() uint32 { return c.hijack.PID }

// parseVersion understands "15.18 (Debian 15.18-0+deb12u1)", "19devel" and
// "18beta1".
func parseVersion(text string) int {
	major, rest := leadingNumber(text)
	minor := 0
	if len(rest) > 1 && rest[0] == '.' {
		minor, _ = leadingNumber(rest[1:])
	}
	return major*10000 + minor
}

func leadingNumber(s string) (n int, rest string) {
	i := 0
	for i < len(s) && i < 6 && '0' <= s[i] && s[i] <= '9' {
		i++
	}
	n, _ = strconv.Atoi(s[:i])
	return n, s[i:]
}

// Watch ties the connection to ctx: when ctx ends, a read or write that
// blocks returns, with the cause of ctx. The function returned unties it and
// must be called before the next Watch.
func (c *Conn) Watch(ctx context.Context) (unwatch func()) {
	c.ctx.Store(&ctx)
	// A deadline in the past also for writes: a server that reads nothing
	// must not hold them for ever.
	stop := context.AfterFunc(ctx, func() { _ = c.net.SetDeadline(time.Unix(1, 0)) })
	return func() {
		stop()
		c.ctx.Store(nil)
	}
}

// ExpectBulk says that the answer to the next command brings a lot of data.
// It must not be the first command of the connection, since pgconn may have
// begun to read the answer to that, and Watch must not be on.
func (c *Conn) ExpectBulk() { c.take(waitForMore) }

// ExpectBursts says that the answer to the next command brings a lot at times,
// and little at others. It must not be the first command either.
func (c *Conn) ExpectBursts() { c.take(waitWhileMany) }

// ExpectPrompt says that the answer to the next command brings little at a
// time, which is waited for on both sides. As for ExpectBulk, it must not be
// the first command.
func (c *Conn) ExpectPrompt() { c.take(waitForAny) }

// take reads the connection without the runtime's poller from now on, where
// that can be.
func (c *Conn) take(wait waiting) {
	c.taking.Lock()
	defer c.taking.Unlock()
	if s, ok := takeSocket(c.net, wait); ok {
		c.net, c.frames.src = s, s
	}
	if c.broken.Load() != nil {
		_ = c.net.SetDeadline(time.Unix(1, 0))
	}
}

// Interrupt makes a read that blocks, and every later one until Resume, return
// os.ErrDeadlineExceeded. It may be called from any goroutine.
func (c *Conn) Interrupt() { _ = c.net.SetReadDeadline(time.Unix(1, 0)) }

// Resume undoes Interrupt, but not Break.
func (c *Conn) Resume() {
	_ = c.net.SetReadDeadline(time.Time{})
	if c.broken.Load() != nil {
		_ = c.net.SetDeadline(time.Unix(1, 0))
	}
}

// Break ends every read and write, now and later, with err. It may be called
// from any goroutine.
func (c *Conn) Break(err error) {
	c.broken.Store(&err)
	c.taking.Lock()
	defer c.taking.Unlock()
	_ = c.net.SetDeadline(time.Unix(1, 0))
}

// Close ends the connection. It says goodbye, if that takes no time.
func (c *Conn) Close() error {
	_ = c.net.SetDeadline(time.Now().Add(time.Second))
	c.writing.Lock()
	_, _ = c.net.Write([]byte{'X', 0, 0, 0, 4})
	c.writing.Unlock()
	return c.net.Close()
}

// Cancel asks the server, over a connection of its own, to end the command
// that runs. A walsender that waits for a checkpoint would not notice before
// its end that this side has gone. Close is still needed.
func (c *Conn) Cancel(ctx context.Context) error {
	pg, err := pgconn.Construct(c.hijack)
	if err != nil {
		return err
	}
	return pg.CancelRequest(ctx)
}

// Send sends a command to the walsender. Its answer is read by ReadResult or
// Receive.
func (c *Conn) Send(command string) error {
	buf, err := (&pgproto3.Query{String: command}).Encode(nil)
	if err != nil {
		return err
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.write(buf)
}

// SendCopyData sends one CopyData message. payload is not kept. It may be
// called while another goroutine reads.
func (c *Conn) SendCopyData(payload []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.out = append(c.out[:0], 'd')
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(4+len(payload)))
	c.out = append(c.out, payload...)
	return c.write(c.out)
}

// SendCopyDone ends this side of a COPY.
func (c *Conn) SendCopyDone() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.write([]byte{'c', 0, 0, 0, 4})
}

// write needs c.writing.
func (c *Conn) write(buf []byte) error {
	if _, err := c.net.Write(buf); err != nil {
		return c.cause(err)
	}
	return nil
}

// cause turns an error of a read or write that the end of a context brought
// about into what ended that context, and the bare end of the stream into
// ErrClosedByServer.
func (c *Conn) cause(err error) error {
	if p := c.ctx.Load(); p != nil {
		if e := context.Cause(*p); e != nil {
			return e
		}
	}
	if p := c.broken.Load(); p != nil {
		return *p
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrClosedByServer
	}
	return err
}
