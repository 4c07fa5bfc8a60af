//go:build !linux

package replconn

import (
	"io"
	"net"
)

type waiting func(fd uintptr, times, last int) (again bool)

func newEagerReader(net.Conn, waiting) (io.Reader, bool) { return nil, false }

func waitForMore(uintptr, int, int) bool   { return false }
func waitWhileMany(uintptr, int, int) bool { return false }
func waitForAny(uintptr, int, int) bool    { return false }
