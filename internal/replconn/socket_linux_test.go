package replconn

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// takenPair is a connection whose one end is taken over.
func takenPair(t *testing.T, network string, wait waiting) (taken, peer net.Conn) {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial(network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if peer, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	taken, ok := takeSocket(c, wait)
	if !ok {
		t.Fatal("the socket was not taken over")
	}
	t.Cleanup(func() {
		_ = taken.Close()
		_ = peer.Close()
	})
	return taken, peer
}

func noWait(int, int, int) bool { return false }

func TestSocketBringsAndSendsWhatIsSent(t *testing.T) {
	t.Parallel()
	want := make([]byte, 5<<20)
	_, _ = rand.Read(want) // never fails
	for _, network := range []string{"unix", "tcp"} {
		for name, wait := range map[string]waiting{"no wait": noWait, "more": waitForMore, "many": waitWhileMany, "any": waitForAny} {
			taken, peer := takenPair(t, network, wait)
			go func() {
				_, _ = peer.Write(want) // what is missing is missed below
				time.Sleep(20 * time.Millisecond)
				_, _ = peer.Write([]byte("end"))
			}()
			got := make([]byte, len(want)+3)
			if _, err := io.ReadFull(taken, got); err != nil || !bytes.Equal(got, append(want[:len(want):len(want)], "end"...)) {
				t.Errorf("%s, %s: reading: %v", network, name, err)
			}
			received := make(chan []byte, 1)
			go func() {
				b := make([]byte, len(want))
				_, _ = io.ReadFull(peer, b) // compared below
				received <- b
			}()
			if n, err := taken.Write(want); n != len(want) || err != nil {
				t.Errorf("%s, %s: wrote %d: %v", network, name, n, err)
			}
			if !bytes.Equal(<-received, want) {
				t.Errorf("%s, %s: the peer got something else", network, name)
			}
			_ = peer.Close()
			if n, err := taken.Read(got); n != 0 || err != io.EOF {
				t.Errorf("%s, %s: at the end: %d, %v", network, name, n, err)
			}
		}
	}
}

// within fails the test if f does not end soon.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatalf("%s does not end", what)
	}
}

func TestSocketDeadlines(t *testing.T) {
	t.Parallel()
	taken, peer := takenPair(t, "unix", waitForMore)
	one := make([]byte, 1)
	set := func(at time.Time) {
		t.Helper()
		if err := taken.SetReadDeadline(at); err != nil {
			t.Fatal(err)
		}
	}
	expired := func(what string) {
		t.Helper()
		within(t, what, func() {
			if _, err := taken.Read(one); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: %v", what, err)
			}
		})
	}
	set(time.Unix(1, 0))
	expired("a deadline in the past")
	expired("the same again")
	set(time.Now().Add(30 * time.Millisecond))
	expired("a deadline to come")
	set(time.Time{})
	time.AfterFunc(50*time.Millisecond, func() { _ = taken.SetReadDeadline(time.Unix(1, 0)) })
	expired("a deadline set while it waits")
	set(time.Now().Add(20 * time.Millisecond))
	set(time.Time{})
	time.Sleep(50 * time.Millisecond)
	if _, err := peer.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	within(t, "a read without a deadline", func() {
		if _, err := taken.Read(one); err != nil || one[0] != 'x' {
			t.Errorf("after deadlines: %q, %v", one, err)
		}
	})
	much := make([]byte, 64<<20)
	if err := taken.SetWriteDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	within(t, "a write that nobody reads", func() {
		if n, err := taken.Write(much); !errors.Is(err, os.ErrDeadlineExceeded) || n == 0 {
			t.Errorf("wrote %d: %v", n, err)
		}
	})
}

func TestSocketIsClosedUnderAReader(t *testing.T) {
	t.Parallel()
	for range 50 {
		taken, _ := takenPair(t, "unix", waitForAny)
		time.AfterFunc(time.Millisecond, func() { _ = taken.Close() })
		within(t, "a read", func() {
			if n, err := taken.Read(make([]byte, 1)); n != 0 || err == nil {
				t.Errorf("%d, %v", n, err)
			}
		})
		if err := taken.SetDeadline(time.Now()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("deadline of a closed one: %v", err)
		}
	}
}

// What hides its socket, as TLS does, stays as it is.
func TestOtherConnectionsAreNotTaken(t *testing.T) {
	t.Parallel()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if _, ok := takeSocket(a, noWait); ok {
		t.Error("a pipe was taken for a socket")
	}
}
