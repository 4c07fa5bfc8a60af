package conninfo

// keyword is one connection parameter of libpq.
type keyword struct {
	name   string
	env    string // the environment variable that gives a default
	secret bool   // never shown, and left out by WithoutPassword
}

// keywords has libpq's parameters in the order of its own table
// (PQconninfoOptions, release 18, and servicefile from 19), which is the order
// that pg_basebackup -R writes them in.
var keywords = []keyword{
	{name: "service"}, // PGSERVICE is read by addService: it must come first
	{name: "servicefile"},
	{name: "user", env: "PGUSER"},
	{name: "password", env: "PGPASSWORD", secret: true},
	{name: "passfile", env: "PGPASSFILE"},
	{name: "channel_binding", env: "PGCHANNELBINDING"},
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
	{name: "tcp_user_timeout"},
	{name: "sslmode", env: "PGSSLMODE"},
	{name: "sslnegotiation", env: "PGSSLNEGOTIATION"},
	{name: "sslcompression", env: "PGSSLCOMPRESSION"},
	{name: "sslcert", env: "PGSSLCERT"},
	{name: "sslkey", env: "PGSSLKEY"},
	{name: "sslcertmode", env: "PGSSLCERTMODE"},
	{name: "sslpassword", secret: true},
	{name: "sslrootcert", env: "PGSSLROOTCERT"},
	{name: "sslcrl", env: "PGSSLCRL"},
	{name: "sslcrldir", env: "PGSSLCRLDIR"},
	{name: "sslsni", env: "PGSSLSNI"},
	{name: "requirepeer", env: "PGREQUIREPEER"},
	{name: "require_auth", env: "PGREQUIREAUTH"},
	{name: "min_protocol_version", env: "PGMINPROTOCOLVERSION"},
	{name: "max_protocol_version", env: "PGMAXPROTOCOLVERSION"},
	{name: "ssl_min_protocol_version", env: "PGSSLMINPROTOCOLVERSION"},
	{name: "ssl_max_protocol_version", env: "PGSSLMAXPROTOCOLVERSION"},
	{name: "gssencmode", env: "PGGSSENCMODE"},
	{name: "krbsrvname", env: "PGKRBSRVNAME"},
	{name: "gsslib", env: "PGGSSLIB"},
	{name: "gssdelegation", env: "PGGSSDELEGATION"},
	{name: "replication"},
	{name: "target_session_attrs", env: "PGTARGETSESSIONATTRS"},
	{name: "load_balance_hosts", env: "PGLOADBALANCEHOSTS"},
	{name: "scram_client_key", secret: true},
	{name: "scram_server_key", secret: true},
	{name: "oauth_issuer"},
	{name: "oauth_client_id"},
	{name: "oauth_client_secret", secret: true},
	{name: "oauth_scope"},
	{name: "sslkeylogfile"},
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
