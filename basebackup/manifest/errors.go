package manifest

import (
	"errors"
	"fmt"
	"strings"
)

// ErrChecksum says that a manifest is not what the server wrote: its own
// checksum does not match its text.
var ErrChecksum = errors.New("backup manifest: manifest checksum mismatch")

// SyntaxError says that a text is no backup manifest, and why not.
type SyntaxError struct {
	// Offset is where the fault was noticed, in bytes from the beginning.
	Offset int64
	// Cause is in the words of PostgreSQL's own reader where that refuses the
	// text too (src/common/parse_manifest.c, src/common/jsonapi.c).
	Cause string
	// Value says that the text has the form of a manifest, and that one of its
	// values is none. PostgreSQL's tools then give Cause alone, and otherwise
	// "could not parse backup manifest" in front of it.
	Value bool
}

// Error gives the cause and the offset.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("backup manifest: %s at offset %d", strings.TrimSuffix(e.Cause, "."), e.Offset)
}

var (
	errNoClone = errors.New("backup manifest: this build's SHA-256 cannot be copied")
	errEnd     = errors.New("unexpected end")
)
