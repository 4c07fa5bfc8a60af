package conninfo

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
)

// passfilePath is the password file in use: the one given, or ~/.pgpass.
func (i *Info) passfilePath() string {
	if p := i.params["passfile"]; p != "" {
		return p
	}
	if runtime.GOOS == "windows" {
		if dir, err := os.UserConfigDir(); err == nil {
			return dir + `\postgresql\pgpass.conf`
		}
	}
	return homeFile(".pgpass")
}

// Warnings tells of what was passed over but should be known, in libpq's words: a
// password file that others can read is not used (passwordFromFile in
// src/interfaces/libpq/fe-connect.c).
func (i *Info) Warnings() []string {
	if i.params["password"] != "" {
		return nil // the file is not looked at
	}
	path := i.passfilePath()
	st, err := os.Stat(path)
	switch {
	case err != nil:
		return nil
	case !st.Mode().IsRegular():
		return []string{fmt.Sprintf("password file %q is not a plain file", path)}
	case !passfileUsable(st):
		return []string{fmt.Sprintf("password file %q has group or world access; permissions should be u=rw (0600) or less", path)}
	}
	return nil
}

func passfileUsable(st os.FileInfo) bool {
	if !st.Mode().IsRegular() {
		return false
	}
	return runtime.GOOS == "windows" || st.Mode().Perm()&0o077 == 0
}

// passfilePassword finds the password for one server, "" if there is none. As
// with libpq a file that cannot be read is no error.
func (i *Info) passfilePassword(e endpoint) string {
	host := e.host
	if host == "" {
		host = e.addr
	}
	if isSocketDir(host) && slices.Contains(socketDirs, host) {
		host = "localhost"
	}
	want := [4]string{host, e.port, i.database(), i.params["user"]}

	f, err := os.Open(i.passfilePath())
	if err != nil {
		return ""
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !passfileUsable(st) {
		return ""
	}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		line := strings.TrimSuffix(lines.Text(), "\r")
		if strings.HasPrefix(line, "#") {
			continue
		}
		if password, ok := matchPassLine(line, want); ok {
			return password
		}
	}
	return ""
}

// matchPassLine compares the first four fields of a line with what is wanted.
// The password is all the rest, colons too. A backslash escapes the next byte.
func matchPassLine(line string, want [4]string) (password string, ok bool) {
	for _, w := range want {
		field, rest, found := cutField(line)
		if !found || field != w && line[:len(line)-len(rest)-1] != "*" {
			return "", false
		}
		line = rest
	}
	var b strings.Builder
	for n := 0; n < len(line); n++ {
		if line[n] == '\\' && n+1 < len(line) {
			n++
		}
		b.WriteByte(line[n])
	}
	return b.String(), true
}

// cutField takes what stands before the first colon that is not escaped.
func cutField(line string) (field, rest string, found bool) {
	var b strings.Builder
	for n := 0; n < len(line); n++ {
		switch {
		case line[n] == ':':
			return b.String(), line[n+1:], true
		case line[n] == '\\' && n+1 < len(line):
			n++
		}
		b.WriteByte(line[n])
	}
	return "", "", false
}
