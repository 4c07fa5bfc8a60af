package conninfo

import (
	"path/filepath"
	"testing"
)

func TestPrimaryConnInfoIsWhatWasGivenInLibpqsOrder(t *testing.T) {
	home := isolate(t)
	writeFile(t, filepath.Join(home, "svc"), "[s]\nkeepalives_idle=9\npassword=fromservice\n", 0o600)
	t.Setenv("PGSERVICEFILE", filepath.Join(home, "svc"))
	for _, c := range []struct {
		name, text, want string
		opts             []Option
		env              map[string]string
	}{
		{"the sample", `user=postgres password='p\'q' connect_timeout=5 host=/sock port=6601 application_name='it\'s' dbname=db1`,
			`user=postgres password='p\'q' connect_timeout=5 host='/sock' port=6601 application_name='it\'s' sslmode=prefer dbname=db1`,
			[]Option{WithDBName()}, nil},
		{"list of hosts", "host=a,b port=1,2 user=u", "user=u host='a,b' port='1,2' sslmode=prefer", []Option{WithDBName()}, nil},
		{"one port for all", "postgres://u@h1,h2/x", "user=u host='h1,h2' port=5432 sslmode=prefer", nil, map[string]string{"PGPORT": "1,2,3"}},
		{"hostaddr alone", "hostaddr=::1 user=u", "user=u hostaddr='::1' port=5432 sslmode=prefer", nil, nil},
		{"own keywords left out", "host=h user=u replication=1 fallback_application_name=f dbname=d",
			"user=u host=h port=5432 sslmode=prefer", nil, nil},
		{"service written out", "service=s host=h user=u", "user=u password=fromservice host=h port=5432 keepalives_idle=9 sslmode=prefer", nil, nil},
		{"environment", "", `user=u password='a b\\' passfile='/p f' host=h port=7 sslmode=require`, nil, map[string]string{
			"PGUSER": "u", "PGPASSWORD": `a b\`, "PGPASSFILE": "/p f", "PGHOST": "h", "PGPORT": "7", "PGSSLMODE": "require"}},
		{"without password", "host=h user=u password=x sslpassword=y", "user=u host=h port=5432 sslmode=prefer",
			[]Option{WithoutPassword()}, nil},
		{"system certificates", "host=h user=u sslrootcert=system", "user=u host=h port=5432 sslmode='verify-full' sslrootcert=system", nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			for k, v := range c.env {
				t.Setenv(k, v)
			}
			if got := mustParse(t, c.text).PrimaryConnInfo(c.opts...); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestRedactedMasksEverySecret(t *testing.T) {
	isolate(t)
	got := mustParse(t, `host=h user=u password='a b' sslpassword=c dbname=d`).Redacted()
	if want := "user=u password=xxxxx host=h port=5432 sslmode=prefer sslpassword=xxxxx dbname=d"; got != want {
		t.Errorf("got %s", got)
	}
}

func TestConfigValueIsOneQuotedWord(t *testing.T) {
	t.Parallel()
	if got := QuoteConfigValue("a='p\\'q\n'"); got != `'a=''p\\''q\n'''` {
		t.Errorf("got %s", got)
	}
}
