package progress

import (
	"math"
	"strings"
	"testing"
	"time"
	"unicode"
)

func TestBytesHasThreeDigitsAndPostgreSQLUnits(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{
		0:                      "0 B",
		1023:                   "1023 B",
		1024:                   "1.00 kB",
		-2048:                  "-2.00 kB",
		10234:                  "9.99 kB",
		10236:                  "10.0 kB",
		102399:                 "100 kB",
		1<<20 - 1:              "1.00 MB",
		1023 << 20:             "1023 MB",
		1<<30 - 1:              "1.00 GB",
		1750000000:             "1.63 GB",
		3 << 40:                "3.00 TB",
		math.MaxInt64:          "8.00 EB",
		math.MinInt64:          "-8.00 EB",
		1023<<20 + 600*(1<<10): "1.00 GB",
	} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestDurationHasTwoUnitsAtMost(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Minute:                     "0s",
		999 * time.Millisecond:           "0s",
		59 * time.Second:                 "59s",
		252 * time.Second:                "4m12s",
		2*time.Hour + 3*time.Minute + 59: "2h03m",
		76 * time.Hour:                   "3d04h",
	} {
		if got := Duration(d); got != want {
			t.Errorf("Duration(%d) = %q, want %q", d, got, want)
		}
	}
}

func TestSanitizeLeavesNothingThatMovesACursor(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"base/5/16384":      "base/5/16384",
		"größe/表":           "größe/表",
		`back\slash`:        `back\slash`,
		"a\x1b[2Jb\r\n\t":   `a\x1b[2Jb\x0d\x0a\x09`,
		"\x7f\u009b31m":     `\x7f\u009b31m`,
		"a\u202egnp.exe":    `a\u202egnp.exe`,
		"x\u2066y\u200fz":   `x\u2066y\u200fz`,
		"l\u2028m\u200bn":   `l\u2028m\u200bn`,
		"\xff\xc3(\xe2\x82": `\xff\xc3(\xe2\x82`,
		"\U000e0041":        `\U000e0041`,
		"\ufffd":            "\ufffd",
	} {
		if got := Sanitize(in); got != want {
			t.Errorf("Sanitize(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzSanitize(f *testing.F) {
	f.Add("base/5\x1b[2J\xff\u202e")
	f.Fuzz(func(t *testing.T, s string) {
		got := Sanitize(s)
		if i := strings.IndexFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("Sanitize(%q) = %q", s, got)
		}
		if Sanitize(got) != got {
			t.Errorf("Sanitize(%q) is not stable", s)
		}
		for width := range 12 {
			if w := columns(tail(got, width)); w > width {
				t.Errorf("tail(%q, %d) has %d columns", got, width, w)
			}
			if w := columns(head(got, width)); w > width {
				t.Errorf("head(%q, %d) has %d columns", got, width, w)
			}
		}
	})
}

func TestCutTextKeepsTheAskedEnd(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ got, want string }{
		{tail("base/16384/2619", 12), "...6384/2619"},
		{tail("base/5", 12), "base/5"},
		{tail("表表表表", 6), "...表"},
		{tail("abcdef", 2), ".."},
		{tail("abcdef", 0), ""},
		{head("waiting for checkpoint", 10), "waiting..."},
		{head("表表表表", 6), "表..."},
		{head("abc", 3), "abc"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}
