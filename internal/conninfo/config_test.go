package conninfo

import (
	"crypto/tls"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestFlagsBeatStringBeatsServiceBeatsEnvironment(t *testing.T) {
	home := isolate(t)
	writeFile(t, filepath.Join(home, ".pg_service.conf"),
		"# c\n[other]\nhost=no\n[s]\nhost=svc\nport=5001\nuser=svcuser\napplication_name=svcapp\n", 0o600)
	t.Setenv("PGHOST", "env")
	t.Setenv("PGPORT", "5000")
	t.Setenv("PGUSER", "envuser")
	t.Setenv("PGAPPNAME", "envapp")
	t.Setenv("PGSSLMODE", "disable")
	t.Setenv("PGSERVICE", "s")
	t.Setenv("PGCONNECT_TIMEOUT", "7")
	t.Setenv("PGDATABASE", "envdb")
	i, err := Parse(Flags{ConnString: "host=str port=5002 user=''", Host: "flag"}, "prog")
	if err != nil {
		t.Fatal(err)
	}
	c, err := i.Config()
	if err != nil {
		t.Fatal(err)
	}
	if c.Host != "flag" || c.Port != 5002 || c.User != "svcuser" || c.TLSConfig != nil ||
		c.ConnectTimeout != 7*time.Second || c.Database != "envdb" || len(c.Fallbacks) != 0 {
		t.Errorf("host %s port %d user %s timeout %v database %s fallbacks %d", c.Host, c.Port, c.User, c.ConnectTimeout, c.Database, len(c.Fallbacks))
	}
	want := map[string]string{"replication": "true", "application_name": "svcapp"}
	if !maps.Equal(c.RuntimeParams, want) {
		t.Errorf("settings %v, want %v", c.RuntimeParams, want)
	}
}

func TestServiceThatIsMissingOrMalformedIsAnError(t *testing.T) {
	home := isolate(t)
	file := filepath.Join(home, "svc")
	writeFile(t, file, "[a]\nhost=h\n[bad]\npassword SECRET\n[nested]\nservice=a\n[sys]\n", 0o600)
	writeFile(t, filepath.Join(home, "sysconf", "pg_service.conf"), "[fromsys]\nhost=sys\n", 0o600)
	t.Setenv("PGSERVICEFILE", file)
	for _, name := range []string{"none", "bad", "nested"} {
		_, err := Parse(Flags{ConnString: "service=" + name}, "prog")
		if err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("service %s: %v", name, err)
		}
	}
	// PGSERVICE is seen by pgconn too, which would look in the user's file only.
	t.Setenv("PGSERVICE", "fromsys")
	c, err := mustParse(t, "").Config()
	if err != nil || c.Host != "sys" {
		t.Errorf("service of the system's file: %v", err)
	}
}

func TestLibpqOnlyKeywordsNeverReachTheServer(t *testing.T) {
	isolate(t)
	t.Setenv("PGTZ", "UTC")
	t.Setenv("PGGEQO", "default")
	var b strings.Builder
	values := map[string]string{"port": "1", "hostaddr": "127.0.0.1", "sslmode": "require", "sslcert": "", "sslkey": "",
		"sslrootcert": "", "service": "", "servicefile": "", "target_session_attrs": "primary", "client_encoding": "auto",
		"replication": "database", "options": "-c x=1", "connect_timeout": "-1", "require_auth": "scram-sha-256"}
	for _, k := range keywords {
		v, ok := values[k.name]
		switch {
		case slices.Contains(refused, k.name):
			continue
		case !ok && allowed[k.name] != nil:
			v = allowed[k.name][0]
		case !ok && slices.Contains(integers, k.name):
			v = "3"
		case !ok && strings.HasPrefix(k.name, "ssl_m"):
			v = "TLSv1.3"
		case !ok:
			v = "x"
		}
		b.WriteString(k.name + "=" + quoteAlways(v) + " ")
	}
	c, err := mustParse(t, b.String()).Config()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"replication": "true", "application_name": "x", "options": "-c x=1", "timezone": "UTC"}
	if !maps.Equal(c.RuntimeParams, want) {
		t.Errorf("settings %v, want %v", c.RuntimeParams, want)
	}
	if c.TLSConfig.MinVersion != tls.VersionTLS13 || c.TLSConfig.MaxVersion != tls.VersionTLS13 || c.ConnectTimeout != 0 {
		t.Errorf("TLS %x to %x, timeout %v", c.TLSConfig.MinVersion, c.TLSConfig.MaxVersion, c.ConnectTimeout)
	}
}

func TestEveryEnvironmentVariableOfLibpqIsRead(t *testing.T) {
	for _, k := range keywords {
		if k.env == "" {
			continue
		}
		t.Run(k.env, func(t *testing.T) {
			isolate(t)
			v := "17"
			switch {
			case allowed[k.name] != nil:
				v = allowed[k.name][1]
			case strings.HasPrefix(k.name, "ssl_m"):
				v = "TLSv1.3"
			case k.name == "hostaddr":
				v = "::1"
			}
			t.Setenv(k.env, v)
			text := ""
			if v == "direct" {
				text = "sslmode=require"
			}
			i, err := Parse(Flags{ConnString: text}, "prog")
			if slices.Contains(refused, k.name) {
				if err == nil {
					t.Error("not refused")
				}
				return
			}
			if err != nil || i.params[k.name] != v {
				t.Errorf("%s: %v", k.name, err)
			}
		})
	}
}

