package conninfo

// keyword is one connection parameter of libpq.
type keyword struct {
	name   string
	env    string // the environment variable that gives a default
	secret bool   // never shown, and left out by WithoutPassword
	since  int    // the first release whose libpq knows it; 0: 10 or before
}

// keywords has libpq's parameters in the order of its own table
// (PQconninfoOptions, release 18, and servicefile from 19), which is the order
// that pg_basebackup -R writes them in. The releases are those of the manual's
// chapters "Parameter Key Words" from 10 on.
var keywords = []keyword{
	{name: "service"}, // PGSERVICE is read by addService: it must come first
	{name: "servicefile", since: 19},
	{name: "user", env: "PGUSER"},
	{name: "password", env: "PGPASSWORD", secret: true},
	{name: "passfile", env: "PGPASSFILE"},
	{name: "channel_binding", env: "PGCHANNELBINDING", since: 13},
	{name: "connect_timeout", env: "PGCONNECT_TIMEOUT"},
	{name: "dbname", env: "PGDATABASE"},
	{name: "host", env: "PGHOST"},
	{name: "hostaddr", env: "PGHOSTADDR"},
	{name: "port", env: "PGPORT"},
	{name: "client_encoding", env: "PGCLIENTENCODING"},
	{name: "options", env: "PGOPTIONS"},
	{name: "application_name", env: "PGAPPNAME"},
	{name: "fallback_application_name"},
	{name: "keepalives"},
	{name: "keepalives_idle"},
	{name: "keepalives_interval"},
	{name: "keepalives_count"},
	{name: "tcp_user_timeout", since: 12},
	{name: "sslmode", env: "PGSSLMODE"},
	{name: "sslnegotiation", env: "PGSSLNEGOTIATION", since: 17},
	{name: "sslcompression", env: "PGSSLCOMPRESSION"},
	{name: "sslcert", env: "PGSSLCERT"},
	{name: "sslkey", env: "PGSSLKEY"},
	{name: "sslcertmode", env: "PGSSLCERTMODE", since: 16},
	{name: "sslpassword", secret: true, since: 13},
	{name: "sslrootcert", env: "PGSSLROOTCERT"},
	{name: "sslcrl", env: "PGSSLCRL"},
	{name: "sslcrldir", env: "PGSSLCRLDIR", since: 14},
	{name: "sslsni", env: "PGSSLSNI", since: 14},
	{name: "requirepeer", env: "PGREQUIREPEER"},
	{name: "require_auth", env: "PGREQUIREAUTH", since: 16},
	{name: "min_protocol_version", env: "PGMINPROTOCOLVERSION", since: 18},
	{name: "max_protocol_version", env: "PGMAXPROTOCOLVERSION", since: 18},
	{name: "ssl_min_protocol_version", env: "PGSSLMINPROTOCOLVERSION", since: 13},
	{name: "ssl_max_protocol_version", env: "PGSSLMAXPROTOCOLVERSION", since: 13},
	{name: "gssencmode", env: "PGGSSENCMODE", since: 12},
	{name: "krbsrvname", env: "PGKRBSRVNAME"},
	{name: "gsslib", env: "PGGSSLIB"},
	{name: "gssdelegation", env: "PGGSSDELEGATION", since: 16},
	{name: "replication"},
	{name: "target_session_attrs", env: "PGTARGETSESSIONATTRS"},
	{name: "load_balance_hosts", env: "PGLOADBALANCEHOSTS", since: 16},
	{name: "scram_client_key", secret: true, since: 18},
	{name: "scram_server_key", secret: true, since: 18},
	{name: "oauth_issuer", since: 18},
	{name: "oauth_client_id", since: 18},
	{name: "oauth_client_secret", secret: true, since: 18},
	{name: "oauth_scope", since: 18},
	{name: "sslkeylogfile", since: 18},
}

// known has the names of all keywords.
var known = func() map[string]bool {
	m := make(map[string]bool, len(keywords))
	for _, k := range keywords {
		m[k.name] = true
	}
	return m
}()

// passedOn are the keywords that pgconn understands as libpq does. The others
// are honoured in this package, or refused by check.
var passedOn = []string{
	"channel_binding", "sslmode", "sslnegotiation", "sslcert", "sslkey", "sslcertmode",
	"sslrootcert", "sslsni", "require_auth", "min_protocol_version", "max_protocol_version",
	"krbsrvname",
}

// environmentSettings are the server settings that libpq takes from the
// environment and sends when it connects.
var environmentSettings = []struct{ env, setting string }{
	{"PGDATESTYLE", "datestyle"},
	{"PGTZ", "timezone"},
	{"PGGEQO", "geqo"},
}
