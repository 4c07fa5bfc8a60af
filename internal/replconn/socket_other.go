//go:build !linux

package replconn

import "net"

type waiting func(fd, times, last int) (again bool)

func takeSocket(net.Conn, waiting) (net.Conn, bool) { return nil, false }

func waitForMore(_, _, _ int) bool   { return false }
func waitWhileMany(_, _, _ int) bool { return false }
func waitForAny(_, _, _ int) bool    { return false }
