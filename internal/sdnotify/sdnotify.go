// Package sdnotify tells systemd how a service does, as sd_notify(3) and
// sd_watchdog_enabled(3) say. Where no service manager listens it does nothing.
package sdnotify

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// The messages that need no value.
const (
	Ready    = "READY=1"
	Stopping = "STOPPING=1"
	Watchdog = "WATCHDOG=1"
)

// Status is a message for a person, of one line.
func Status(text string) string { return "STATUS=" + strings.ReplaceAll(text, "\n", " ") }

// ExtendTimeout asks for that much more time, from now on, to start or stop.
func ExtendTimeout(d time.Duration) string {
	return "EXTEND_TIMEOUT_USEC=" + strconv.FormatInt(d.Microseconds(), 10)
}

// Notifier sends messages to a service manager. A nil one sends nothing.
type Notifier struct {
	socket   string
	watchdog time.Duration
}

// FromEnvironment takes the service manager that $NOTIFY_SOCKET names; nil
// means that there is none. It removes the variables from the
// environment, so that they do not reach child processes.
func FromEnvironment() (*Notifier, error) {
	name, usec, pid := os.Getenv("NOTIFY_SOCKET"), os.Getenv("WATCHDOG_USEC"), os.Getenv("WATCHDOG_PID")
	for _, v := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		_ = os.Unsetenv(v) // it fails for no such name
	}
	if name == "" {
		return nil, nil
	}
	if name[0] != '/' && name[0] != '@' {
		return nil, fmt.Errorf("NOTIFY_SOCKET: %q is neither a path nor an abstract socket", name)
	}
	n := &Notifier{socket: name}
	if pid == "" || pid == strconv.Itoa(os.Getpid()) {
		if v, err := strconv.ParseInt(usec, 10, 64); err == nil && v > 0 && v <= maxWatchdog.Microseconds() {
			n.watchdog = time.Duration(v) * time.Microsecond
		}
	}
	return n, nil
}

// maxWatchdog is longer than anybody waits; WATCHDOG_USEC is the largest
// integer where the watchdog is off.
const maxWatchdog = 365 * 24 * time.Hour

// WatchdogInterval is how long the service may be silent; 0 is for ever. The
// Watchdog message should be sent at half of it.
func (n *Notifier) WatchdogInterval() time.Duration {
	if n == nil {
		return 0
	}
	return n.watchdog
}

// sendTimeout keeps a service manager that does not read from stopping the
// service's own work.
const sendTimeout = time.Second

// Send sends messages together, over a connection of its own: the service
// manager may have been replaced since the last one.
func (n *Notifier) Send(messages ...string) error {
	if n == nil {
		return nil
	}
	if err := n.send(strings.Join(messages, "\n")); err != nil {
		return fmt.Errorf("notifying the service manager: %w", err)
	}
	return nil
}

func (n *Notifier) send(text string) error {
	// A name that begins with @ is an abstract one for package net as well.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // a datagram is sent or it is not
	if err := conn.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	_, err = conn.Write([]byte(text))
	return err
}
