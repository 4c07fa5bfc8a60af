package progress

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/rivo/uniseg"
)

// Bytes gives a size with three digits and PostgreSQL's units, where 1 kB is
// 1024 bytes: 512 B, 1.63 GB, 42.1 MB.
func Bytes(n int64) string {
	number, unit := bytesParts(n)
	return number + " " + unit
}

func bytesParts(n int64) (number, unit string) {
	if -1024 < n && n < 1024 {
		return strconv.FormatInt(n, 10), "B"
	}
	v, sign := float64(n), ""
	if v < 0 {
		v, sign = -v, "-"
	}
	units := []string{"kB", "MB", "GB", "TB", "PB", "EB"}
	v /= 1024
	// 1023.5 would be rounded to 1024 of its unit.
	for len(units) > 1 && v >= 1023.5 {
		v /= 1024
		units = units[1:]
	}
	digits := 0
	switch {
	case v < 9.995:
		digits = 2
	case v < 99.95:
		digits = 1
	}
	return sign + strconv.FormatFloat(v, 'f', digits, 64), units[0]
}

// bytesOf gives done of total, with the unit said once when it is the same.
func bytesOf(done, total int64, of string) string {
	number, unit := bytesParts(done)
	totalNumber, totalUnit := bytesParts(total)
	if unit == totalUnit {
		return number + of + totalNumber + " " + unit
	}
	return number + " " + unit + of + totalNumber + " " + totalUnit
}

// Duration gives a time in whole seconds with two units at most: 12s, 4m12s,
// 2h03m, 3d04h. A negative one is 0s.
func Duration(d time.Duration) string {
	s := max(0, int64(d/time.Second))
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 60*60:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	case s < 24*60*60:
		return fmt.Sprintf("%dh%02dm", s/3600, s/60%60)
	}
	return fmt.Sprintf("%dd%02dh", s/86400, s/3600%24)
}

// Sanitize makes text that somebody else wrote safe to print on a terminal or
// into a log. Control characters (escape among them), line separators,
// direction overrides and other characters without a shape become escapes
// such as \x1b or \u202e, and so does each byte that is not UTF-8. Backslashes
// stay as they are, so the way back is not unique.
func Sanitize(s string) string {
	if !needsSanitizing(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case unicode.IsPrint(r):
			b.WriteString(s[:size])
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
		s = s[size:]
	}
	return b.String()
}

func needsSanitizing(s string) bool {
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 || !unicode.IsPrint(r) {
			return true
		}
		i += size
	}
	return false
}

// columns is how many terminal cells a sanitized text takes.
func columns(s string) int {
	return uniseg.StringWidth(s)
}

const ellipsis = "..."

// head cuts a text to width columns, keeping its beginning.
func head(s string, width int) string {
	if columns(s) <= width {
		return s
	}
	mark := ellipsis[:max(0, min(len(ellipsis), width))]
	var b strings.Builder
	room, state := width-len(mark), -1
	for len(s) > 0 {
		var cluster string
		var w int
		cluster, s, w, state = uniseg.FirstGraphemeClusterInString(s, state)
		if room -= w; room < 0 {
			break
		}
		b.WriteString(cluster)
	}
	return b.String() + mark
}

// tail cuts a text to width columns, keeping its end: of a file name, the
// directories matter least.
func tail(s string, width int) string {
	excess := columns(s) - width
	if excess <= 0 {
		return s
	}
	mark := ellipsis[:max(0, min(len(ellipsis), width))]
	excess += len(mark)
	state := -1
	for len(s) > 0 && excess > 0 {
		var w int
		_, s, w, state = uniseg.FirstGraphemeClusterInString(s, state)
		excess -= w
	}
	return mark + s
}
