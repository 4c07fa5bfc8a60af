//go:build !linux

package conninfo

import (
	"net"
	"syscall"
)

// setUserTimeout does nothing: like libpq, tcp_user_timeout is passed over
// where the system has no such thing.
func setUserTimeout(syscall.RawConn, int) error { return nil }

func peerUID(*net.UnixConn) (uint32, error) { return 0, ErrUnsupported }
