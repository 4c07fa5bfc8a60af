package conninfo

import (
	"errors"
	"fmt"
	"strings"
)

// maxConnString caps the length of a connection string in bytes.
const maxConnString = 1 << 20

// parseConnString reads a connection string of either form into a map from
// libpq keyword to value. Of a repeated keyword the last one counts.
func parseConnString(s string) (map[string]string, error) {
	if len(s) > maxConnString {
		return nil, fmt.Errorf("longer than %d bytes", maxConnString)
	}
	if strings.IndexByte(s, 0) >= 0 {
		return nil, errors.New("zero byte")
	}
	for _, scheme := range []string{"postgresql://", "postgres://"} {
		if rest, ok := strings.CutPrefix(s, scheme); ok {
			return parseURI(rest)
		}
	}
	return parseKeywordValue(s)
}

// store puts one pair into params. It knows requiressl, the name that sslmode
// had before.
func store(params map[string]string, key, value, source string) error {
	if key == "requiressl" {
		key = "sslmode"
		if strings.HasPrefix(value, "1") {
			value = "require"
		} else {
			value = "prefer"
		}
	}
	if !known[key] {
		err := fmt.Errorf("unknown keyword%s", quotable(key, source))
		if quotable(key, source) == "" {
			return err
		}
		return inLibPQ(err, "invalid connection option \"%s\"", key)
	}
	params[key] = value
	return nil
}

// quotable is key in quotes, with a space before it, or nothing where it may
// be a piece of a password that was not quoted or escaped: in text with a
// password (or an @ or %, which may hide one) nothing is shown.
func quotable(key, source string) string {
	if len(key) > 40 || strings.ContainsAny(source, "@%") || strings.Contains(strings.ToLower(source), "pass") {
		return ""
	}
	return fmt.Sprintf(" %q", key)
}

func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

// parseKeywordValue reads pairs such as host=a password='it\'s', by the rules
// of the manual's chapter "Connection Strings".
func parseKeywordValue(source string) (map[string]string, error) {
	params := make(map[string]string)
	s := source
	skipSpace := func() {
		for s != "" && isSpace(s[0]) {
			s = s[1:]
		}
	}
	for skipSpace(); s != ""; skipSpace() {
		n := 0
		for n < len(s) && s[n] != '=' && !isSpace(s[n]) {
			n++
		}
		key := s[:n]
		s = s[n:]
		skipSpace()
		if s == "" || s[0] != '=' {
			err := fmt.Errorf("no \"=\" after keyword%s", quotable(key, source))
			if quotable(key, source) == "" {
				return nil, err
			}
			return nil, inLibPQ(err, "missing \"=\" after \"%s\" in connection info string", key)
		}
		s = s[1:]
		skipSpace()
		value, rest, ok := takeValue(s)
		if !ok {
			return nil, inLibPQ(errors.New("quoted value without its closing quote"), "unterminated quoted string in connection info string")
		}
		s = rest
		if err := store(params, key, value, source); err != nil {
			return nil, err
		}
	}
	return params, nil
}

