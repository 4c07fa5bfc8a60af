package walsender

import (
	"net"
	"time"
)

// faultWriter is the way to the socket, with what goes wrong on it.
type faultWriter struct {
	conn    *net.TCPConn
	written int64
	left    int64 // bytes until the connection is cut; -1 for no end
	reset   bool  // cut by a reset
	split   int   // bytes per write; 0 for whole messages
	pause   time.Duration
}

// Write returns errClosed once the connection was cut.
func (w *faultWriter) Write(p []byte) (int, error) {
	cut := w.left >= 0 && int64(len(p)) >= w.left
	if cut {
		p = p[:w.left]
	}
	done := 0
	for done < len(p) {
		piece := p[done:]
		if w.split > 0 && len(piece) > w.split {
			piece = piece[:w.split]
		}
		n, err := w.conn.Write(piece)
		done += n
		w.written += int64(n)
		if err != nil {
			return done, err
		}
		if w.pause > 0 {
			time.Sleep(w.pause)
		}
	}
	if w.left >= 0 {
		w.left -= int64(done)
	}
	if cut {
		w.close(w.reset)
		return done, errClosed
	}
	return done, nil
}

func (w *faultWriter) close(reset bool) {
	if reset {
		_ = w.conn.SetLinger(0)
		_ = w.conn.Close()
		return
	}
	_ = w.conn.CloseWrite()
}

// Written counts the bytes that were sent on this connection. With CutAfter it
// lets a test break an answer off at each of its bytes.
func (c *Conn) Written() int64 { return c.out.written }

// CutAfter closes the connection when n more bytes were sent, without a word;
// for 0, when the next message would be.
func (c *Conn) CutAfter(n int64) { c.out.left, c.out.reset = n, false }

// ResetAfter does the same with a TCP reset.
func (c *Conn) ResetAfter(n int64) { c.out.left, c.out.reset = n, true }

// Split writes at most n bytes at once from now on, so that messages arrive in
// pieces, with a pause behind each piece. 0 writes whole messages again.
func (c *Conn) Split(n int, pause time.Duration) { c.out.split, c.out.pause = n, pause }

// Close ends the connection. The client gets what was sent before.
func (c *Conn) Close() {
	c.out.close(false)
	c.fail(errClosed)
}

// Reset ends the connection by a TCP reset.
func (c *Conn) Reset() {
	c.out.close(true)
	c.fail(errClosed)
}

// Sleep waits, but not longer than the client is there.
func (c *Conn) Sleep(d time.Duration) {
	select {
	case <-time.After(d):
	case <-c.inbox.gone:
	}
}

// Hang says nothing until the client has gone.
func (c *Conn) Hang() { <-c.inbox.gone }

// Cut is a Hook that closes the connection.
func Cut(c *Conn) error { c.Close(); return Stop }

// Reset is a Hook that resets the connection.
func Reset(c *Conn) error { c.Reset(); return Stop }

// Hang is a Hook that says nothing until the client has gone.
func Hang(c *Conn) error { c.Hang(); return Stop }

// Failing returns a Hook that sends an error of the server; more is a detail
// and a hint.
func Failing(sqlstate, message string, more ...string) Hook {
	return func(c *Conn) error {
		c.Fail(sqlstate, message, more...)
		return Stop
	}
}
