package replconn_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pgbraid/pgbraid/internal/pgtest/walsender"
	"github.com/pgbraid/pgbraid/internal/replconn"
)

// slowConn is a connection whose writes take longer than pgconn waits before
// it begins to read in the background.
type slowConn struct{ net.Conn }

func (c slowConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	time.Sleep(40 * time.Millisecond)
	return n, err
}

func TestSlowStartUpSwallowsNoAnswer(t *testing.T) {
	t.Parallel()
	server := walsender.New(t, walsender.Options{})
	config, err := pgconn.ParseConfig(server.ConnString() + " replication=true")
	if err != nil {
		t.Fatal(err)
	}
	dial := config.DialFunc
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		return slowConn{c}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for range 20 {
		c, err := replconn.Connect(ctx, config)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.Show(ctx, "wal_segment_size"); err != nil || got != "16MB" {
			t.Fatalf("got %q, %v", got, err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}
