package pgtest

import (
	"bytes"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"
)

// ConnKind tells the connections through a Proxy apart by what the client
// asked for on them. It is seen only when the client does not use TLS.
type ConnKind int

// Kinds of connections.
const (
	AnyConn    ConnKind = iota // matches all
	BackupConn                 // BASE_BACKUP was sent on it
	LogConn                    // START_REPLICATION was sent on it
)

// Fault is what a Proxy can do to a connection.
type Fault int

// Faults.
const (
	Reset   Fault = iota // ends it both ways at once, towards the client with RST
	Hangup               // ends it both ways in good order (FIN)
	Silence              // nothing passes any more, but it stays open
)

// Proxy stands between a client and a server and injects faults. Its methods
// are safe for use by several goroutines.
type Proxy struct {
	address string

	mu       sync.Mutex
	changed  sync.Cond
	listener net.Listener
	network  string
	target   string
	conns    map[*proxyConn]struct{}
	plans    []*plan
	accepted int
	toClient map[ConnKind]int64
	closed   bool
	running  sync.WaitGroup
}

// plan is a fault that waits for its byte.
type plan struct {
	left  int64
	fault Fault
	kind  ConnKind
	hit   chan struct{}
}

type proxyConn struct {
	client, server net.Conn
	kinds          [LogConn + 1]bool
	silent, ended  bool
}

// Proxy starts a proxy in front of the cluster on a loopback port. It ends
// with the test.
func (c *Cluster) Proxy(t testing.TB) *Proxy {
	t.Helper()
	return NewProxy(t, "unix", filepath.Join(c.SocketDir, ".s.PGSQL."+strconv.Itoa(c.Port)))
}

// NewProxy starts a proxy to a TCP or Unix address.
func NewProxy(t testing.TB, network, target string) *Proxy {
	t.Helper()
	port, lock, err := reservePort()
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{
		address: net.JoinHostPort(loopback, strconv.Itoa(port)),
		network: network, target: target,
		conns: map[*proxyConn]struct{}{}, toClient: map[ConnKind]int64{},
	}
	p.changed.L = &p.mu
	if err := p.listen(); err != nil {
		lock.Close()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.close()
		lock.Close()
	})
	return p
}

// Addr is the address to connect to, as host:port.
func (p *Proxy) Addr() string { return p.address }

// SetTarget sends all later connections to another server, as a virtual
// address does after a failover.
func (p *Proxy) SetTarget(c *Cluster) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.network, p.target = "unix", filepath.Join(c.SocketDir, ".s.PGSQL."+strconv.Itoa(c.Port))
}

func (p *Proxy) listen() error {
	l, err := net.Listen("tcp", p.address)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil || p.closed {
		return l.Close()
	}
	p.listener = l
	p.running.Add(1)
	go func() {
		defer p.running.Done()
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			p.open(client)
		}
	}()
	return nil
}

func (p *Proxy) open(client net.Conn) {
	p.mu.Lock()
	network, target := p.network, p.target
	p.accepted++
	p.mu.Unlock()
	server, err := net.DialTimeout(network, target, 5*time.Second)
	if err != nil {
		client.Close()
		return
	}
	conn := &proxyConn{client: client, server: server}
	conn.kinds[AnyConn] = true
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		client.Close()
		server.Close()
		return
	}
	p.conns[conn] = struct{}{}
	p.running.Add(2)
	go p.toServerLoop(conn)
	go p.toClientLoop(conn)
}

