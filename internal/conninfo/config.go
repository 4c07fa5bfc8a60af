package conninfo

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// replicationDBName stands in for a database name in physical replication: the
// server does not use it, but passfiles and poolers go by it (src/bin/pg_basebackup/streamutil.c).
const replicationDBName = "replication"

func (i *Info) database() string {
	if i.dbname {
		return i.params["dbname"]
	}
	return replicationDBName
}

// Config makes a new pgconn.Config for a walsender connection: physical
// replication, database "replication" unless one was given, and as
// application_name the one given, else fallback_application_name, else the
// program's name. It reads the certificate files and the passfile anew each
// time; call it again after SetPassword. Each call shuffles the hosts anew with
// load_balance_hosts=random. The errors contain no password.
func (i *Info) Config() (*pgconn.Config, error) {
	list, err := i.endpoints()
	if err != nil {
		return nil, err
	}
	random := i.params["load_balance_hosts"] == "random"
	if random {
		rand.Shuffle(len(list), func(a, b int) { list[a], list[b] = list[b], list[a] })
	}
	var config *pgconn.Config
	var switches []passwordSwitch
	for _, e := range list {
		c, err := i.parseOne(e)
		if err != nil {
			return nil, err
		}
		password := i.passwordFor(e)
		switches = append(switches, passwordSwitch{host: c.Host, port: e.port, password: password})
		if config == nil {
			config = c
			config.Password = password
			continue
		}
		config.Fallbacks = append(config.Fallbacks, &pgconn.FallbackConfig{Host: c.Host, Port: c.Port, TLSConfig: c.TLSConfig})
		config.Fallbacks = append(config.Fallbacks, c.Fallbacks...)
	}
	config.RuntimeParams = i.settings()
	config.DialFunc = i.dialFunc(config.ConnectTimeout)
	config.ValidateConnect = sessionCheck(i.params["target_session_attrs"])
	if random {
		lookup := config.LookupFunc
		config.LookupFunc = func(ctx context.Context, host string) ([]string, error) {
			addrs, err := lookup(ctx, host)
			rand.Shuffle(len(addrs), func(a, b int) { addrs[a], addrs[b] = addrs[b], addrs[a] })
			return addrs, err
		}
	}
	watchPasswords(config, switches)
	return config, nil
}

// parseOne has pgconn read the parameters for one server. They are handed over
// one by one, quoted, without any password, so that neither its errors nor its
// own reading of the environment can differ from what was parsed here.
func (i *Info) parseOne(e endpoint) (*pgconn.Config, error) {
	if err := i.checkTrust(e); err != nil {
		return nil, err
	}
	values := map[string]string{
		"host":                 e.name(),
		"port":                 e.port,
		"user":                 i.params["user"],
		"database":             i.database(),
		"password":             "",
		"passfile":             "", // read by passfilePassword
		"sslcertmode":          "allow",
		"target_session_attrs": "any", // see sessionCheck
		"connect_timeout":      "0",
	}
	for _, key := range passedOn {
		if v := i.params[key]; v != "" {
			values[key] = v
		}
	}
	// Where nothing is verified, a root certificate that is not there is not
	// missed (initialize_SSL in src/interfaces/libpq/fe-secure-openssl.c).
	if m := values["sslmode"]; (m == "" || slices.Contains([]string{"disable", "allow", "prefer"}, m)) && values["sslrootcert"] != "system" && !exists(values["sslrootcert"]) {
		delete(values, "sslrootcert")
	}
	key, err := i.clientKey(e, values)
	if err != nil {
		return nil, err
	}
	if n := i.connectTimeout(); n > 0 {
		values["connect_timeout"] = strconv.Itoa(n)
	}
	if i.serviceFile != "" {
		// pgconn would read PGSERVICE by itself, from another file perhaps.
		values["service"], values["servicefile"] = i.params["service"], i.serviceFile
	}
	var text strings.Builder
	for key, v := range values {
		text.WriteString(key + "=" + quoteAlways(v) + " ")
	}
	c, err := pgconn.ParseConfig(text.String())
	if err != nil {
		var parse *pgconn.ParseConfigError
		if errors.As(err, &parse) {
			// Of its text only what follows the connection string, for the
			// string is not what the user wrote.
			message := err.Error()
			if n := strings.LastIndex(message, "`: "); n >= 0 {
				message = message[n+3:]
			}
			e := &parameterError{text: message}
			errors.As(err, &e.file)
			return nil, e
		}
		return nil, err
	}
	if e.addr != "" {
		// Only the address that is dialled changes: the TLS configuration has
		// been made for the host's name.
		c.Host = e.addr
		for _, f := range c.Fallbacks {
			f.Host = e.addr
		}
	}
	key.apply(c)
	i.limitTLS(c.TLSConfig)
	for _, f := range c.Fallbacks {
		i.limitTLS(f.TLSConfig)
	}
	return c, nil
}

