package conninfo

import (
	"maps"
	"strings"
	"testing"
)

func TestConnStringGivesWhatLibpqReads(t *testing.T) {
	t.Parallel()
	type m = map[string]string
	for _, c := range []struct {
		text string
		want m
	}{
		{"", m{}},
		{"  \t", m{}},
		{"host=a port = 5433  user='it\\'s' password=p\\ q", m{"host": "a", "port": "5433", "user": "it's", "password": "p q"}},
		{"host=a host=b", m{"host": "b"}},
		{"options='-c a=b' host=", m{"options": "-c a=b", "host": ""}},
		{`user=a\`, m{"user": "a"}},
		{"requiressl=1", m{"sslmode": "require"}},
		{"postgres://", m{}},
		{"postgresql://u:p%40w@h:1,[::1]:2,/db?sslmode=require&application_name=a%20b", m{
			"user": "u", "password": "p@w", "host": "h,::1,", "port": "1,2,", "dbname": "db",
			"sslmode": "require", "application_name": "a b"}},
		{"postgresql://%2Fvar%2Frun/db", m{"host": "/var/run", "dbname": "db"}},
		{"postgresql:///?host=/tmp&ssl=true", m{"host": "/tmp", "sslmode": "require"}},
		{"postgres://h1,h2", m{"host": "h1,h2", "port": ","}},
	} {
		got, err := parseConnString(c.text)
		if err != nil || !maps.Equal(got, c.want) {
			t.Errorf("%q: got %v, %v; want %v", c.text, got, err, c.want)
		}
	}
}

func TestMalformedConnStringIsRefusedWithoutItsSecrets(t *testing.T) {
	isolate(t)
	for _, text := range []string{
		"host", "=x", "host a=b", "password='SECRET", `password='a\'SECRET host=x`,
		"password=x SECRET=1", "password=x SECRET", "host=a\x00b", "unknown=1",
		"password=SECRET port=x", "password=SECRET sslmode=x", "password=SECRET host=a,b port=1,2,3",
		"postgres://u:SECRET%zz@h", "postgres://u:p/SECRET@h", "postgres://u:SECRET/x@h",
		"postgres://u:x/y?SECRET=a@h", "postgres://u:SECRET x@h", "postgres://u:a:SECRET@h:b",
		"postgres://h/?password=SECRET&x=1", "postgres://h/?pass%77ord=SECRET%", "postgres://h?password",
		"postgres://h?password=a=SECRET", "postgres://[::1", "postgres://[]", "postgres://[::1]x",
		"hostaddr=notanaddress", "host=a hostaddr=1.1.1.1,2.2.2.2", "host=@abstract", "port=0", "port=65536",
		"keepalives_idle=x", "gssencmode=require", "sslcrl=f", "scram_client_key=SECRET", "oauth_issuer=x",
		"sslrootcert=system sslmode=require", "sslnegotiation=direct", "ssl_max_protocol_version=TLSv1.1",
		"ssl_min_protocol_version=SSLv3", "target_session_attrs=x", strings.Repeat(" ", maxConnString+1),
	} {
		_, err := Parse(Flags{ConnString: text}, "prog")
		if err == nil {
			t.Errorf("%.60q: no error", text)
		} else if strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%.60q: error shows the secret: %v", text, err)
		}
	}
}

// FuzzParse holds that no text makes the parsers panic, that what is parsed
// reads back the same when written, and that a password shows neither in an
// error nor in what goes to the logs.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"host=a port=1", `user='a\'b'`, "postgres://u@h:1,h2/db?sslmode=disable", `x=\`, "a='"} {
		f.Add(s, "p'w\\ d")
	}
	isolate(f)
	f.Fuzz(func(t *testing.T, text, rest string) {
		if params, err := parseConnString(text); err == nil {
			var b strings.Builder
			for k, v := range params {
				b.WriteString(k + "=" + quoteAlways(v) + " ")
			}
			if again, err := parseConnString(b.String()); len(text) < 1000 && (err != nil || !maps.Equal(params, again)) {
				t.Fatalf("%q: %v, then %v, %v", text, params, again, err)
			}
		}
		if len(rest) > 100 || strings.ContainsRune(rest, 0) {
			return
		}
		secret := "S3CR3T" + rest
		if strings.Contains(text, "S3CR3T") {
			return
		}
		for _, s := range []string{
			"password=" + quoteAlways(secret) + " " + text,
			text + " password=" + secret,
			"postgres://u:" + secret + "@h/" + text,
		} {
			i, err := Parse(Flags{ConnString: s, User: "u"}, "prog")
			if err != nil {
				if strings.Contains(err.Error(), "S3CR3T") {
					t.Fatalf("%q: %v", s, err)
				}
				continue
			}
			if i.params["password"] != secret {
				continue // not where the text put it
			}
			if out := i.Redacted() + i.PrimaryConnInfo(WithoutPassword()); strings.Contains(out, "S3CR3T") {
				t.Fatalf("%q: %s", s, out)
			}
		}
	})
}
