package conninfo

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
)

// Hint is advice for the person, one line or none, on an error that a connect
// ended with.
func Hint(err error) string {
	if err == nil {
		return ""
	}
	role, local := "ROLE", false
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) && connect.Config != nil {
		role, local = quoteIdent(connect.Config.User), isSocketDir(connect.Config.Host)
	}
	var pgErr *pgconn.PgError
	switch {
	case IsPasswordRequired(err):
		return "put the password in a passfile (~/.pgpass) or in PGPASSWORD, or leave out -w to be asked"
	case errors.As(err, &pgErr):
		return serverHint(pgErr, role, local)
	}
	return networkHint(err)
}

func serverHint(e *pgconn.PgError, role string, local bool) string {
	switch e.Code {
	case "28P01":
		return fmt.Sprintf("the password is wrong, or role %s does not exist or has none: check the passfile, PGPASSWORD and the role", role)
	case "28000":
		line := fmt.Sprintf("host replication %s ADDRESS scram-sha-256", role)
		if local {
			line = fmt.Sprintf("local replication %s scram-sha-256", role)
		}
		return fmt.Sprintf("if the role exists and may log in, add a line `%s` to the server's pg_hba.conf and reload it", line)
	case "42501":
		// Later on the same code means other rights, and is an ERROR.
		if e.Severity == "FATAL" || e.SeverityUnlocalized == "FATAL" {
			return fmt.Sprintf("ALTER ROLE %s REPLICATION", role)
		}
	case "53300":
		return "raise max_wal_senders (or max_connections), or end a walsender: a base backup with its log takes two"
	case "57P03":
		return "the server is starting up, shutting down or recovering: try again later; a standby needs hot_standby=on"
	}
	return ""
}

func networkHint(err error) string {
	var authority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	var dns *net.DNSError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &authority):
		return "the server's certificate is not signed by a trusted authority: give its root certificate with sslrootcert"
	case errors.As(err, &hostname):
		return "the server's certificate is for another name: use that name as host (hostaddr may give the address), or sslmode=verify-ca"
	case errors.As(err, &invalid):
		return "the server's certificate is not valid: check its dates and its use, and this machine's clock"
	case errors.Is(err, pgconn.ErrStandbyConnection), errors.Is(err, pgconn.ErrPrimaryConnection),
		errors.Is(err, pgconn.ErrReadOnlyConnection), errors.Is(err, pgconn.ErrReadWriteConnection):
		return "no server of the list is what target_session_attrs asks for"
	case errors.As(err, &dns):
		return "check the host name"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "is the server running, and does it listen on that address and port (listen_addresses, port)?"
	case errors.Is(err, fs.ErrNotExist):
		return "no socket there: is the server running, and is that its unix_socket_directories and port?"
	case errors.Is(err, fs.ErrPermission):
		return "this operating-system user may not use the socket's directory"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time: check the address, the firewall and connect_timeout"
	}
	return ""
}

// quoteIdent writes a role's name as SQL and pg_hba.conf take it.
func quoteIdent(name string) string {
	for n := range len(name) {
		c := name[n]
		if !('a' <= c && c <= 'z' || c == '_' || n > 0 && '0' <= c && c <= '9') {
			return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
		}
	}
	return name
}
