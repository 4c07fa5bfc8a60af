package replconn

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

func TestParseVersion(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		"19devel":                        190000,
		"18beta1":                        180000,
		"18rc1":                          180000,
		"18.1":                           180001,
		"15.18 (Debian 15.18-0+deb12u1)": 150018,
		"10.0":                           100000,
		"10.23":                          100023,
		"17":                             170000,
		"17.":                            170000,
		"":                               0,
		"devel":                          0,
		".5":                             5,
	} {
		if got := parseVersion(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
	if got := parseVersion("9.6.24"); got >= 100000 || got <= 0 {
		t.Errorf("9.6.24: %d, want less than 100000", got)
	}
}

// greeter is a dial function whose server accepts anybody and reports the
// settings; then it sends more. It does not answer commands.
func greeter(t *testing.T, settings map[string]string, more ...pgproto3.BackendMessage) pgconn.DialFunc {
	t.Helper()
	messages := []pgproto3.BackendMessage{&pgproto3.AuthenticationOk{}}
	for name, value := range settings {
		messages = append(messages, &pgproto3.ParameterStatus{Name: name, Value: value})
	}
	messages = append(messages, &pgproto3.BackendKeyData{ProcessID: 4711, SecretKey: []byte{1, 2, 3, 4}}, &pgproto3.ReadyForQuery{TxStatus: 'I'})
	greeting := encode(t, append(messages, more...)...)
	return func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		t.Cleanup(func() { _ = server.Close() })
		go func() {
			if _, err := pgproto3.NewBackend(server, server).ReceiveStartupMessage(); err != nil {
				return // the test sees that there is no greeting
			}
			_, _ = server.Write(greeting)
			_, _ = io.Copy(io.Discard, server)
		}()
		return client, nil
	}
}

func greeted(t *testing.T, dial pgconn.DialFunc) (*Conn, *pgconn.Config, error) {
	t.Helper()
	config, err := pgconn.ParseConfig("host=127.0.0.1 port=5999 user=u dbname=d sslmode=disable replication=true")
	if err != nil {
		t.Fatal(err)
	}
	config.DialFunc = dial
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := Connect(ctx, config)
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
	}
	return c, config, err
}

func TestConnectKeepsWhatTheServerReports(t *testing.T) {
	t.Parallel()
	c, _, err := greeted(t, greeter(t, map[string]string{"integer_datetimes": "on", "server_version": "16.4", "in_hot_standby": "off"}))
	if err != nil {
		t.Fatal(err)
	}
	if c.ServerVersion() != 160004 || c.Parameter("in_hot_standby") != "off" || c.PID() != 4711 {
		t.Errorf("version %d, in_hot_standby %q, process %d", c.ServerVersion(), c.Parameter("in_hot_standby"), c.PID())
	}
}

// TestConfigurationIsNotTouched connects twice at a time with one: the race
// detector sees a write to it.
func TestConfigurationIsNotTouched(t *testing.T) {
	t.Parallel()
	config, err := pgconn.ParseConfig("host=127.0.0.1 port=5999 user=u dbname=d sslmode=disable replication=true")
	if err != nil {
		t.Fatal(err)
	}
	config.DialFunc = greeter(t, map[string]string{"integer_datetimes": "on"})
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			c, err := Connect(t.Context(), config)
			if err != nil {
				t.Error(err)
				return
			}
			_ = c.Close()
		})
	}
	both.Wait()
}

func TestConnectRefusesFloatTimestampsAndUnaskedData(t *testing.T) {
	t.Parallel()
	if _, _, err := greeted(t, greeter(t, map[string]string{"integer_datetimes": "off"})); err == nil || !strings.Contains(err.Error(), "integer_datetimes") {
		t.Errorf("integer_datetimes off: %v", err)
	}
	if _, _, err := greeted(t, greeter(t, map[string]string{"integer_datetimes": "on"}, &pgproto3.CopyDone{})); !errors.Is(err, ErrMalformed) {
		t.Errorf("data before the first command: %v", err)
	}
}

func TestPinRefusesOtherAddresses(t *testing.T) {
	t.Parallel()
	dial := greeter(t, map[string]string{"integer_datetimes": "on"})
	var dialled []string
	c, config, err := greeted(t, func(ctx context.Context, network, addr string) (net.Conn, error) {
		dialled = append(dialled, addr)
		return dial(ctx, network, addr)
	})
	if err != nil {
		t.Fatal(err)
	}
	pinned := c.Pin(config)
	for _, other := range []string{"127.0.0.1:6000", "127.0.0.2:5999", "127.0.0.1:59990", ""} {
		if _, err := pinned.DialFunc(t.Context(), "tcp", other); err == nil || !strings.Contains(err.Error(), "passed over") {
			t.Errorf("%q: %v", other, err)
		}
	}
	if len(dialled) != 1 {
		t.Errorf("dialled %q, want the first connection alone", dialled)
	}
	same, err := pinned.DialFunc(t.Context(), "tcp", "127.0.0.1:5999")
	if err != nil || len(dialled) != 2 {
		t.Errorf("the same server: %v, dialled %q", err, dialled)
	}
	_ = same.Close()
	// The configuration that was given is not changed.
	free, err := config.DialFunc(t.Context(), "tcp", "127.0.0.1:6000")
	if err != nil {
		t.Fatal(err)
	}
	_ = free.Close()
}

// TestEndOfContextEndsConnectingWithItsCause is a signal while a server does not
// answer.
func TestEndOfContextEndsConnectingWithItsCause(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	host, port, _ := net.SplitHostPort(l.Addr().String())
	config, err := pgconn.ParseConfig("host=" + host + " port=" + port + " user=u dbname=replication sslmode=disable replication=true")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("somebody ended it")
	time.AfterFunc(20*time.Millisecond, func() { cancel(cause) })
	if _, err := Connect(ctx, config); !errors.Is(err, cause) || strings.Contains(err.Error(), "canceled") {
		t.Errorf("%v", err)
	}
}
