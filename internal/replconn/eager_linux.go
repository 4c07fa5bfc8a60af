package replconn

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// naps is how often a read of a bulk stream that finds nothing waits in
	// place, and nap how long at a time, in nanoseconds. The server's messages
	// come in pieces of 8 KiB: to go through the runtime's poller for each of
	// them costs more than all else that is done with it.
	naps = 4
	nap  = 60_000
	// many is how many bytes a read brings when there is more at once.
	many = 16 << 10
	// linger is how long a read of a prompt stream waits in place for the
	// answer to what was just sent, in milliseconds.
	linger = 1
)

// eagerReader reads a socket. A read that finds nothing waits a moment in its
// thread before it leaves that to the runtime's poller.
type eagerReader struct {
	conn syscall.RawConn
	wait waiting
	last int // bytes that the last read brought
}

// waiting waits in the thread for a socket that has nothing. It gets how often
// it was called for this read, and how many bytes the last read brought, and
// tells whether to look again.
type waiting func(fd uintptr, times, last int) (again bool)

// newEagerReader makes one of a plain socket; of others, such as a TLS
// connection, it makes none.
func newEagerReader(c net.Conn, wait waiting) (io.Reader, bool) {
	s, ok := c.(syscall.Conn)
	if !ok {
		return nil, false
	}
	raw, err := s.SyscallConn()
	return &eagerReader{conn: raw, wait: wait}, err == nil
}

// Read implements io.Reader. Deadlines of the connection hold.
func (e *eagerReader) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	waited := 0
	pollErr := e.conn.Read(func(fd uintptr) bool {
		for {
			n, err = unix.Read(int(fd), p)
			switch {
			case errors.Is(err, unix.EINTR):
			case !errors.Is(err, unix.EAGAIN):
				return true
			case !e.wait(fd, waited, e.last):
				return false
			default:
				waited++
			}
		}
	})
	switch {
	case pollErr != nil:
		return 0, pollErr
	case err != nil:
		return 0, os.NewSyscallError("read", err)
	case n == 0:
		return 0, io.EOF
	}
	e.last = n
	return n, nil
}

// waitForMore sleeps so that the next look finds a lot. It holds the thread
// and, on purpose, what the runtime runs on it: to give that away and get it
// back takes longer than the nap.
func waitForMore(_ uintptr, times, _ int) bool {
	if times == naps {
		return false
	}
	t := unix.Timespec{Nsec: nap}
	_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0)
	return true
}

// waitWhileMany is waitForMore while a lot comes, and otherwise waits for
// nothing.
func waitWhileMany(fd uintptr, times, last int) bool {
	return last >= many && waitForMore(fd, times, last)
}

// waitForAny returns as soon as anything is there, and holds the thread like
// waitForMore.
func waitForAny(fd uintptr, times, _ int) bool {
	if times > 0 {
		return false
	}
	p := unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	t := unix.Timespec{Nsec: linger * 1_000_000}
	n, _, _ := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&t)), 0, 0, 0)
	return int(n) > 0
}