func (p *Proxy) toServerLoop(conn *proxyConn) {
	defer p.running.Done()
	defer p.forget(conn)
	buf := make([]byte, 32<<10)
	for {
		n, err := conn.client.Read(buf)
		if n > 0 {
			p.classify(conn, buf[:n])
			if !p.pass(conn) {
				return
			}
			if _, err := conn.server.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *Proxy) toClientLoop(conn *proxyConn) {
	defer p.running.Done()
	defer p.forget(conn)
	buf := make([]byte, 32<<10)
	for {
		n, err := conn.server.Read(buf)
		for rest := buf[:n]; len(rest) > 0; {
			if !p.pass(conn) {
				return
			}
			allowed, due := p.allowance(conn, len(rest))
			if _, err := conn.client.Write(rest[:allowed]); err != nil {
				return
			}
			rest = rest[allowed:]
			if due != nil {
				p.mu.Lock()
				p.apply(conn, due.fault)
				p.mu.Unlock()
				close(due.hit)
			}
		}
		if err != nil {
			return
		}
	}
}

// classify looks for a replication command. Clients send it in one piece.
func (p *Proxy) classify(conn *proxyConn, data []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if bytes.Contains(data, []byte("BASE_BACKUP")) {
		conn.kinds[BackupConn] = true
	}
	if bytes.Contains(data, []byte("START_REPLICATION")) {
		conn.kinds[LogConn] = true
	}
}

// pass waits while the connection is silent. It is false once that has ended.
func (p *Proxy) pass(conn *proxyConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn.silent && !conn.ended {
		p.changed.Wait()
	}
	return !conn.ended
}

// allowance counts n bytes to the client. If a plan falls due within them, it
// is taken off the list, and only the bytes before the fault may pass.
func (p *Proxy) allowance(conn *proxyConn, n int) (int, *plan) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var due *plan
	for _, plan := range p.plans {
		if conn.kinds[plan.kind] && plan.left <= int64(n) {
			n, due = int(plan.left), plan
		}
	}
	remaining := p.plans[:0]
	for _, plan := range p.plans {
		if conn.kinds[plan.kind] {
			plan.left -= int64(n)
		}
		if plan != due {
			remaining = append(remaining, plan)
		}
	}
	p.plans = remaining
	for kind, is := range conn.kinds {
		if is {
			p.toClient[ConnKind(kind)] += int64(n)
		}
	}
	return n, due
}

// apply needs the mutex.
func (p *Proxy) apply(conn *proxyConn, fault Fault) {
	if fault == Silence {
		conn.silent = true
		return
	}
	conn.ended = true
	if tcp, ok := conn.client.(*net.TCPConn); ok && fault == Reset {
		_ = tcp.SetLinger(0)
	}
	conn.client.Close()
	conn.server.Close()
	p.changed.Broadcast()
}

func (p *Proxy) forget(conn *proxyConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !conn.ended {
		p.apply(conn, Hangup)
	}
	delete(p.conns, conn)
}

// Inject does fault to all open connections of that kind now, and gives their
// number.
func (p *Proxy) Inject(fault Fault, kind ConnKind) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for conn := range p.conns {
		if conn.kinds[kind] && !conn.ended {
			p.apply(conn, fault)
			n++
		}
	}
	return n
}

// InjectAfter does fault, once, to the connection that brings the client byte
// n+1 of all bytes that connections of that kind bring from now on; that byte
// does not arrive any more. The channel is closed when it is done.
func (p *Proxy) InjectAfter(n int64, fault Fault, kind ConnKind) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	plan := &plan{left: max(n, 0), fault: fault, kind: kind, hit: make(chan struct{})}
	p.plans = append(p.plans, plan)
	return plan.hit
}

// Lift ends the silence on all connections. What was held back passes.
func (p *Proxy) Lift() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		conn.silent = false
	}
	p.changed.Broadcast()
}

// Refuse has the kernel refuse new connections. Open ones stay.
func (p *Proxy) Refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		p.listener.Close()
		p.listener = nil
	}
}

// Allow ends Refuse, on the same port.
func (p *Proxy) Allow(t testing.TB) {
	t.Helper()
	p.mu.Lock()
	listening := p.listener != nil
	p.mu.Unlock()
	if listening {
		return
	}
	if err := p.listen(); err != nil {
		t.Fatal(err)
	}
}

// Accepted is the number of connections that clients have opened.
func (p *Proxy) Accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

// Open is the number of open connections of that kind.
func (p *Proxy) Open(kind ConnKind) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for conn := range p.conns {
		if conn.kinds[kind] {
			n++
		}
	}
	return n
}

// BytesToClient is the number of bytes that connections of that kind have
// brought their clients.
func (p *Proxy) BytesToClient(kind ConnKind) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.toClient[kind]
}

func (p *Proxy) close() {
	p.mu.Lock()
	p.closed = true
	if p.listener != nil {
		p.listener.Close()
		p.listener = nil
	}
	for conn := range p.conns {
		p.apply(conn, Hangup)
	}
	p.mu.Unlock()
	p.running.Wait()
}