// takeValue reads one value, quoted or not, and gives what follows it. A
// backslash takes the next byte as it is.
func takeValue(s string) (value, rest string, ok bool) {
	quoted := s != "" && s[0] == '\''
	if quoted {
		s = s[1:]
	}
	var b strings.Builder
	for n := 0; n < len(s); n++ {
		switch c := s[n]; {
		case quoted && c == '\'':
			return b.String(), s[n+1:], true
		case !quoted && isSpace(c):
			return b.String(), s[n:], true
		case c == '\\':
			if n++; n < len(s) {
				b.WriteByte(s[n])
			}
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), "", !quoted
}

// parseURI reads [user[:password]@][host][:port][,…][/dbname][?key=value[&…]],
// the part of a URI after its scheme. As in libpq, a "/" ends the search for
// the "@", and host and port lists are decoded as a whole.
func parseURI(source string) (map[string]string, error) {
	params := make(map[string]string)
	s := source
	set := func(key, raw string) error {
		if raw == "" {
			return nil
		}
		value, err := decodePercent(raw)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		params[key] = value
		return nil
	}

	if n := strings.IndexAny(s, "@/"); n >= 0 && s[n] == '@' {
		name, password, _ := strings.Cut(s[:n], ":")
		s = s[n+1:]
		if err := errors.Join(set("user", name), set("password", password)); err != nil {
			return nil, err
		}
	}

	hosts, ports, s, err := takeHosts(s)
	if err != nil {
		return nil, err
	}
	// Ports that were all left out ("," for two hosts) still count as given:
	// PGPORT, whose list may have another length, is not meant for these hosts.
	if err := errors.Join(set("host", hosts), set("port", ports)); err != nil {
		return nil, err
	}

	path, query, _ := strings.Cut(s, "?")
	if err := set("dbname", strings.TrimPrefix(path, "/")); err != nil {
		return nil, err
	}
	return params, parseQuery(params, query, source)
}

// takeHosts reads the list of host:port and gives two lists of one length,
// joined by commas, and what follows.
func takeHosts(s string) (hosts, ports, rest string, err error) {
	var h, p strings.Builder
	for {
		if strings.HasPrefix(s, "[") {
			end := strings.IndexByte(s, ']')
			if end < 2 {
				return "", "", "", errors.New("host: want an IPv6 address and \"]\" after \"[\"")
			}
			h.WriteString(s[1:end])
			s = s[end+1:]
			if s != "" && !strings.ContainsRune(":/?,", rune(s[0])) {
				return "", "", "", errors.New("host: unexpected text after \"]\"")
			}
		} else {
			end := indexAnyOrEnd(s, ":/?,")
			h.WriteString(s[:end])
			s = s[end:]
		}
		if strings.HasPrefix(s, ":") {
			end := indexAnyOrEnd(s, "/?,")
			p.WriteString(s[1:end])
			s = s[end:]
		}
		if !strings.HasPrefix(s, ",") {
			return h.String(), p.String(), s, nil
		}
		s = s[1:]
		h.WriteByte(',')
		p.WriteByte(',')
	}
}

func indexAnyOrEnd(s, chars string) int {
	if n := strings.IndexAny(s, chars); n >= 0 {
		return n
	}
	return len(s)
}

func parseQuery(params map[string]string, query, source string) error {
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		rawKey, rawValue, found := strings.Cut(pair, "=")
		if !found || strings.Contains(rawValue, "=") {
			return fmt.Errorf("parameter%s: want one \"=\"", quotable(rawKey, source))
		}
		key, err := decodePercent(rawKey)
		if err != nil {
			return fmt.Errorf("parameter name: %w", err)
		}
		value, err := decodePercent(rawValue)
		if err != nil {
			return fmt.Errorf("parameter%s: %w", quotable(key, source), err)
		}
		if key == "ssl" && value == "true" { // JDBC's spelling
			key, value = "sslmode", "require"
		}
		if err := store(params, key, value, source); err != nil {
			if LibPQWords(err) != "" {
				err = inLibPQ(err, "invalid URI query parameter: \"%s\"", key)
			}
			return err
		}
	}
	return nil
}

// decodePercent undoes %XX. Spaces around are dropped, as libpq does; spaces
// within are refused, and so is %00. Its errors do not show the text.
func decodePercent(raw string) (string, error) {
	raw = strings.Trim(raw, " ")
	var b strings.Builder
	for n := 0; n < len(raw); n++ {
		switch raw[n] {
		case ' ':
			return "", errors.New("space in a URI, want %20")
		case '%':
			if n+2 >= len(raw) {
				return "", errors.New("\"%\" without two hexadecimal digits")
			}
			hi, ok1 := hexDigit(raw[n+1])
			lo, ok2 := hexDigit(raw[n+2])
			if !ok1 || !ok2 {
				return "", errors.New("\"%\" without two hexadecimal digits")
			}
			if hi|lo == 0 {
				return "", errors.New("%00 is not allowed")
			}
			b.WriteByte(hi<<4 | lo)
			n += 2
		default:
			b.WriteByte(raw[n])
		}
	}
	return b.String(), nil
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10, true
	}
	return 0, false
}