// defaultConnectTimeout is in seconds. libpq has none: it waits for ever for a
// server whose machine or processes stand still, and never tries the next one
// of the list.
const defaultConnectTimeout = 30

// connectTimeout is how many seconds each address of each host has to let this
// side in; 0 is for ever, which is what libpq takes 0 and less for.
func (i *Info) connectTimeout() int {
	n, given := i.integer("connect_timeout")
	if !given {
		return defaultConnectTimeout
	}
	return max(n, 0)
}

// limitTLS sets the range of TLS versions. Go's lowest is TLS 1.2, as libpq's.
func (i *Info) limitTLS(c *tls.Config) {
	if c == nil {
		return
	}
	if v := tlsVersion(i.params["ssl_min_protocol_version"]); v != 0 {
		c.MinVersion = v
	}
	if v := tlsVersion(i.params["ssl_max_protocol_version"]); v != 0 {
		c.MaxVersion = v
	}
}

// checkTrust refuses what would verify a server's certificate less strictly
// than libpq does: verify-* without a root certificate would go by the
// system's, and a revocation list would not be looked at.
func (i *Info) checkTrust(e endpoint) error {
	root := i.params["sslrootcert"]
	defaultRoot := homeFile(".postgresql", "root.crt")
	haveRoot := root != "" || exists(defaultRoot)
	mode := i.params["sslmode"]
	verify := strings.HasPrefix(mode, "verify-") || mode == "require" && haveRoot
	if e.unix() || !verify {
		return nil
	}
	if !haveRoot {
		return fmt.Errorf("sslmode=%s: no root certificate: give sslrootcert (\"system\" takes the system's), or put one in ~/.postgresql/root.crt", mode)
	}
	if mode == "verify-full" && e.host == "" {
		return errors.New("sslmode=verify-full: hostaddr without the host name to verify")
	}
	if crl := homeFile(".postgresql", "root.crl"); root != "system" && exists(crl) {
		return fmt.Errorf("certificate revocation list %q: %w", crl, ErrUnsupported)
	}
	return nil
}

// settings are what the start-up message asks for beside user and database.
func (i *Info) settings() map[string]string {
	m := map[string]string{"replication": "true"}
	for _, s := range environmentSettings {
		if v := os.Getenv(s.env); v != "" && !strings.EqualFold(v, "default") {
			m[s.setting] = v
		}
	}
	for _, key := range []string{"application_name", "fallback_application_name"} {
		if v := i.params[key]; v != "" && m["application_name"] == "" {
			m["application_name"] = v
		}
	}
	if m["application_name"] == "" && i.progname != "" {
		m["application_name"] = i.progname
	}
	if v := i.params["options"]; v != "" {
		m["options"] = v
	}
	// "auto" means the locale's encoding; messages then come as the server has
	// them, which is UTF-8 nearly everywhere.
	if v := i.params["client_encoding"]; v != "" && v != "auto" {
		m["client_encoding"] = v
	}
	return m
}

// quoteAlways puts a value in quotes for a keyword/value string.
func quoteAlways(s string) string {
	return "'" + quoteEscapes.Replace(s) + "'"
}

var quoteEscapes = strings.NewReplacer(`\`, `\\`, `'`, `\'`)

func sameForAll(list []passwordSwitch) bool {
	return !slices.ContainsFunc(list, func(s passwordSwitch) bool { return s.password != list[0].password })
}

// parameterError is what is wrong with the parameters. Only of a file that
// cannot be read it has the cause.
type parameterError struct {
	text string
	file *fs.PathError
}

func (e *parameterError) Error() string { return "connection parameters: " + e.text }

func (e *parameterError) Unwrap() error {
	if e.file == nil {
		return nil // not a nil *fs.PathError
	}
	return e.file
}
