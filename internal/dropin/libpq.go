package dropin

import (
	"errors"
	"io/fs"
	"net"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pgbraid/pgbraid/internal/conninfo"
	"github.com/pgbraid/pgbraid/internal/replconn"
)

// The tools show errors of the server, of connecting and of the operating
// system in the words of libpq and of the C library.

// describe is the text of an error in these words. What they have none for
// keeps its own.
func describe(err error) string {
	var (
		connect *pgconn.ConnectError
		servers *replconn.ServersError
		server  *pgconn.PgError
		path    *fs.PathError
	)
	switch {
	case errors.As(err, &servers):
		var lines []string
		for i := range servers.List {
			lines = append(lines, describe(servers.List[i].Err))
		}
		return strings.Join(lines, "\n")
	case errors.As(err, &connect):
		return connectError(connect)
	case errors.As(err, &server):
		return serverError(server)
	case errors.As(err, &path):
		return fileError(path)
	}
	return err.Error()
}

// serverError is an error message of the server as PQerrorMessage gives it.
func serverError(e *pgconn.PgError) string {
	text := e.Severity + ":  " + e.Message
	if e.Detail != "" {
		text += "\nDETAIL:  " + e.Detail
	}
	if e.Hint != "" {
		text += "\nHINT:  " + e.Hint
	}
	if e.Where != "" {
		text += "\nCONTEXT:  " + e.Where
	}
	return text
}

// connectionLost is what libpq says of a connection that broke, or "" where err is
// of something else (src/interfaces/libpq/fe-secure.c).
func connectionLost(err error) string {
	var (
		number syscall.Errno
		call   *net.OpError
	)
	switch {
	case errors.Is(err, replconn.ErrClosedByServer), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "server closed the connection unexpectedly\n\tThis probably means the server terminated abnormally\n\tbefore or while processing the request."
	case errors.As(err, &call) && errors.As(err, &number):
		return "could not receive data from server: " + systemError(number)
	}
	return ""
}

// connectError tells of each server that was tried, and of each way of using
// TLS with it, once.
func connectError(err *pgconn.ConnectError) string {
	tries := []error{errors.Unwrap(err)}
	if joined, ok := tries[0].(interface{ Unwrap() []error }); ok {
		tries = joined.Unwrap()
	}
	var lines []string
	seen := map[string]bool{}
	for _, try := range tries {
		if strings.HasSuffix(try.Error(), "server refused TLS connection") && len(tries) > 1 {
			continue // sslmode=prefer goes on without TLS
		}
		if line := tryError(err.Config, try); !seen[line] {
			seen[line] = true
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

// tryError is what libpq says of one try. The error's own text begins with the
// address and the host in parentheses.
func tryError(config *pgconn.Config, try error) string {
	var name *net.DNSError
	if errors.As(try, &name) {
		return "could not translate host name \"" + name.Name + "\" to address: Name or service not known"
	}
	address, rest, _ := strings.Cut(try.Error(), " (")
	host, reason, ok := strings.Cut(rest, "): ")
	if !ok {
		return try.Error()
	}
	socket := strings.HasPrefix(address, "/")
	text := "connection to server on socket \"" + address + "\" failed: "
	if ip, port, err := net.SplitHostPort(address); !socket && err == nil {
		text = "connection to server at \"" + host + "\""
		if ip != host {
			text += " (" + ip + ")"
		}
		text += ", port " + port + " failed: "
	}
	var (
		server *pgconn.PgError
		number syscall.Errno
	)
	switch {
	case conninfo.IsPasswordRequired(try):
		return text + "fe_sendauth: no password supplied"
	case errors.As(try, &server):
		return text + serverError(server)
	case !errors.As(try, &number):
		return text + reason
	case socket:
		return text + systemError(number) + "\n\tIs the server running locally and accepting connections on that socket?"
	}
	return text + systemError(number) + "\n\tIs the server running on that host and accepting TCP/IP connections?"
}

// fileError names the file and what could not be done with it.
func fileError(e *fs.PathError) string {
	name := "\"" + e.Path + "\": " + systemError(e.Err)
	switch e.Op {
	case "mkdir", "mkdirat":
		return "could not create directory " + name
	case "open", "openat":
		return "could not open file " + name
	case "write":
		return "could not write to file " + name
	case "symlink", "symlinkat":
		return "could not create symbolic link " + name
	case "sync":
		return "could not fsync file " + name
	case "stat", "lstat", "statat":
		return "could not stat file " + name
	}
	return "could not " + e.Op + " file " + name
}

// systemError is the C library's text for an error number, which begins with a
// capital letter where Go's does not.
func systemError(err error) string {
	text := err.Error()
	var number syscall.Errno
	if errors.As(err, &number) {
		text = number.Error()
	}
	return strings.ToUpper(text[:min(1, len(text))]) + text[min(1, len(text)):]
}
