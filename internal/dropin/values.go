package dropin

import (
	"errors"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/pgbraid/pgbraid/logstream"
)

// Values of options, read as the C library's functions do that the tools use.

const blanks = " \t\n\v\f\r"

// defaultStatusInterval is that of -s.
const defaultStatusInterval = 10 * time.Second

// maxStatusInterval is the most seconds whose milliseconds an int can count.
const maxStatusInterval = math.MaxInt32 / 1000

// statusInterval reads the seconds of -s.
func statusInterval(text string) (time.Duration, error) {
	const name = "-s/--status-interval"
	// strtol takes an empty text for 0.
	digits := strings.TrimRight(strings.TrimLeft(text, blanks), blanks)
	n, err := strconv.ParseInt(digits, 10, 64)
	switch {
	case text == "":
		n = 0
	case errors.Is(err, strconv.ErrSyntax) || strings.Contains(digits, "_"):
		return 0, fail("invalid value %q for option %s", quoted(text), name)
	case err != nil || n < 0 || n > maxStatusInterval:
		return 0, fail("%s must be in range %d..%d", name, 0, maxStatusInterval)
	}
	return time.Duration(n) * time.Second, nil
}

// The least and the most kB a second of -r.
const minRate, maxRate = 32, 1 << 20

// number matches what strtod takes from the beginning of a text.
var number = regexp.MustCompile(`^[ \t\n\v\f\r]*[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?`)

// rate reads the kB a second of -r, with the suffix k or M.
func rate(text string) (int, error) {
	digits := number.FindString(text)
	if digits == "" {
		return 0, fail("transfer rate %q is not a valid value", quoted(text))
	}
	n, err := strconv.ParseFloat(strings.TrimLeft(digits, blanks), 64)
	switch {
	case err != nil:
		return 0, fail("invalid transfer rate %q: Numerical result out of range", quoted(text))
	case n <= 0:
		return 0, fail("transfer rate must be greater than zero")
	}
	suffix := strings.TrimLeft(text[len(digits):], blanks)
	rest := suffix
	switch {
	case strings.HasPrefix(suffix, "k"):
		rest = suffix[1:]
	case strings.HasPrefix(suffix, "M"):
		rest = suffix[1:]
		n *= 1024
	}
	switch {
	case strings.Trim(rest, blanks) != "":
		return 0, fail("invalid --max-rate unit: %q", quoted(suffix))
	case n > math.MaxUint32:
		return 0, fail("transfer rate %q exceeds integer range", quoted(text))
	case n < minRate || n > maxRate:
		return 0, fail("transfer rate %q is out of range", quoted(text))
	}
	return int(n), nil
}

// position matches what sscanf takes for a log position.
var position = regexp.MustCompile(`^[ \t\n\v\f\r]*(?:0[xX])?([0-9a-fA-F]+)/[ \t\n\v\f\r]*(?:0[xX])?([0-9a-fA-F]+)`)

// endPosition reads the position of -E.
func endPosition(text string) (logstream.LSN, error) {
	if halves := position.FindStringSubmatch(text); halves != nil {
		if lsn, err := logstream.ParseLSN(halves[1] + "/" + halves[2]); err == nil {
			return lsn, nil
		}
	}
	return 0, fail("could not parse end position %q", quoted(text))
}
