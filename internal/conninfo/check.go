package conninfo

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// ErrUnsupported marks a parameter that libpq knows and this program does not
// honour. Where leaving it out would weaken a connection it is refused.
var ErrUnsupported = errors.New("not supported")

// allowed has the values of the parameters that take one of a few.
var allowed = map[string][]string{
	"channel_binding":      {"disable", "prefer", "require"},
	"gssencmode":           {"disable", "prefer", "require"},
	"load_balance_hosts":   {"disable", "random"},
	"max_protocol_version": {"3.0", "3.2", "latest"},
	"min_protocol_version": {"3.0", "3.2", "latest"},
	"sslcertmode":          {"disable", "allow", "require"},
	"sslmode":              {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"},
	"sslnegotiation":       {"postgres", "direct"},
	"sslsni":               {"0", "1"},
	"target_session_attrs": {"any", "read-write", "read-only", "primary", "standby", "prefer-standby"},
}

var integers = []string{
	"connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout",
}

// refused are parameters whose meaning would be lost if they were left out.
var refused = []string{
	"sslcrl", "sslcrldir", "sslkeylogfile", "scram_client_key", "scram_server_key",
	"oauth_issuer", "oauth_client_id", "oauth_client_secret", "oauth_scope",
}

var tlsVersions = map[string]uint16{
	"tlsv1": tls.VersionTLS10, "tlsv1.1": tls.VersionTLS11, "tlsv1.2": tls.VersionTLS12, "tlsv1.3": tls.VersionTLS13,
}

// tlsVersion reads a TLS version; libpq takes its letters in either case.
func tlsVersion(text string) uint16 { return tlsVersions[strings.ToLower(text)] }

// check validates all that can be told without looking at files.
func (i *Info) check() error {
	p := i.params
	for _, k := range keywords {
		value := p[k.name]
		if value == "" {
			continue
		}
		if list, ok := allowed[k.name]; ok && !slices.Contains(list, value) {
			return inLibPQ(fmt.Errorf("%s: want one of %s", k.name, strings.Join(list, ", ")), "invalid %s value: \"%s\"", k.name, value)
		}
		if slices.Contains(integers, k.name) {
			if _, err := strconv.ParseInt(strings.TrimSpace(value), 10, 32); err != nil {
				return inLibPQ(fmt.Errorf("%s: want an integer", k.name), "invalid integer value \"%s\" for connection option \"%s\"", value, k.name)
			}
		}
		if slices.Contains(refused, k.name) {
			return fmt.Errorf("%s: %w", k.name, ErrUnsupported)
		}
	}
	if p["gssencmode"] == "require" {
		return fmt.Errorf("gssencmode=require: %w", ErrUnsupported)
	}
	if p["sslmode"] != "verify-full" && p["sslrootcert"] == "system" {
		return inLibPQ(errors.New("sslmode: sslrootcert=system goes with verify-full only"),
			"weak sslmode \"%s\" may not be used with sslrootcert=system (use \"verify-full\")", p["sslmode"])
	}
	if m := p["sslmode"]; p["sslnegotiation"] == "direct" && (m == "" || slices.Index(allowed["sslmode"], m) < 3) {
		if m == "" {
			m = "prefer" // its default
		}
		return inLibPQ(errors.New("sslmode: sslnegotiation=direct wants require, verify-ca or verify-full"),
			"weak sslmode \"%s\" may not be used with sslnegotiation=direct (use \"require\", \"verify-ca\", or \"verify-full\")", m)
	}
	for _, key := range []string{"ssl_min_protocol_version", "ssl_max_protocol_version"} {
		if p[key] != "" && tlsVersion(p[key]) == 0 {
			return inLibPQ(fmt.Errorf("%s: want TLSv1, TLSv1.1, TLSv1.2 or TLSv1.3", key), "invalid \"%s\" value: \"%s\"", key, p[key])
		}
	}
	low, high := tlsVersion(p["ssl_min_protocol_version"]), tlsVersion(p["ssl_max_protocol_version"])
	if low == 0 {
		low = tls.VersionTLS12
	}
	if high != 0 && high < low {
		return inLibPQ(errors.New("ssl_max_protocol_version: below ssl_min_protocol_version"), "invalid SSL protocol version range")
	}
	_, err := i.endpoints()
	return err
}

func (e endpoint) check() error {
	if n, err := strconv.ParseUint(e.port, 10, 16); err != nil || n == 0 {
		words := "invalid port number: \"%s\""
		if _, err := strconv.ParseInt(e.port, 10, 32); err != nil {
			words = "invalid integer value \"%s\" for connection option \"port\""
		}
		return inLibPQ(errors.New("port: want a number from 1 to 65535"), words, e.port)
	}
	if strings.HasPrefix(e.host, "@") {
		return fmt.Errorf("host: abstract Unix sockets are %w", ErrUnsupported)
	}
	if e.addr != "" {
		if _, err := netip.ParseAddr(e.addr); err != nil {
			return errors.New("hostaddr: want a numeric address")
		}
	}
	return nil
}

// integer is the value of a parameter that check has seen. ok is false where
// it was not given.
func (i *Info) integer(key string) (n int, ok bool) {
	n, err := strconv.Atoi(strings.TrimSpace(i.params[key]))
	return n, err == nil
}
