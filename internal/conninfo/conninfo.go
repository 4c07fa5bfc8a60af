// Package conninfo takes connection parameters as libpq's tools take them
// (flags, a connection string or URI, the service file, PG* environment
// variables, passfile) and makes of them what pgconn needs for a walsender
// connection, and the text of primary_conninfo.
//
//	info, err := conninfo.Parse(flags, "pg_basebackup")
//	config, err := info.Config()
//	conn, err := replconn.Connect(ctx, config)
//
// pgconn does the connecting; this package takes care of what pgconn leaves
// out or does otherwise: parameters that only libpq knows (they would reach
// the server as settings and be refused), hostaddr, target_session_attrs on a
// walsender, a passfile line for each of several hosts, and passwords, which
// never get into an error or into the text handed to pgconn's parser.
package conninfo

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
)

// Flags are the connection options of the command line. An empty field is one
// that was not given, as with libpq's tools.
type Flags struct {
	ConnString    string // -d: keyword/value text or a postgresql:// URI
	Host          string // -h: a host, a socket directory or a list of them
	Port          string // -p: a port or a list of them
	User          string // -U
	NoPassword    bool   // -w: never ask for a password
	ForcePassword bool   // -W: ask before the first connect
}

// Info holds the connection parameters of one server, or of a list of servers
// that are taken for one. It is not safe for use by several goroutines while
// SetPassword is called; otherwise it is.
type Info struct {
	params   map[string]string // by libpq keyword, no empty values
	dbname   bool              // dbname came from the user
	progname string
	flags    Flags
	prompted bool

	// serviceFile is where params["service"] was found.
	serviceFile string
}

// Parse merges the flags over the connection string, that over the service
// file and that over the environment (src/bin/pg_basebackup/streamutil.c). progname is the
// application_name where nothing else gives one. Errors name the keyword and
// never quote a value, since in malformed text any value may be a password;
// LibPQWords does.
func Parse(f Flags, progname string) (*Info, error) {
	params, err := parseConnString(f.ConnString)
	if err != nil {
		return nil, fmt.Errorf("connection string: %w", err)
	}
	for _, flag := range []struct{ key, value string }{{"host", f.Host}, {"port", f.Port}, {"user", f.User}} {
		if strings.IndexByte(flag.value, 0) >= 0 {
			return nil, fmt.Errorf("%s: zero byte", flag.key)
		}
		if flag.value != "" {
			params[flag.key] = flag.value
		}
	}
	maps.DeleteFunc(params, func(_, v string) bool { return v == "" })

	i := &Info{params: params, progname: progname, flags: f}
	if err := i.addService(); err != nil {
		return nil, err
	}
	i.addEnvironment()
	i.dbname = params["dbname"] != ""
	if params["user"] == "" {
		u, err := user.Current()
		if err != nil {
			return nil, fmt.Errorf("user: none given, and the system's is not known: %w", err)
		}
		params["user"] = u.Username
	}
	if err := i.check(); err != nil {
		return nil, err
	}
	return i, nil
}

// addService fills in what the service file says where neither flags nor the
// connection string said anything.
func (i *Info) addService() error {
	name := i.params["service"]
	if name == "" {
		name = os.Getenv("PGSERVICE")
	}
	if name == "" {
		return nil
	}
	named := i.params["servicefile"]
	if named == "" {
		named = os.Getenv("PGSERVICEFILE")
	}
	values, file, err := findService(name, named)
	if err != nil {
		return err
	}
	for k, v := range values {
		if i.params[k] == "" && v != "" {
			i.params[k] = v
		}
	}
	i.params["service"], i.serviceFile = name, file
	return nil
}

func (i *Info) addEnvironment() {
	for _, k := range keywords {
		if k.env == "" || i.params[k.name] != "" {
			continue
		}
		if v := os.Getenv(k.env); v != "" {
			i.params[k.name] = v
		}
	}
	// The old name, from before there was PGSSLMODE.
	if i.params["sslmode"] == "" && strings.HasPrefix(os.Getenv("PGREQUIRESSL"), "1") {
		i.params["sslmode"] = "require"
	}
	// With the system's certificates libpq's default is the strictest mode.
	if i.params["sslmode"] == "" && i.params["sslrootcert"] == "system" {
		i.params["sslmode"] = "verify-full"
	}
}

// User is the role that connects.
func (i *Info) User() string { return i.params["user"] }

// endpoint is one server of the list. host or addr may be empty, not both.
type endpoint struct {
	host string // a name, an address or a socket directory: for TLS and the passfile
	addr string // hostaddr: a numeric address that is dialled in place of host
	port string
}

// endpoints pairs the lists host, hostaddr and port as libpq does: one port
// serves all hosts, otherwise the lists are of one length. Empty places mean
// the default.
func (i *Info) endpoints() ([]endpoint, error) {
	hosts := strings.Split(i.params["host"], ",")
	var addrs []string
	if list := i.params["hostaddr"]; list != "" {
		addrs = strings.Split(list, ",")
		if i.params["host"] == "" {
			hosts = make([]string, len(addrs))
		}
		if len(addrs) != len(hosts) {
			return nil, inLibPQ(fmt.Errorf("hostaddr: %d addresses for %d hosts", len(addrs), len(hosts)),
				"could not match %d host names to %d hostaddr values", len(hosts), len(addrs))
		}
	}
	ports := strings.Split(i.params["port"], ",")
	if len(ports) != 1 && len(ports) != len(hosts) {
		return nil, inLibPQ(fmt.Errorf("port: %d ports for %d hosts", len(ports), len(hosts)),
			"could not match %d port numbers to %d hosts", len(ports), len(hosts))
	}
	list := make([]endpoint, len(hosts))
	for n := range hosts {
		e := endpoint{host: hosts[n], port: ports[0]}
		if addrs != nil {
			e.addr = addrs[n]
		}
		if len(ports) > 1 {
			e.port = ports[n]
		}
		if e.port == "" {
			e.port = defaultPort
		}
		if e.host == "" && e.addr == "" {
			e.host = defaultHost()
		}
		if err := e.check(); err != nil {
			return nil, err
		}
		list[n] = e
	}
	return list, nil
}

// name is what pgconn takes for the host: with a hostaddr, a socket directory
// is only a name (libpq dials the address).
func (e endpoint) name() string {
	if e.addr != "" && (e.host == "" || isSocketDir(e.host)) {
		return e.addr
	}
	return e.host
}

func (e endpoint) unix() bool { return e.addr == "" && isSocketDir(e.host) }

const defaultPort = "5432"

// socketDirs are where the builds of PostgreSQL put the socket.
var socketDirs = []string{"/var/run/postgresql", "/private/tmp", "/tmp"}

// defaultHost is the first of the usual socket directories that exists.
// libpq has one compiled in; a program that may meet any build has to look.
func defaultHost() string {
	if runtime.GOOS != "windows" {
		for _, dir := range socketDirs {
			if _, err := os.Stat(dir); err == nil {
				return dir
			}
		}
	}
	return "localhost"
}

func isSocketDir(host string) bool {
	return strings.HasPrefix(host, "/") || filepath.IsAbs(host)
}

// homeFile is the path of a file in the home directory, "" without a home.
func homeFile(elem ...string) string {
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(append([]string{home}, elem...)...)
}

func exists(path string) bool {
	if path == "" {
		return false
	}
	_, err := os.Stat(path)
	return !errors.Is(err, os.ErrNotExist)
}
