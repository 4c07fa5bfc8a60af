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
	// naps is how often a read that finds nothing waits in place, and nap how
	// long at a time, in nanoseconds. The server's messages come in pieces of
	// 8 KiB: to go through the runtime's poller for each of them costs more
	// than all else that is done with it.
	naps = 4
	nap  = 60_000
)

// bulkReader reads a socket that brings a lot. A read that finds nothing waits
// a moment in its thread, so that the next one finds more.
type bulkReader struct{ conn syscall.RawConn }

// newBulkReader makes a bulkReader of a plain socket; of others, such as a TLS
// connection, it makes none.
func newBulkReader(c net.Conn) (io.Reader, bool) {
	s, ok := c.(syscall.Conn)
	if !ok {
		return nil, false
	}
	raw, err := s.SyscallConn()
	return &bulkReader{raw}, err == nil
}

// Read implements io.Reader. Deadlines of the connection hold.
func (b *bulkReader) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	napped := 0
	waitErr := b.conn.Read(func(fd uintptr) bool {
		for {
			n, err = unix.Read(int(fd), p)
			switch {
			case errors.Is(err, unix.EINTR):
			case !errors.Is(err, unix.EAGAIN):
				return true
			case napped == naps:
				return false
			default:
				napped++
				takeNap()
			}
		}
	})
	switch {
	case waitErr != nil:
		return 0, waitErr
	case err != nil:
		return 0, os.NewSyscallError("read", err)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// takeNap holds the thread and, on purpose, what the runtime runs on it: to
// give that away and get it back takes longer than the nap.
func takeNap() {
	t := unix.Timespec{Nsec: nap}
	_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0)
}
