package replconn

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socket is a plain socket that is read and written here, past the runtime's
// poller. That is told of every few KiB that arrive, and wakes a thread for
// them, whether somebody waits or not: more than all else that is done with
// the bytes. Here a thread waits for the socket itself.
//
// It implements net.Conn. One goroutine reads and one writes at a time.
type socket struct {
	fd            int
	reads, writes *gate
	wait          waiting
	last          int // bytes that the last read brought

	local, remote net.Addr
	using         sync.RWMutex // held for writing by whoever closes fd
	closed        atomic.Bool
}

// takeSocket takes a connection over. c must not be used any more if it
// succeeds, and is as it was if it does not, such as with TLS.
func takeSocket(c net.Conn, wait waiting) (net.Conn, bool) {
	owner, ok := c.(interface{ File() (*os.File, error) })
	if !ok {
		return nil, false
	}
	f, err := owner.File()
	if err != nil {
		return nil, false
	}
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	_ = f.Close() // a copy
	if err != nil {
		return nil, false
	}
	s := &socket{fd: fd, wait: wait, local: c.LocalAddr(), remote: c.RemoteAddr()}
	s.reads, err = newGate()
	if err == nil {
		s.writes, err = newGate()
	}
	if err != nil {
		_ = s.Close() // c is still there
		return nil, false
	}
	_ = c.Close() // the connection goes on in fd
	return s, true
}

// Read implements net.Conn.
func (s *socket) Read(p []byte) (int, error) {
	s.using.RLock()
	defer s.using.RUnlock()
	for waited := 0; ; {
		if err := s.may(s.reads); err != nil {
			return 0, err
		}
		n, _, err := unix.Recvfrom(s.fd, p, unix.MSG_DONTWAIT)
		switch {
		case err == nil && n == 0 && len(p) > 0:
			return 0, io.EOF
		case err == nil:
			s.last = n
			return n, nil
		case errors.Is(err, unix.EINTR):
		case !errors.Is(err, unix.EAGAIN):
			return 0, os.NewSyscallError("recv", err)
		case s.wait(s.fd, waited, s.last):
			waited++
		default:
			if err := s.reads.await(s.fd, unix.POLLIN); err != nil {
				return 0, err
			}
		}
	}
}

// Write implements net.Conn.
func (s *socket) Write(p []byte) (done int, err error) {
	s.using.RLock()
	defer s.using.RUnlock()
	for done < len(p) {
		if err := s.may(s.writes); err != nil {
			return done, err
		}
		n, err := unix.SendmsgN(s.fd, p[done:], nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		switch {
		case err == nil:
			done += n
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			if err := s.writes.await(s.fd, unix.POLLOUT); err != nil {
				return done, err
			}
		default:
			return done, os.NewSyscallError("send", err)
		}
	}
	return done, nil
}

// may tells why a read or a write may not go on.
func (s *socket) may(g *gate) error {
	switch {
	case s.closed.Load():
		return net.ErrClosed
	case g.shut.Load():
		return os.ErrDeadlineExceeded
	}
	return nil
}

// Close implements net.Conn. A read or write that is under way ends.
func (s *socket) Close() error {
	if s.closed.Swap(true) {
		return net.ErrClosed
	}
	for _, g := range []*gate{s.reads, s.writes} {
		if g != nil {
			g.end()
		}
	}
	s.using.Lock()
	defer s.using.Unlock()
	for _, g := range []*gate{s.reads, s.writes} {
		if g != nil {
			g.close()
		}
	}
	return os.NewSyscallError("close", unix.Close(s.fd))
}

func (s *socket) LocalAddr() net.Addr  { return s.local }
func (s *socket) RemoteAddr() net.Addr { return s.remote }

// SetDeadline implements net.Conn.
func (s *socket) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

// SetReadDeadline implements net.Conn.
func (s *socket) SetReadDeadline(t time.Time) error { return s.reads.set(t) }

// SetWriteDeadline implements net.Conn.
func (s *socket) SetWriteDeadline(t time.Time) error { return s.writes.set(t) }

// gate ends the waiting of one direction at its deadline.
type gate struct {
	shut atomic.Bool

	mu    sync.Mutex
	event int  // an eventfd, which can be read from while the gate is shut; -1: closed
	ended bool // it stays shut
	timer *time.Timer
}

func newGate() (*gate, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	return &gate{event: fd}, os.NewSyscallError("eventfd", err)
}

// set is for one deadline what SetDeadline is; zero is none.
func (g *gate) set(t time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		return net.ErrClosed
	}
	if g.timer != nil {
		g.timer.Stop()
		g.timer = nil
	}
	if !t.IsZero() && !t.After(time.Now()) {
		g.shutNow()
		return nil
	}
	var count [8]byte
	_, _ = unix.Read(g.event, count[:]) // nothing is there if it was open
	g.shut.Store(false)
	if !t.IsZero() {
		var timer *time.Timer
		timer = time.AfterFunc(time.Until(t), func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			if g.timer == timer && g.event >= 0 {
				g.shutNow()
			}
		})
		g.timer = timer
	}
	return nil
}

// shutNow needs the mutex.
func (g *gate) shutNow() {
	g.shut.Store(true)
	one := [8]byte{1} // of either byte order not 0
	_, _ = unix.Write(g.event, one[:])
}

// await returns when the socket is ready or the gate shut.
func (g *gate) await(fd int, events int16) error {
	fds := []unix.PollFd{{Fd: int32(fd), Events: events}, {Fd: int32(g.event), Events: unix.POLLIN}}
	_, err := unix.Poll(fds, -1)
	if errors.Is(err, syscall.EINTR) {
		return nil
	}
	return os.NewSyscallError("poll", err)
}

// end shuts the gate for good.
func (g *gate) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended = true
	if g.timer != nil {
		g.timer.Stop()
	}
	g.shutNow()
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	_ = unix.Close(g.event) // an eventfd holds nothing
	g.event = -1
}

const (
	// naps is how often a read of a bulk stream that finds nothing waits in
	// place, and nap how long at a time, in nanoseconds. A server fills the
	// 200 KiB that a Unix socket holds in some 150 µs, and stops: much longer
	// naps make it wait.
	naps = 10
	nap  = 25_000
	// many is how many bytes a read brings when there is more at once.
	many = 16 << 10
	// linger is how long a read of a prompt stream waits in place for the
	// answer to what was just sent, in nanoseconds.
	linger = 1_000_000
)

// waiting waits in the thread for a socket that has nothing. It gets how often
// it was called for this read, and how many bytes the last read brought, and
// tells whether to look again.
type waiting func(fd, times, last int) (again bool)

// waitForMore sleeps so that the next look finds a lot. It holds the thread
// and, on purpose, what the runtime runs on it: to give that away and get it
// back takes longer than the nap. The kernel would make a nap up to 50 µs
// longer, to join timers, were it not told that this thread wants it exact.
func waitForMore(_, times, _ int) bool {
	if times == naps {
		return false
	}
	t := unix.Timespec{Nsec: nap}
	_, _, _ = unix.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_TIMERSLACK, 1, 0)
	_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0)
	return true
}

// waitWhileMany is waitForMore while a lot comes, and otherwise waits for
// nothing.
func waitWhileMany(fd, times, last int) bool {
	return last >= many && waitForMore(fd, times, last)
}

// waitForAny returns as soon as anything is there, and holds the thread like
// waitForMore.
func waitForAny(fd, times, _ int) bool {
	if times > 0 {
		return false
	}
	p := unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	t := unix.Timespec{Nsec: linger}
	n, _, _ := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&t)), 0, 0, 0)
	return int(n) > 0
}
