package dropin

import "testing"

// refusedStrings are connection strings that libpq refuses, or takes.
var refusedStrings = []string{
	"foo", "foo=bar", "=x", "host='a", "host=a\\", "port=abc", "port=0", "port=99999", "port=99999999999", "host=a,b port=1,2,3", "hostaddr=1,2",
	"sslmode=foo", "sslnegotiation=direct", "sslrootcert=system sslmode=require", "sslcertmode=x", "ssl_min_protocol_version=x", "ssl_max_protocol_version=TLSv1 ssl_min_protocol_version=TLSv1.3",
	"channel_binding=x", "gssencmode=x", "target_session_attrs=x", "load_balance_hosts=x", "min_protocol_version=x", "service=none", "replication=x", "options=-c", "passfile=/nonexistent", "requirepeer=x",
	"postgresql://h:x/", "postgresql://h?foo=bar",
}

func TestThatConnectionStringsAreJudgedInTheWordsOfLibPQ(t *testing.T) {
	t.Parallel()
	b := newBed(t, "pg_basebackup")
	for _, text := range refusedStrings {
		b.same(t, "-D", "d", "-d", text)
	}
	for _, line := range []string{"-p abc", "-p 0", "-p 99999", "-h ", "-p  -h /x", "-U ", "-h /x,/y -p 1,2,3", "-d  -h /x"} {
		b.same(t, append([]string{"-D", "d"}, words(line)...)...)
	}
}
