package conninfo

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/internal/replconn"
	"golang.org/x/sys/unix"
)

// A server that says nothing while its machine is gone is told from one that
// is busy by the keepalives of the connection, which are on by default.
func TestPeerThatIsGoneIsNoticedWithoutASilenceLimit(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a network of its own needs root")
	}
	isolate(t)
	unable := errors.New("no network of its own")
	done := make(chan error, 1)
	go func() {
		// The thread is not given back: it ends with this goroutine, and its
		// network with it.
		runtime.LockOSThread()
		done <- func() error {
			if err := errors.Join(unix.Unshare(unix.CLONE_NEWNET), setLoopback(true)); err != nil {
				return fmt.Errorf("%w: %w", unable, err)
			}
			w := (&walsender{reports: map[string]string{"integer_datetimes": "on"}, silent: true}).start(t, "tcp", "127.0.0.1:0")
			config, err := mustParse(t, "host=127.0.0.1 user=u sslmode=disable port="+w.port()+
				" keepalives_idle=1 keepalives_interval=1 keepalives_count=2").Config()
			if err != nil {
				return err
			}
			c, err := replconn.Connect(t.Context(), config)
			if err != nil {
				return err
			}
			defer c.Close()
			c.ExpectBulk()
			if err := c.Send("BASE_BACKUP"); err != nil {
				return err
			}
			time.Sleep(100 * time.Millisecond) // until it is acknowledged
			if err := setLoopback(false); err != nil {
				return err
			}
			_, err = c.ReadResult()
			return err
		}()
	}()
	select {
	case err := <-done:
		if errors.Is(err, unable) {
			t.Skip(err)
		}
		if !errors.Is(err, unix.ETIMEDOUT) {
			t.Errorf("error is %v, want that the connection timed out", err)
		}
	case <-time.After(time.Minute):
		t.Error("a peer that has been gone for a minute is still waited for")
	}
}

// Without a word about keepalives a dead peer is noticed within 3 minutes.
func TestKeepalivesAreOnByDefault(t *testing.T) {
	isolate(t)
	w := (&walsender{}).start(t, "tcp", "127.0.0.1:0")
	config, err := mustParse(t, "host=127.0.0.1 user=u sslmode=disable port="+w.port()).Config()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := config.DialFunc(t.Context(), "tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	option := func(level, name int) (value int) {
		t.Helper()
		var failed error
		err := raw.Control(func(fd uintptr) { value, failed = unix.GetsockoptInt(int(fd), level, name) })
		if err := errors.Join(err, failed); err != nil {
			t.Fatal(err)
		}
		return value
	}
	if option(unix.SOL_SOCKET, unix.SO_KEEPALIVE) == 0 {
		t.Error("keepalives are off")
	}
	idle, interval, count := option(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE), option(unix.IPPROTO_TCP, unix.TCP_KEEPINTVL), option(unix.IPPROTO_TCP, unix.TCP_KEEPCNT)
	if after := idle + interval*count; after > 180 {
		t.Errorf("a dead peer is noticed after %d s: idle %d s, interval %d s, %d times", after, idle, interval, count)
	}
}

// setLoopback switches the loopback device of this thread's network.
func setLoopback(up bool) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if up {
		ifr.SetUint16(unix.IFF_UP)
	}
	return os.NewSyscallError("ioctl", unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr))
}
