package basebackup_test

import (
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// TestTLSFailsClosed has a server show a certificate that must not be taken,
// and none at all.
func TestTLSFailsClosed(t *testing.T) {
	t.Parallel()
	const password = "secret of the cluster"
	primary := pgtest.Newest(t).Init(t, pgtest.TLS(), pgtest.Password(password), pgtest.HBA(
		"hostssl replication easy 127.0.0.1/32 trust", "hostssl replication clear 127.0.0.1/32 password",
		"host replication all 127.0.0.1/32 scram-sha-256"))
	primary.Start(t)
	primary.SQL(t, "CREATE ROLE easy LOGIN REPLICATION; CREATE ROLE clear LOGIN REPLICATION PASSWORD '"+password+"'")
	address := net.JoinHostPort("localhost", strconv.Itoa(primary.Port))
	try := func(what, want string, extra ...string) {
		t.Helper()
		c := newClone(t, primary.ProxyConnString(address, extra...))
		err := c.run()
		if want == "" {
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
			return
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
		if err != nil && strings.Contains(err.Error(), password) {
			t.Errorf("%s: the error has the password", what)
		}
		c.mustHaveLeftNothing(primary)
	}
	try("the right name", "")
	try("with channel binding", "", "channel_binding=require")
	try("another name", "certificate is valid for localhost", "host=db1.example hostaddr=127.0.0.1")
	try("no TLS, but channel binding", "channel binding", "sslmode=disable channel_binding=require")
	try("no password asked for, but channel binding", "channel binding", "user=easy channel_binding=require")
	try("a password in clear, but channel binding", "channel binding", "user=clear channel_binding=require")

	primary.Configure(t, "ssl_cert_file = '"+primary.TLS.ExpiredCert+"'", "ssl_key_file = '"+primary.TLS.ExpiredKey+"'")
	primary.Reload(t)
	try("expired", "expired")
}
