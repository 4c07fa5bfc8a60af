package tarx

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// ErrTruncated is in the chain of the error that Parser.Close returns for a
// stream that ended within a header, a member or the trailer. It wraps
// io.ErrUnexpectedEOF.
var ErrTruncated = fmt.Errorf("truncated tar stream: %w", io.ErrUnexpectedEOF)

// ErrUnsafeName is in the chain of the errors of CleanName.
var ErrUnsafeName = errors.New("unsafe name in tar stream")

// errClosed answers a Write after Close.
var errClosed = fmt.Errorf("tar parser: %w", fs.ErrClosed)

// FormatError tells that a tar stream is malformed, truncated (ErrTruncated is
// in its chain), or of a kind that no base backup has (errors.ErrUnsupported
// is in its chain).
type FormatError struct {
	// Offset in bytes from the beginning of the stream: of the header that was
	// refused, of the byte that must not be there, or of the stream's end.
	Offset int64
	// Reason says what is wrong.
	Reason string

	cause error
}

// Error gives the offset and the reason.
func (e *FormatError) Error() string {
	return fmt.Sprintf("tar stream at byte %d: %s", e.Offset, e.Reason)
}

// Unwrap gives ErrTruncated, errors.ErrUnsupported or nil.
func (e *FormatError) Unwrap() error { return e.cause }
