package dropin

import (
	"errors"
	"strconv"
	"strings"

	"github.com/pgbraid/pgbraid/internal/compress"
)

// compression is what -Z asks for.
type compression struct {
	place     compress.Place
	algorithm string
	detail    string
	detailed  bool // there is a detail, be it empty
}

// uncompressed is what is asked for without -Z.
var uncompressed = compression{algorithm: "none"}

// parsePlacedCompression reads [{client|server}-]METHOD[:DETAIL].
func parsePlacedCompression(text string) compression {
	place := compress.Anywhere
	for _, p := range []compress.Place{compress.Server, compress.Client} {
		if rest, ok := strings.CutPrefix(text, string(p)+"-"); ok {
			place, text = p, rest
			break
		}
	}
	c := parseCompression(text)
	c.place = place
	return c
}

// parseCompression reads METHOD[:DETAIL], or an integer: a level of gzip, or 0
// for none. Whether there is such a method is not looked at here.
func parseCompression(text string) compression {
	if level, ok := integer(text); ok || text == "" {
		if level == 0 {
			return uncompressed
		}
		return compression{algorithm: "gzip", detail: text, detailed: true}
	}
	algorithm, detail, detailed := strings.Cut(text, ":")
	return compression{algorithm: algorithm, detail: detail, detailed: detailed}
}

// integer reads what strtol takes as a whole. What is too long for it becomes
// the greatest or the least number, as there.
func integer(text string) (int64, bool) {
	digits := strings.TrimLeft(text, blanks)
	if strings.Contains(digits, "_") {
		return 0, false
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	return n, err == nil || errors.Is(err, strconv.ErrRange)
}

// ranges are the levels that each algorithm has. byDefault is the number that
// says nothing of the level.
var ranges = map[string]struct{ least, most, byDefault int }{
	"none": {1, 1, 0},
	"gzip": {1, 9, -1},
	"lz4":  {1, 12, 0},
	"zstd": {-131072, 22, 3},
}

// check reads the detail for a client that compresses, with the errors of the
// tools (src/common/compression.c), and returns the text that the libraries
// take; "" is none.
func (c compression) check() (string, error) {
	limits, ok := ranges[c.algorithm]
	if !ok {
		return "", fail("unrecognized compression algorithm: %q", quoted(c.algorithm))
	}
	settings, long, err := c.settings()
	if err != nil {
		return "", err
	}
	level, given := settings["level"]
	if !given {
		level = limits.byDefault
	}
	if c.algorithm == "none" && level != 0 {
		return "", invalid("compression algorithm %q does not accept a compression level", quoted(c.algorithm))
	}
	if (level < limits.least || level > limits.most) && level != limits.byDefault {
		return "", invalid("compression algorithm %q expects a compression level between %d and %d (default at %d)",
			quoted(c.algorithm), limits.least, limits.most, limits.byDefault)
	}
	workers, threaded := settings["workers"]
	switch {
	case threaded && c.algorithm != "zstd":
		return "", invalid("compression algorithm %q does not accept a worker count", quoted(c.algorithm))
	case long != nil && c.algorithm != "zstd":
		return "", invalid("compression algorithm %q does not support long-distance mode", quoted(c.algorithm))
	}
	if c.algorithm == "none" {
		return "", nil
	}
	var details []string
	if given && level != limits.byDefault && level != 0 {
		// The levels of zstd below 1 are faster ones that the library here
		// does not have.
		details = append(details, "level="+strconv.Itoa(max(level, 1)))
	}
	if workers > 0 {
		details = append(details, "workers="+strconv.Itoa(workers))
	}
	if long != nil && *long {
		details = append(details, "long")
	}
	if len(details) == 0 {
		return c.algorithm, nil
	}
	return c.algorithm + ":" + strings.Join(details, ","), nil
}

// settings reads the detail: a level, or a list of level=N, workers=N and long.
func (c compression) settings() (numbers map[string]int, long *bool, err error) {
	numbers = map[string]int{}
	if !c.detailed {
		return numbers, nil, nil
	}
	if level, ok := integer(c.detail); ok {
		numbers["level"] = int(int32(level)) //#nosec G115 -- the tool's own conversion
		return numbers, nil, nil
	}
	for _, part := range strings.Split(c.detail, ",") {
		key, value, hasValue := strings.Cut(part, "=")
		switch key {
		case "":
			return nil, nil, invalid("found empty string where a compression option was expected")
		case "level", "workers":
			n, ok := integer(value)
			switch {
			case !hasValue:
				return nil, nil, invalid("compression option %q requires a value", quoted(key))
			case !ok:
				return nil, nil, invalid("value for compression option %q must be an integer", quoted(key))
			}
			numbers[key] = int(int32(n)) //#nosec G115 -- the tool's own conversion
		case "long":
			on, ok := boolean(value, hasValue)
			if !ok {
				return nil, nil, invalid("value for compression option %q must be a Boolean value", quoted(key))
			}
			long = &on
		default:
			return nil, nil, invalid("unrecognized compression option: %q", quoted(key))
		}
	}
	return numbers, long, nil
}

func boolean(value string, given bool) (on, ok bool) {
	switch strings.ToLower(value) {
	case "yes", "on", "1":
		return true, true
	case "no", "off", "0":
		return false, true
	}
	return true, !given
}

func invalid(format string, args ...any) *failure {
	return fail("invalid compression specification: "+format, args...)
}
