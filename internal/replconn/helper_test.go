package replconn

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// frame is a message of the server in wire form.
func frame(kind byte, body []byte) []byte {
	f := binary.BigEndian.AppendUint32([]byte{kind}, uint32(4+len(body)))
	return append(f, body...)
}

// encode is a sequence of messages in wire form.
func encode(t testing.TB, messages ...pgproto3.BackendMessage) []byte {
	t.Helper()
	var out []byte
	for _, m := range messages {
		var err error
		if out, err = m.Encode(out); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// torn gives a stream in reads of the given sizes, over and over, and a
// deadline error before each read where timeouts is set.
type torn struct {
	rest     []byte
	sizes    []int
	next     int
	timeouts error
	due      bool
}

func (r *torn) Read(p []byte) (int, error) {
	if r.timeouts != nil {
		if r.due = !r.due; r.due {
			return 0, r.timeouts
		}
	}
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := len(r.rest)
	if len(r.sizes) > 0 {
		n = min(n, max(1, r.sizes[r.next%len(r.sizes)]))
		r.next++
	}
	n = copy(p, r.rest[:n])
	r.rest = r.rest[n:]
	return n, nil
}

// endless gives the same bytes over and over.
type endless struct {
	stream []byte
	at     int
}

func (r *endless) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		c := copy(p[n:], r.stream[r.at:])
		n, r.at = n+c, (r.at+c)%len(r.stream)
	}
	return n, nil
}

// memoryConn reads from a reader and keeps what is written.
type memoryConn struct {
	io.Reader
	written bytes.Buffer
}

func (c *memoryConn) Write(p []byte) (int, error)      { return c.written.Write(p) }
func (c *memoryConn) Close() error                     { return nil }
func (c *memoryConn) LocalAddr() net.Addr              { return nil }
func (c *memoryConn) RemoteAddr() net.Addr             { return nil }
func (c *memoryConn) SetDeadline(time.Time) error      { return nil }
func (c *memoryConn) SetReadDeadline(time.Time) error  { return nil }
func (c *memoryConn) SetWriteDeadline(time.Time) error { return nil }

// over makes a Conn on a network connection as Connect leaves it.
func over(c net.Conn) *Conn {
	return &Conn{net: c, frames: newFrameReader(c), params: map[string]string{"server_version": "18.1"}}
}

// reading makes a Conn that reads the messages and then the end of the stream.
func reading(stream []byte) *Conn { return over(&memoryConn{Reader: bytes.NewReader(stream)}) }

// piped makes a Conn and the server's side of it, which the test plays.
func piped(t *testing.T) (*Conn, net.Conn) {
	t.Helper()
	client, server := net.Pipe()
	t.Cleanup(func() {
		_ = client.Close()
		_ = server.Close()
	})
	return over(client), server
}

// play runs the server's side: it reads one message for each answer and sends
// that.
func play(t *testing.T, server net.Conn, answers ...[]byte) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		commands := newFrameReader(server)
		for _, a := range answers {
			if _, _, err := commands.next(); err != nil {
				done <- err
				return
			}
			if _, err := server.Write(a); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	t.Cleanup(func() {
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("server's side: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("the server's side was left waiting")
		}
	})
}
