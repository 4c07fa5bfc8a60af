package conninfo

import (
	"slices"
	"strings"
)

// Option changes what PrimaryConnInfo writes.
type Option func(*textOptions)

type textOptions struct{ secrets, dbname, masked bool }

// WithoutPassword leaves out every secret, for a standby that is to use a
// passfile or a certificate.
func WithoutPassword() Option { return func(o *textOptions) { o.secrets = false } }

// WithDBName adds the dbname at the end, if the user gave one. pg_basebackup
// does so from release 17 on, for the slot synchronization of the standby.
func WithDBName() Option { return func(o *textOptions) { o.dbname = true } }

// PrimaryConnInfo is the value of primary_conninfo that pg_basebackup -R would
// write: libpq keyword/value text in libpq's order (src/fe_utils/recovery_gen.c), not yet
// quoted for a configuration file. A list of hosts stays a list.
//
// It has what flags, string, service file and environment gave, and user,
// host, port and sslmode in any case. Unlike libpq's text it has no other
// compiled-in default: the server that will read it has its own, perhaps of
// another release. What that does not know at all, ForRelease leaves out. The
// service is left out because its values are written out
// and the standby's operating-system user may not have the file. A password
// is in it if it came from the string, PGPASSWORD, the service file or the
// prompt; one from the passfile is not, but the passfile's name is, where it
// was given.
func (i *Info) PrimaryConnInfo(opts ...Option) string {
	o := textOptions{secrets: true}
	for _, set := range opts {
		set(&o)
	}
	return i.text(o)
}

// Redacted is the same text with its secrets masked, and with the dbname, for
// logs.
func (i *Info) Redacted() string {
	return i.text(textOptions{secrets: true, dbname: true, masked: true})
}

// neverWritten are the keywords that mean the connection at hand, not the
// server that it goes to.
var neverWritten = []string{"service", "servicefile", "dbname", "fallback_application_name", "replication"}

func (i *Info) text(o textOptions) string {
	hosts, ports := i.resolvedLists()
	var b strings.Builder
	write := func(key, value string) {
		if value != "" {
			writePair(&b, key, value)
		}
	}
	for _, k := range keywords {
		value := i.params[k.name]
		switch {
		case slices.Contains(neverWritten, k.name) || k.secret && !o.secrets:
			continue
		case k.secret && o.masked && value != "":
			value = "xxxxx"
		case k.name == "host":
			value = hosts
		case k.name == "port":
			value = ports
		case k.name == "sslmode" && value == "":
			value = "prefer"
		}
		write(k.name, value)
	}
	if o.dbname && i.dbname {
		write("dbname", i.params["dbname"])
	}
	return b.String()
}

// resolvedLists are host and port with their empty places filled in: the
// standby's libpq may have other defaults.
func (i *Info) resolvedLists() (hosts, ports string) {
	list, err := i.endpoints()
	if err != nil { // not after check
		return i.params["host"], i.params["port"]
	}
	var h, p []string
	for _, e := range list {
		h = append(h, e.host)
		p = append(p, e.port)
	}
	if slices.Max(p) == slices.Min(p) {
		p = p[:1]
	}
	hosts = strings.Join(h, ",")
	if strings.Trim(hosts, ",") == "" { // hostaddr alone
		hosts = ""
	}
	return hosts, strings.Join(p, ",")
}

// QuoteValue writes a value as libpq's tools do: bare if it is plain, else in
// quotes with a backslash before quote and backslash.
func QuoteValue(s string) string {
	plain := s != ""
	for n := range len(s) {
		c := s[n]
		plain = plain && ('a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '_' || c == '.')
	}
	if plain {
		return s
	}
	return quoteAlways(s)
}

// QuoteConfigValue puts a value in quotes for postgresql.auto.conf or
// recovery.conf: quote and backslash are doubled. A newline, which no quoted
// value of a configuration file may contain, becomes \n, which the server
// reads as one.
func QuoteConfigValue(s string) string {
	return "'" + configEscapes.Replace(s) + "'"
}

var configEscapes = strings.NewReplacer(`'`, `''`, `\`, `\\`, "\n", `\n`)
