package compress

import (
	"fmt"
	"strings"
)

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
	// Name and Detail as they were given, which a server reads for itself.
	Name   string
	Detail string
	// Detailed tells that there is a detail, be it empty.
	Detailed bool
}

// UnknownMethodError says that a method is none of those here.
type UnknownMethodError struct{ Name string }

func (e *UnknownMethodError) Error() string {
	return fmt.Sprintf("unrecognized compression algorithm: %q", e.Name)
}

// ParseRequest reads the text that -Z takes. An integer is a level of gzip,
// and 0 is none. The detail is not looked at: Spec does that, or the server.
// With an *UnknownMethodError it returns the request all the same: a server
// may know the method.
func ParseRequest(text string) (Request, error) {
	var r Request
	for _, p := range []Place{Client, Server} {
		if rest, ok := strings.CutPrefix(text, string(p)+"-"); ok {
			r.Place, text = p, rest
			break
		}
	}
	r.Name, r.Detail, r.Detailed = strings.Cut(text, ":")
	if isLevel(text) {
		r.Name, r.Detail, r.Detailed = string(Gzip), text, true
		if strings.Trim(text, "0") == "" {
			r.Name, r.Detail, r.Detailed = "none", "", false
		}
	}
	var err error
	if r.Method, err = parseMethod(r.Name); err != nil {
		r.Method = Method(r.Name)
	}
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
	if r.Detailed {
		name += ":" + r.Detail
	}
	return Parse(name)
}
