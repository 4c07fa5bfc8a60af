package tarx

import (
	"fmt"
	"path"
	"strings"
)

// trimName cuts leading "./" and trailing slashes. A name of nothing else is
// "/" or ".", so that it stays what it was: absolute, or the root of the tree.
func trimName(name string) string {
	for len(name) > 1 && name[len(name)-1] == '/' {
		name = name[:len(name)-1]
	}
	for strings.HasPrefix(name, "./") {
		// Slashes after the dot go with it: ".//etc" must not become "/etc".
		name = strings.TrimLeft(name[2:], "/")
	}
	return name
}

// CleanName makes a member's name fit to be opened below a directory: relative,
// without "." and empty components, without a trailing slash. It refuses names
// that are empty or absolute or have a ".." component or a NUL, and the tree's
// root itself ("."), which no base backup sends. Errors have ErrUnsafeName in
// their chain.
//
// The result is safe as text only. It is for the caller not to follow symbolic
// links on the way, for example with os.Root.
func CleanName(name string) (string, error) {
	trimmed := trimName(name)
	reason := ""
	switch {
	case name == "":
		reason = "empty"
	case strings.IndexByte(name, 0) >= 0:
		reason = "has a NUL byte"
	case trimmed[0] == '/':
		reason = "absolute"
	case hasDotDot(trimmed):
		reason = `has a ".." component`
	}
	if reason == "" {
		if trimmed = path.Clean(trimmed); trimmed != "." {
			return trimmed, nil
		}
		reason = "is the root directory"
	}
	return "", fmt.Errorf("%w: %q: %s", ErrUnsafeName, name, reason)
}

func hasDotDot(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return true
		}
	}
	return false
}
