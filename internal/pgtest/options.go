package pgtest

import (
	"fmt"
	"slices"
	"strings"
)

// Option changes how Init, OpenDataDir or NewStandby make a cluster.
type Option func(*options)

type options struct {
	noChecksums bool
	segmentMB   int
	groupAccess bool
	config      []string
	hba         []string
	password    string
	tls         bool
	fresh       bool
	args        []string
	slot        string
}

// NoChecksums makes a cluster without data checksums. They are on otherwise.
func NoChecksums() Option { return func(o *options) { o.noChecksums = true } }

// SegmentSize sets the size of WAL segment files in MiB, a power of two from
// 1 to 1024. It needs release 11.
func SegmentSize(mib int) Option { return func(o *options) { o.segmentMB = mib } }

// GroupAccess lets the group read the data directory (initdb
// --allow-group-access). It needs release 11.
func GroupAccess() Option { return func(o *options) { o.groupAccess = true } }

// Config adds lines to postgresql.conf. With OpenDataDir they become command
// line arguments, so that no file of the data directory is changed; each must
// then read name = value.
func Config(lines ...string) Option {
	return func(o *options) { o.config = append(o.config, lines...) }
}

// HBA replaces the lines of pg_hba.conf for TCP connections. Those over the
// Unix socket stay trusted, since the helpers of this package use it.
func HBA(lines ...string) Option { return func(o *options) { o.hba = append(o.hba, lines...) } }

// Password makes TCP connections need this password, by SCRAM.
func Password(password string) Option { return func(o *options) { o.password = password } }

// TLS lets the server take TLS connections with a certificate of its own
// authority (see Cluster.TLS), and refuse TCP connections without TLS.
func TLS() Option { return func(o *options) { o.tls = true } }

// Fresh runs initdb for this cluster alone. Without it clusters are copies of
// one, made with the same options, and so have its system identifier.
func Fresh() Option { return func(o *options) { o.fresh = true } }

// ServerArgs adds arguments to the command line of postgres.
func ServerArgs(args ...string) Option {
	return func(o *options) { o.args = append(o.args, args...) }
}

// Slot is the physical replication slot, made if need be, that a standby of
// NewStandby streams from.
func Slot(name string) Option { return func(o *options) { o.slot = name } }

func collect(opts []Option) options {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

// initdbArgs are the arguments that decide what initdb makes. Everything else
// is configured afterwards.
func (o options) initdbArgs(s Server) []string {
	args := []string{"-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"}
	if !o.noChecksums {
		args = append(args, "--data-checksums")
	} else if s.atLeast(18) {
		args = append(args, "--no-data-checksums")
	}
	if o.segmentMB != 0 {
		args = append(args, fmt.Sprintf("--wal-segsize=%d", o.segmentMB))
	}
	if o.groupAccess {
		args = append(args, "--allow-group-access")
	}
	return args
}

// serverConfig is what Init appends to postgresql.conf. Port and directories
// are not here but on the command line, because a clone has a copy of the file.
func (o options) serverConfig(s Server, tls TLSFiles) string {
	lines := []string{
		"",
		"# Settings of the tests",
		"wal_level = replica",
		"max_wal_senders = 10",
		"max_replication_slots = 10",
		"hot_standby = on",
		"max_connections = 30",
		"shared_buffers = 16MB",
		"fsync = off",
		"autovacuum = off",
		"log_replication_commands = on",
		"log_line_prefix = '%m [%p] %b %a '",
		"logging_collector = off",
	}
	if !s.atLeast(13) {
		lines[slices.Index(lines, "log_line_prefix = '%m [%p] %b %a '")] = "log_line_prefix = '%m [%p] %a '"
		lines = append(lines, "wal_keep_segments = 0")
	} else {
		lines = append(lines, "wal_keep_size = 0")
	}
	if o.password != "" {
		lines = append(lines, "password_encryption = 'scram-sha-256'")
	}
	if o.tls {
		lines = append(lines, "ssl = on",
			"ssl_cert_file = "+quoteConfig(tls.serverCert),
			"ssl_key_file = "+quoteConfig(tls.serverKey),
			"ssl_ca_file = "+quoteConfig(tls.CA))
	}
	return strings.Join(append(lines, o.config...), "\n") + "\n"
}

// hbaConfig is the whole pg_hba.conf.
func (o options) hbaConfig() string {
	lines := []string{"local all all trust", "local replication all trust"}
	if o.hba != nil {
		lines = append(lines, o.hba...)
	} else {
		host, method := "host", "trust"
		if o.tls {
			host = "hostssl"
		}
		if o.password != "" {
			method = "scram-sha-256"
		}
		lines = append(lines,
			host+" all all 127.0.0.1/32 "+method,
			host+" replication all 127.0.0.1/32 "+method)
	}
	return strings.Join(lines, "\n") + "\n"
}

// quoteConfig quotes a value for postgresql.conf and recovery.conf.
func quoteConfig(value string) string {
	return "'" + strings.ReplaceAll(strings.ReplaceAll(value, `\`, `\\`), "'", "''") + "'"
}

// quoteConnInfo quotes a value for a keyword/value connection string.
func quoteConnInfo(value string) string {
	return "'" + strings.ReplaceAll(strings.ReplaceAll(value, `\`, `\\`), "'", `\'`) + "'"
}
