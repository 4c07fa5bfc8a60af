package sdnotify

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"
)

func listen(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func receive(t *testing.T, c *net.UnixConn) string {
	t.Helper()
	buf := make([]byte, 4096)
	if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func TestMessagesReachTheSocket(t *testing.T) {
	// Socket paths are short; a test's own directory may not be.
	dir, err := os.MkdirTemp("", "sd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	names := []string{filepath.Join(dir, "notify")}
	if runtime.GOOS == "linux" {
		names = append(names, fmt.Sprintf("@pgbraid-test-%d", os.Getpid()))
	}
	for _, name := range names {
		socket := listen(t, name)
		t.Setenv("NOTIFY_SOCKET", name)
		t.Setenv("WATCHDOG_USEC", "3000000")
		t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
		n, err := FromEnvironment()
		if err != nil {
			t.Fatal(err)
		}
		if n.WatchdogInterval() != 3*time.Second {
			t.Errorf("watchdog %s", n.WatchdogInterval())
		}
		if v, ok := os.LookupEnv("NOTIFY_SOCKET"); ok {
			t.Errorf("child processes inherit NOTIFY_SOCKET=%s", v)
		}
		if err := n.Send(Ready, Status("two\nlines"), ExtendTimeout(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if got, want := receive(t, socket), "READY=1\nSTATUS=two lines\nEXTEND_TIMEOUT_USEC=60000000"; got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
		_ = socket.Close()
		if err := n.Send(Watchdog); err == nil {
			t.Errorf("%s: no error though nobody listens", name)
		}
	}
}

func TestWithoutAServiceManagerNothingIsSent(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("WATCHDOG_USEC", "1000000")
	n, err := FromEnvironment()
	if n != nil || err != nil {
		t.Fatalf("%v, %v", n, err)
	}
	if err := n.Send(Ready); err != nil || n.WatchdogInterval() != 0 {
		t.Errorf("%v, watchdog %s", err, n.WatchdogInterval())
	}
	t.Setenv("NOTIFY_SOCKET", "vsock:2:1")
	if _, err := FromEnvironment(); err == nil {
		t.Error("no error for a socket of a kind that is not known")
	}
}

func TestWatchdogOfAnotherProcessIsNotOurs(t *testing.T) {
	for _, c := range []struct {
		usec, pid string
		want      time.Duration
	}{
		{"500000", "", 500 * time.Millisecond},
		{"500000", "1", 0},
		{"", "", 0}, {"0", "", 0}, {"-1", "", 0}, {"x", "", 0},
		{"18446744073709551615", "", 0},
		{"9223372036854775807", "", 0},
	} {
		t.Setenv("NOTIFY_SOCKET", "/nowhere")
		t.Setenv("WATCHDOG_USEC", c.usec)
		t.Setenv("WATCHDOG_PID", c.pid)
		n, err := FromEnvironment()
		if err != nil {
			t.Fatal(err)
		}
		if got := n.WatchdogInterval(); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}
