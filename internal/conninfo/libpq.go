package conninfo

import (
	"errors"
	"fmt"
)

// libpqError is an error that libpq has words of its own for
// (src/interfaces/libpq/fe-connect.c). These show the value.
type libpqError struct {
	error
	words string
}

func (e *libpqError) Unwrap() error { return e.error }

// inLibPQ gives an error libpq's words.
func inLibPQ(err error, format string, args ...any) error {
	return &libpqError{err, fmt.Sprintf(format, args...)}
}

// LibPQWords is what libpq says of an error of this package, for programs that
// take the place of its own; "" where it has no words for it.
func LibPQWords(err error) string {
	var e *libpqError
	if errors.As(err, &e) {
		return e.words
	}
	return ""
}
