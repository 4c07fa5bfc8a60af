package compress

import "strings"

// Place says who compresses.
type Place string

// The places. The zero value leaves it to the program.
const (
	Anywhere Place = ""
	Client   Place = "client"
	Server   Place = "server"
)

// Request is what is asked for with [{client|server}-]METHOD[:DETAIL].
type Request struct {
	Place  Place
	Method Method
	// Detail as it was given, which a server reads for itself.
	Detail string
}

// ParseRequest reads the text that -Z takes. An integer is a level of gzip,
// and 0 is none. The detail is not looked at: Spec does that, or the server.
func ParseRequest(text string) (Request, error) {
	var r Request
	for _, p := range []Place{Client, Server} {
		if rest, ok := strings.CutPrefix(text, string(p)+"-"); ok {
			r.Place, text = p, rest
			break
		}
	}
	method, detail, _ := strings.Cut(text, ":")
	if isLevel(text) {
		method, detail = string(Gzip), text
		if strings.Trim(text, "0") == "" {
			method, detail = "none", ""
		}
	}
	var err error
	r.Method, err = parseMethod(method)
	r.Detail = detail
	return r, err
}

// isLevel tells whether text is an integer without a sign.
func isLevel(text string) bool {
	return text != "" && strings.Trim(text, "0123456789") == ""
}

// Spec reads the detail, for a client that compresses.
func (r Request) Spec() (Spec, error) {
	name := string(r.Method)
	if r.Method == None {
		name = "none"
	}
	if r.Detail != "" {
		name += ":" + r.Detail
	}
	return Parse(name)
}
