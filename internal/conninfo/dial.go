package conninfo

import (
	"context"
	"fmt"
	"net"
	"os/user"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// dialFunc dials with the keepalives, tcp_user_timeout and requirepeer that
// were asked for.
func (i *Info) dialFunc(timeout time.Duration) pgconn.DialFunc {
	d := net.Dialer{Timeout: timeout, KeepAliveConfig: i.keepalives()}
	if !d.KeepAliveConfig.Enable {
		d.KeepAlive = -1
	}
	if ms, _ := i.integer("tcp_user_timeout"); ms > 0 {
		d.Control = func(network, _ string, c syscall.RawConn) error {
			if network == "unix" {
				return nil
			}
			return setUserTimeout(c, ms)
		}
	}
	peer := i.params["requirepeer"]
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := d.DialContext(ctx, network, address)
		if err != nil || peer == "" || network != "unix" {
			return conn, err
		}
		if err := checkPeer(conn, peer); err != nil {
			conn.Close()
			return nil, err
		}
		return conn, nil
	}
}

// keepalives turns libpq's parameters into Go's. What was not given stays at
// Go's default (first probe after 15 s), not at the kernel's two hours: a
// backup must notice a dead peer. A given 0 means the kernel's default.
func (i *Info) keepalives() net.KeepAliveConfig {
	if n, ok := i.integer("keepalives"); ok && n == 0 {
		return net.KeepAliveConfig{}
	}
	k := net.KeepAliveConfig{Enable: true}
	value := func(key string) (n int) {
		n, ok := i.integer(key)
		if ok && n <= 0 {
			return -1
		}
		return n
	}
	k.Count = value("keepalives_count")
	k.Idle = seconds(value("keepalives_idle"))
	k.Interval = seconds(value("keepalives_interval"))
	return k
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

// checkPeer makes sure that the server at the other end of a Unix socket runs
// as the wanted operating-system user.
func checkPeer(conn net.Conn, want string) error {
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		return fmt.Errorf("requirepeer: not a Unix socket: %T", conn)
	}
	uid, err := peerUID(unix)
	if err != nil {
		return fmt.Errorf("requirepeer: %w", err)
	}
	u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
	if err != nil {
		return fmt.Errorf("requirepeer: %w", err)
	}
	if u.Username != want {
		return fmt.Errorf("requirepeer: server runs as %q, want %q", u.Username, want)
	}
	return nil
}
