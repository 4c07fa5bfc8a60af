package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// upstream sends every connection the same bytes after a first line from the
// client, and then waits for its end.
func upstream(t *testing.T, data []byte) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buf := make([]byte, 100)
				if _, err := conn.Read(buf); err != nil {
					return
				}
				if _, err := conn.Write(data); err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, conn)
			}()
		}
	}()
	return l.Addr().String()
}

// dial connects to the proxy and sends a line.
func dial(t *testing.T, p *Proxy, line string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, line); err != nil {
		t.Fatal(err)
	}
	return conn
}

// readAll reads until the connection ends or nothing comes for wait.
func readAll(conn net.Conn, wait time.Duration) ([]byte, error) {
	var got bytes.Buffer
	buf := make([]byte, 8192)
	for {
		_ = conn.SetReadDeadline(time.Now().Add(wait))
		n, err := conn.Read(buf)
		got.Write(buf[:n])
		if err != nil {
			return got.Bytes(), err
		}
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

func TestProxyInjectsItsFaultAtTheByte(t *testing.T) {
	t.Parallel()
	data := bytes.Repeat([]byte("0123456789"), 20000)
	for _, test := range []struct {
		name  string
		fault Fault
		want  func(error) bool
	}{
		{"hangup", Hangup, func(err error) bool { return err == io.EOF }},
		{"reset", Reset, func(err error) bool { return errors.Is(err, syscall.ECONNRESET) }},
		{"silence", Silence, isTimeout},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			const limit = 70001
			p := NewProxy(t, "tcp", upstream(t, data))
			hit := p.InjectAfter(limit, test.fault, BackupConn)

			other, err := readAll(dial(t, p, "START_REPLICATION"), 300*time.Millisecond)
			if !isTimeout(err) || !bytes.Equal(other, data) {
				t.Fatalf("a connection of another kind: %d bytes and error %v", len(other), err)
			}
			select {
			case <-hit:
				t.Fatal("the fault hit a connection of another kind")
			default:
			}
			conn := dial(t, p, "BASE_BACKUP")
			got, err := readAll(conn, 300*time.Millisecond)
			if !test.want(err) {
				t.Errorf("the connection ended with error %v", err)
			}
			// A reset may overtake what the kernel holds.
			if test.fault != Reset && len(got) != limit || !bytes.HasPrefix(data[:limit], got) {
				t.Errorf("%d bytes arrived, want %d", len(got), limit)
			}
			if n := p.BytesToClient(BackupConn); n != limit {
				t.Errorf("the proxy counts %d bytes, want %d", n, limit)
			}
			select {
			case <-hit:
			case <-time.After(time.Second):
				t.Error("the proxy does not tell of the fault")
			}
			if test.fault == Silence {
				p.Lift()
				if rest, err := readAll(conn, 300*time.Millisecond); !isTimeout(err) || !bytes.Equal(append(got, rest...), data) {
					t.Errorf("after the silence: %d bytes and error %v", len(rest), err)
				}
			}
			if again, _ := readAll(dial(t, p, "BASE_BACKUP"), 300*time.Millisecond); !bytes.Equal(again, data) {
				t.Errorf("the fault struck twice: %d bytes", len(again))
			}
			if got := p.Accepted(); got != 3 {
				t.Errorf("%d connections accepted, want 3", got)
			}
		})
	}
}

func TestProxyRefusesAndAllowsConnections(t *testing.T) {
	t.Parallel()
	p := NewProxy(t, "tcp", upstream(t, []byte("hello")))
	open := dial(t, p, "x")
	if got, _ := readAll(open, 200*time.Millisecond); string(got) != "hello" {
		t.Fatalf("got %q", got)
	}
	p.Refuse()
	if _, err := net.Dial("tcp", p.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("connecting: got error %v, want ECONNREFUSED", err)
	}
	if n := p.Open(AnyConn); n != 1 {
		t.Errorf("%d connections open, want 1", n)
	}
	p.Allow(t)
	if got, _ := readAll(dial(t, p, "x"), 200*time.Millisecond); string(got) != "hello" {
		t.Errorf("after Allow: got %q", got)
	}
}

func TestProxyCutsARealServersConnection(t *testing.T) {
	t.Parallel()
	c := Newest(t).Init(t, TLS(), HBA("hostssl all all 127.0.0.1/32 trust"))
	c.Start(t)
	plain := Newest(t).Init(t)
	plain.Start(t)
	for _, server := range []*Cluster{plain, c} {
		p := NewProxy(t, "tcp", fmt.Sprintf("%s:%d", server.Host, server.Port))
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		conn, err := pgconn.Connect(ctx, server.ProxyConnString(p.Addr()))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := execute(ctx, conn, "SELECT 1"); err != nil || got != "1" {
			t.Fatalf("got %q, error %v", got, err)
		}
		if n := p.Inject(Reset, AnyConn); n != 1 {
			t.Errorf("%d connections cut, want 1", n)
		}
		if _, err := execute(ctx, conn, "SELECT 1"); err == nil || ctx.Err() != nil {
			t.Errorf("a statement after the cut: error %v", err)
		}
		p.SetTarget(plain)
		conn, err = pgconn.Connect(ctx, plain.ProxyConnString(p.Addr()))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := execute(ctx, conn, "SHOW port"); err != nil || got != fmt.Sprint(plain.Port) {
			t.Errorf("after SetTarget: port %q, error %v", got, err)
		}
		_ = conn.Close(ctx)
	}
}
