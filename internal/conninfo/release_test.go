package conninfo

import (
	"fmt"
	"testing"
)

func TestForReleaseKeepsWhatThatKnows(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text    string
		release int
		want    string
		left    string
	}{
		{"user=u host='a,b' port='1,2' target_session_attrs=primary load_balance_hosts=random", 15,
			"user=u host='a,b' port='1,2' target_session_attrs=primary", "[load_balance_hosts]"},
		{"user=u host='a,b' target_session_attrs=primary", 13, "user=u host='a,b'", "[target_session_attrs=primary]"},
		{"user=u target_session_attrs='prefer-standby'", 10, "user=u", "[target_session_attrs='prefer-standby']"},
		{"user=u target_session_attrs='read-write'", 10, "user=u target_session_attrs='read-write'", "[]"},
		{"user=u password='it\\'s' sslpassword=x sslsni=0", 12, "user=u password='it\\'s'", "[sslpassword sslsni]"},
		{"user=u host=h channel_binding=require ssl_min_protocol_version='TLSv1.3' gssencmode=disable tcp_user_timeout=9 dbname=d", 11,
			"user=u host=h dbname=d", "[channel_binding tcp_user_timeout ssl_min_protocol_version gssencmode]"},
		{"user=u sslmode='verify-full' sslrootcert=system", 15, "user=u sslmode='verify-full'", "[sslrootcert=system]"},
		{"user=u sslmode='verify-full' sslrootcert=system", 16, "user=u sslmode='verify-full' sslrootcert=system", "[]"},
		{"user=u require_auth='scram-sha-256,oauth'", 17, "user=u", "[require_auth='scram-sha-256,oauth']"},
		{"user=u require_auth='scram-sha-256' sslnegotiation=postgres max_protocol_version=latest", 16,
			"user=u require_auth='scram-sha-256'", "[sslnegotiation max_protocol_version]"},
		// What needs no change, or cannot be read, stays to the letter.
		{"  host = h   user=u ", 10, "  host = h   user=u ", "[]"},
		{"postgresql://u@h/d", 10, "postgresql://u@h/d", "[]"},
		{"postgresql://u@h:1/d?require_auth=md5", 15, "user=u host=h port=1 dbname=d", "[require_auth]"},
		{"nonsense", 10, "nonsense", "[]"},
	} {
		got, left := ForRelease(c.text, c.release)
		if got != c.want || fmt.Sprint(left) != c.left {
			t.Errorf("%s for %d:\ngot  %s without %v\nwant %s without %s", c.text, c.release, got, left, c.want, c.left)
		}
	}
}
