package basebackup_test

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// A server of an older release does not connect to its primary at all if
// primary_conninfo has a keyword that only libpq of a later one knows.
func TestStandbyOfAnOlderReleaseStreams(t *testing.T) {
	t.Parallel()
	s := pgtest.Servers(t)[0]
	if s.Major >= 16 {
		t.Skip("the oldest server knows all keywords of release 16")
	}
	source := s.Init(t)
	source.Start(t)
	c := newClone(t, source.ConnString("application_name=follower", "channel_binding=prefer", "require_auth=none,scram-sha-256",
		"sslcertmode=allow", "load_balance_hosts=random", "gssdelegation=0", "sslnegotiation=postgres",
		"min_protocol_version=3.0", "max_protocol_version=3.0", "target_session_attrs=read-write"))
	var log pgtest.Output
	c.options.Logger = slog.New(slog.NewTextHandler(&log, nil))
	c.start()
	c.must()
	c.mustFollow(source)
	mustContain(t, "log", log.String(), "left require_auth out of primary_conninfo: PostgreSQL", "guarded less",
		"left load_balance_hosts out", "left sslnegotiation out", "left max_protocol_version out")
	settings := readFile(c.settings(s))
	mustContain(t, "the standby's settings", settings, "application_name=follower", "channel_binding=prefer")
	for _, keyword := range []string{"require_auth", "sslcertmode", "load_balance_hosts", "gssdelegation", "sslnegotiation", "min_protocol_version", "max_protocol_version"} {
		if strings.Contains(settings, keyword) {
			t.Errorf("the standby's settings have %s: %s", keyword, settings)
		}
	}
}
