package walread

import "fmt"

// Ending is how valid WAL ends.
type Ending int

const (
	// Clean means that no record begins at the end: the source has no more,
	// or zeros follow, or pages of a recycled segment file.
	Clean Ending = iota + 1
	// Torn means that a record begins at the end but the rest of it is not
	// there, as after a crash or in a stream that was cut.
	Torn
	// Invalid means that the bytes at the end contradict the format, or that
	// more WAL seems to follow them. This is damage, or what an old use of a
	// recycled file left there: a standby's walreceiver writes into such files
	// without clearing the rest of the page.
	Invalid
)

// String gives "clean end", "torn record" or "invalid WAL".
func (e Ending) String() string {
	switch e {
	case Clean:
		return "clean end"
	case Torn:
		return "torn record"
	case Invalid:
		return "invalid WAL"
	}
	return fmt.Sprintf("Ending(%d)", int(e))
}

// Reason is what was seen where valid WAL ends.
type Reason int

// The reasons. Only the first three can make a Clean end.
const (
	SourceEnd       Reason = iota + 1 // the source has no more bytes
	Zeros                             // zeros, as in a segment that was allocated ahead
	OldPage                           // a page with the address of an earlier segment: a recycled file
	BadPage                           // a page header that does not fit here
	BadLength                         // a record length that cannot be
	BadPrev                           // a link to the previous record that does not fit
	BadChecksum                       // a record's CRC-32C does not match
	BadContinuation                   // a record is continued where none should be, or the other way round
)

var reasonText = [...]string{
	SourceEnd: "no more WAL", Zeros: "zeros", OldPage: "page of a recycled segment",
	BadPage: "page header does not fit", BadLength: "record length is impossible",
	BadPrev: "previous-record link does not fit", BadChecksum: "checksum mismatch",
	BadContinuation: "record continuation does not fit",
}

// String gives a few words such as "checksum mismatch".
func (r Reason) String() string {
	if r <= 0 || int(r) >= len(reasonText) {
		return fmt.Sprintf("Reason(%d)", int(r))
	}
	return reasonText[r]
}

// EndError says where valid WAL ends and why. Each walk ends with one, or
// with an error of the source.
type EndError struct {
	LSN    uint64 // where the next record would begin: the end of the last valid one, or the start of the walk
	Ending Ending
	Reason Reason
	At     uint64 // where Reason was seen: LSN, or a later page
	Detail string // what was found, for people; may be empty
}

// Error names the end's LSN, the kind of the end and the reason.
func (e *EndError) Error() string {
	s := fmt.Sprintf("WAL at %s: %s: %s", formatLSN(e.LSN), e.Ending, e.Reason)
	if e.At != e.LSN {
		s += " at " + formatLSN(e.At)
	}
	if e.Detail != "" {
		s += " (" + e.Detail + ")"
	}
	return s
}

// fault is what is wrong with the bytes at a place, before it is known
// whether a record was under way there.
type fault struct {
	reason Reason
	at     uint64
	detail string
}

// absent tells that there is just no WAL at the place.
func (f *fault) absent() bool {
	return f.reason == SourceEnd || f.reason == Zeros || f.reason == OldPage
}

func faultf(reason Reason, at uint64, format string, args ...any) *fault {
	return &fault{reason: reason, at: at, detail: fmt.Sprintf(format, args...)}
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
