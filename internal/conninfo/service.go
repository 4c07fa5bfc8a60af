package conninfo

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ErrNoService says that no service file has the service that was asked for.
var ErrNoService = errors.New("no such service")

// maxLine caps a line of a service file or passfile in bytes.
const maxLine = 1 << 16

// findService looks a service up in the user's file (named, or
// ~/.pg_service.conf) and then in the system's, $PGSYSCONFDIR/pg_service.conf.
// It gives the file that it was found in too.
func findService(name, named string) (map[string]string, string, error) {
	user := named
	if user == "" {
		user = homeFile(".pg_service.conf")
	}
	system := os.Getenv("PGSYSCONFDIR")
	if system == "" {
		// libpq has this directory compiled in; this one is Debian's.
		system = "/etc/postgresql-common"
	}
	for _, path := range []string{user, filepath.Join(system, "pg_service.conf")} {
		if path == "" {
			continue
		}
		values, found, err := readService(path, name)
		if errors.Is(err, fs.ErrNotExist) && path != named {
			continue
		}
		if err != nil {
			return nil, "", fmt.Errorf("service file: %w", err)
		}
		if found {
			return values, path, nil
		}
	}
	return nil, "", inLibPQ(fmt.Errorf("service %q: %w", name, ErrNoService), "definition of service \"%s\" not found", name)
}

// readService reads one service of a file: [name], then keyword=value lines.
// The first value of a keyword counts.
func readService(path, name string) (values map[string]string, found bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	values = make(map[string]string)
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if line[0] == '[' {
			if found {
				return values, true, nil
			}
			found = line == "["+name+"]"
			continue
		}
		if !found {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		switch {
		case strings.HasPrefix(line, "ldap"):
			return nil, false, fmt.Errorf("%s line %d: LDAP look-up is not supported", path, n)
		case !ok || !known[key] || strings.IndexByte(value, 0) >= 0:
			// The line is not shown: it may hold a password.
			return nil, false, fmt.Errorf("%s line %d: want keyword=value", path, n)
		case key == "service" || key == "servicefile":
			return nil, false, fmt.Errorf("%s line %d: a service cannot name a service", path, n)
		}
		if _, dup := values[key]; !dup {
			values[key] = value
		}
	}
	if err := lines.Err(); err != nil {
		return nil, false, fmt.Errorf("%s: %w", path, err)
	}
	return values, found, nil
}
