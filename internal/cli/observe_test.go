package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/internal/pgtest"
	"github.com/pgbraid/pgbraid/internal/pgtest/walsender"
	"github.com/pgbraid/pgbraid/internal/sdnotify"
	"github.com/pgbraid/pgbraid/logstream"
)

// It is not parallel: it sets the environment.
func TestServiceManagerAndMetricsFollowTheReceiver(t *testing.T) {
	c := pgtest.Newest(t).Init(t)
	c.Start(t)
	dir, err := os.MkdirTemp("", "sd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	name := filepath.Join(dir, "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	t.Setenv("NOTIFY_SOCKET", name)
	t.Setenv("WATCHDOG_USEC", "400000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	var messages []string
	await := func(what string) {
		t.Helper()
		deadline := time.Now().Add(20 * time.Second)
		for {
			if err := socket.SetReadDeadline(deadline); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 4096)
			n, err := socket.Read(buf)
			if err != nil {
				t.Fatalf("no %s: %v; got %q", what, err, messages)
			}
			messages = append(messages, string(buf[:n]))
			for line := range strings.Lines(string(buf[:n])) {
				if strings.HasPrefix(line, what) {
					return
				}
			}
		}
	}

	var errOut pgtest.Output
	ctx, signal := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{"receive", "-D", pgtest.TempDir(t), "-d", c.ConnString(), "--metrics", ":0"}, io.Discard, &errOut)
	}()
	await("READY=1")
	if !strings.Contains(messages[len(messages)-1], "STATUS=streaming at ") {
		t.Errorf("ready with %q", messages)
	}
	begin := time.Now()
	for range 5 {
		await("WATCHDOG=1")
	}
	// At half the interval each, so that one may come late.
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("five watchdog messages took %s", took)
	}
	_, after, _ := strings.Cut(errOut.String(), "serving metrics (address ")
	address, _, _ := strings.Cut(after, ")")
	r, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatalf("%v; %s", err, errOut.String())
	}
	body, _ := io.ReadAll(r.Body)
	_ = r.Body.Close()
	if host, _, _ := net.SplitHostPort(address); host != "127.0.0.1" || !strings.Contains(string(body), `pgbraid_receive_state{state="streaming"} 1`) {
		t.Errorf("%s serves\n%s", address, body)
	}

	c.Stop(t, pgtest.Fast)
	await("STATUS=waiting")
	await("WATCHDOG=1") // a server that is away is no reason for a restart
	signal(&interrupted{syscall.SIGTERM})
	await("STOPPING=1")
	if err := <-done; err != nil {
		t.Errorf("%v; %s", err, errOut.String())
	}
	if n := strings.Count(strings.Join(messages, "\n"), "READY=1"); n != 1 {
		t.Errorf("ready %d times", n)
	}
	if conn, err := net.Dial("tcp", address); err == nil {
		_ = conn.Close()
		t.Error("metrics are still served after the end")
	}
}

func TestMetricsAddressIsTakenBeforeTheServerIsAsked(t *testing.T) {
	t.Parallel()
	server := walsender.New(t, walsender.Options{Version: "18.4"})
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	host, port, _ := net.SplitHostPort(server.Addr())
	for address, want := range map[string]int{taken.Addr().String(): ExitFailed, "nonsense": ExitUsage, ":65536": ExitUsage} {
		var errOut pgtest.Output
		err := run(t.Context(), []string{
			"receive", "-D", t.TempDir(), "-d", fmt.Sprintf("host=%s port=%s user=u sslmode=disable", host, port), "--metrics", address,
		}, io.Discard, &errOut)
		if exitCode(err) != want {
			t.Errorf("%s: exit code %d (%v), want %d", address, exitCode(err), err, want)
		}
	}
	if n := len(server.Startups()); n != 0 {
		t.Errorf("the server was asked %d times", n)
	}
}

// The watchdog is to end a receiver that hangs, so it is fed only while nothing
// does. It is not parallel: it sets the environment.
func TestWatchdogIsFedOnlyWhileNothingHangs(t *testing.T) {
	dir, err := os.MkdirTemp("", "sd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	name := filepath.Join(dir, "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	t.Setenv("NOTIFY_SOCKET", name)
	t.Setenv("WATCHDOG_USEC", "60000000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	notifier, err := sdnotify.FromEnvironment()
	if err != nil {
		t.Fatal(err)
	}
	var now logstream.Status
	s := newService(notifier, func() logstream.Status { return now }, slog.New(slog.DiscardHandler))
	for _, c := range []struct {
		state   logstream.State
		stalled time.Duration
		fed     bool
	}{
		{logstream.Streaming, 0, true},
		{logstream.Streaming, 20 * time.Second, true},
		{logstream.Streaming, 40 * time.Second, false},
		{logstream.Connecting, 40 * time.Second, false},
		{logstream.Waiting, 0, true},
		{logstream.Stopped, 0, false},
	} {
		now = logstream.Status{State: c.state, Stalled: c.stalled}
		s.lastText = "something else"
		s.look()
		buf := make([]byte, 4096)
		if err := socket.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := socket.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		text := string(buf[:n])
		if strings.Contains(text, sdnotify.Watchdog) != c.fed || strings.Contains(text, "hanging for") != (c.stalled > 0) {
			t.Errorf("%s, stalled for %s: %q", c.state, c.stalled, text)
		}
	}
}
