package conninfo

import (
	"slices"
	"strings"
)

// LeftOut is a parameter that ForRelease left out.
type LeftOut struct {
	Keyword string
	Value   string // where it is the value that was not known; "" for the keyword
	Since   int    // the first major release that knows it
}

// String is the parameter as a person would write it. It has no secrets.
func (l LeftOut) String() string {
	if l.Value == "" {
		return l.Keyword
	}
	return l.Keyword + "=" + QuoteValue(l.Value)
}

// Protects tells whether the connection is guarded less without the parameter.
func (l LeftOut) Protects() bool { return slices.Contains(protective, l.Keyword) }

// protective are the parameters that refuse a connection which is not as safe
// as they ask for.
var protective = []string{
	"channel_binding", "require_auth", "ssl_min_protocol_version", "sslcrldir",
}

// ForRelease is a connection string, such as PrimaryConnInfo gives, without the
// parameters that the libpq of a major release (14; 10 and later) does not
// know: any of these would keep a server of that release from connecting. A
// string that has none of them, or that is none that can be read, comes back
// as it is.
func ForRelease(text string, release int) (kept string, left []LeftOut) {
	params, err := parseConnString(text)
	if err != nil {
		return text, nil
	}
	var b strings.Builder
	for _, k := range keywords {
		value := params[k.name]
		switch since := valueSince(k.name, value); {
		case value == "":
		case k.since > release:
			left = append(left, LeftOut{Keyword: k.name, Since: k.since})
		case since > release:
			left = append(left, LeftOut{Keyword: k.name, Value: value, Since: since})
		case k.name != "dbname": // it stands at the end
			writePair(&b, k.name, value)
		}
	}
	if left == nil {
		return text, nil
	}
	if value := params["dbname"]; value != "" {
		writePair(&b, "dbname", value)
	}
	return b.String(), left
}

// valueSince is the first major release whose libpq knows the value of a
// keyword that has others before; 0 for all others.
func valueSince(keyword, value string) int {
	switch {
	case keyword == "target_session_attrs" && value != "any" && value != "read-write":
		return 14
	case keyword == "sslrootcert" && value == "system": // before, a file of that name
		return 16
	case keyword == "require_auth" && strings.Contains(value, "oauth"):
		return 18
	}
	return 0
}

// writePair adds a keyword and its value to a connection string.
func writePair(b *strings.Builder, keyword, value string) {
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	b.WriteString(keyword + "=" + QuoteValue(value))
}