func TestHostaddrIsDialledAndHostIsVerified(t *testing.T) {
	home := isolate(t)
	writeFile(t, filepath.Join(home, ".pgpass"), "db.example:5432:replication:u:fromname\n127.0.0.9:*:*:*:fromaddr\n", 0o600)
	c, err := mustParse(t, "host=db.example,/sock hostaddr=127.0.0.9,::1 user=u sslmode=verify-full sslrootcert=system").Config()
	if err != nil {
		t.Fatal(err)
	}
	if c.Host != "127.0.0.9" || c.TLSConfig.ServerName != "db.example" || c.TLSConfig.InsecureSkipVerify {
		t.Errorf("host %s, TLS name %q", c.Host, c.TLSConfig.ServerName)
	}
	if len(c.Fallbacks) != 1 || c.Fallbacks[0].Host != "::1" || c.Fallbacks[0].TLSConfig == nil {
		t.Errorf("second server: %+v", c.Fallbacks)
	}
	// With sslmode=prefer each server is dialled twice, with TLS and without.
	plain, err := mustParse(t, "host=db.example hostaddr=127.0.0.9").Config()
	if err != nil || plain.Host != "127.0.0.9" || len(plain.Fallbacks) != 1 || plain.Fallbacks[0].Host != "127.0.0.9" {
		t.Errorf("sslmode=prefer: %s, %+v, %v", plain.Host, plain.Fallbacks, err)
	}
	if c.Password != "fromname" {
		t.Errorf("password %q", c.Password)
	}
}

func TestSeveralHostsKeepTheirOrderAndRandomKeepsThemAll(t *testing.T) {
	isolate(t)
	hosts := func(text string) (list []string) {
		c, err := mustParse(t, text).Config()
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, c.Host)
		for _, f := range c.Fallbacks {
			list = append(list, f.Host)
		}
		return list
	}
	if got := hosts("host=a,b,c port=1,2,3 sslmode=disable"); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("in order: %v", got)
	}
	if got := hosts("host=a,b"); !slices.Equal(got, []string{"a", "a", "b", "b"}) {
		t.Errorf("with sslmode prefer: %v", got)
	}
	first := map[string]bool{}
	for range 100 {
		got := hosts("host=a,b,c load_balance_hosts=random sslmode=disable")
		first[got[0]] = true
		slices.Sort(got)
		if !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Fatalf("shuffled: %v", got)
		}
	}
	if len(first) != 3 {
		t.Errorf("100 shuffles began with %v only", first)
	}
}

func TestVerifyingWithoutRootCertificateIsRefused(t *testing.T) {
	home := isolate(t)
	for _, mode := range []string{"verify-ca", "verify-full"} {
		if _, err := mustParse(t, "host=h sslmode="+mode).Config(); err == nil {
			t.Errorf("%s: no error", mode)
		}
		if _, err := mustParse(t, "host=/tmp sslmode="+mode).Config(); err != nil {
			t.Errorf("%s on a Unix socket: %v", mode, err)
		}
	}
	writeFile(t, filepath.Join(home, ".postgresql", "root.crl"), "x", 0o600)
	if _, err := mustParse(t, "host=h sslmode=verify-full sslrootcert=x").Config(); err == nil || !strings.Contains(err.Error(), "revocation") {
		t.Errorf("revocation list passed over: %v", err)
	}
}

func TestConfigErrorShowsNoSecret(t *testing.T) {
	isolate(t)
	_, err := mustParse(t, `host=h password='SE\'CRET' sslpassword='SE\'CRET' sslmode=require sslrootcert=/none`).Config()
	if err == nil || strings.Contains(err.Error(), "CRET") || strings.Contains(err.Error(), "cannot parse") {
		t.Errorf("got %v", err)
	}
}

func TestKeepalivesFollowLibpqsParameters(t *testing.T) {
	isolate(t)
	k := mustParse(t, "host=h keepalives_idle=30 keepalives_interval=0 keepalives_count=4").keepalives()
	if !k.Enable || k.Idle != 30*time.Second || k.Interval >= 0 || k.Count != 4 {
		t.Errorf("%+v", k)
	}
	if mustParse(t, "host=h keepalives=0").keepalives().Enable {
		t.Error("keepalives=0 leaves them on")
	}
}

func TestMissingRootCertificateIsMissedWhereItVerifies(t *testing.T) {
	isolate(t)
	for mode, want := range map[string]bool{"disable": true, "allow": true, "prefer": true, "require": false, "verify-ca": false, "verify-full": false} {
		_, err := mustParse(t, "host=h sslrootcert=/none sslmode="+mode).Config()
		if (err == nil) != want {
			t.Errorf("%s: %v", mode, err)
		}
	}
}

func TestConnectingHasALimitUnlessNoneIsAskedFor(t *testing.T) {
	isolate(t)
	for text, want := range map[string]time.Duration{
		"": 30 * time.Second, "connect_timeout=7": 7 * time.Second, "connect_timeout=0": 0, "connect_timeout=-1": 0,
	} {
		c, err := mustParse(t, "host=a,b user=u "+text).Config()
		if err != nil || c.ConnectTimeout != want {
			t.Errorf("%q: %s, %v; want %s", text, c.ConnectTimeout, err, want)
		}
	}
	t.Setenv("PGCONNECT_TIMEOUT", "9")
	if c, err := mustParse(t, "host=a user=u").Config(); err != nil || c.ConnectTimeout != 9*time.Second {
		t.Errorf("from the environment: %v, %v", c.ConnectTimeout, err)
	}
}
