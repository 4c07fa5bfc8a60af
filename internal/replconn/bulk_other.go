//go:build !linux

package replconn

import (
	"io"
	"net"
)

func newBulkReader(net.Conn) (io.Reader, bool) { return nil, false }
