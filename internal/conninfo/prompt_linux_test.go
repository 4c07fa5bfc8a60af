package conninfo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// screen is the far side of a pseudo terminal: it types, and keeps what is
// shown.
type screen struct {
	master *os.File
	mu     sync.Mutex
	shown  bytes.Buffer
}

func newScreen(t *testing.T) (s *screen, tty *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	raw, err := master.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var n int
	raw.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			n, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if err != nil {
		t.Skip(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	s = &screen{master: master}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 512)
		for {
			n, err := master.Read(buf)
			s.mu.Lock()
			s.shown.Write(buf[:n])
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { tty.Close(); master.Close(); <-done })
	return s, tty
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shown.String()
}

func (s *screen) waitFor(t *testing.T, text string) {
	t.Helper()
	for range 500 {
		if strings.Contains(s.text(), text) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%q not shown, but %q", text, s.text())
}

func modes(t *testing.T, tty *os.File) (m unix.Termios) {
	t.Helper()
	raw, err := tty.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		p, e := unix.IoctlGetTermios(int(fd), unix.TCGETS)
		if e != nil {
			t.Fatal(e)
		}
		m = *p
	})
	return m
}

func TestPromptShowsNothingTypedAndSetsTheTerminalBack(t *testing.T) {
	for _, c := range []struct {
		name, typed, password string
		cancel                bool
		want                  error
	}{
		{"a password", "s3cr€t \r", "s3cr€t ", false, nil},
		{"an empty one", "\r", "", false, nil},
		{"Ctrl-C", "s3cr\x03", "", false, ErrInterrupted},
		{"end of the context", "s3cr", "", true, ErrInterrupted},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, tty := newScreen(t)
			before := modes(t, tty)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			type result struct {
				password string
				err      error
			}
			results := make(chan result, 1)
			go func() {
				p, err := promptOn(ctx, tty, tty, "Password: ")
				results <- result{p, err}
			}()
			s.waitFor(t, "Password: ")
			s.master.WriteString(c.typed)
			if c.cancel {
				time.Sleep(20 * time.Millisecond)
				cancel()
			}
			select {
			case r := <-results:
				if r.password != c.password || !errors.Is(r.err, c.want) {
					t.Errorf("got %q, %v", r.password, r.err)
				}
			case <-time.After(5 * time.Second):
				t.Fatal("the prompt does not end")
			}
			if strings.Contains(s.text(), "s3cr") {
				t.Errorf("shown: %q", s.text())
			}
			if modes(t, tty) != before {
				t.Error("terminal not set back")
			}
		})
	}
}
