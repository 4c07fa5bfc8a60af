package logstream

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseHistory(t *testing.T) {
	t.Parallel()
	// The second line is one of recovery to a restore point, the third as
	// release 19 prints LSNs.
	h, err := ParseHistory([]byte("1\t0/3000158\tno recovery target specified\n" +
		"\n  # a comment\n#\n" +
		"2\t0/5000000\tbefore  \"point\"\tat noon\r\n" +
		"7 1/00000000\n" +
		"9\t1/0"))
	if err != nil {
		t.Fatal(err)
	}
	want := History{
		{1, 0x3000158, "no recovery target specified"},
		{2, 0x5000000, `before "point" at noon`},
		{7, 1 << 32, ""},
		{9, 1 << 32, ""},
	}
	if fmt.Sprint(h) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", h, want)
	}
	for timeline, fork := range map[TimelineID]LSN{1: 0x3000158, 2: 0x5000000, 9: 1 << 32} {
		if l, ok := h.SwitchPoint(timeline); l != fork || !ok {
			t.Errorf("timeline %d was left at %s, %t", timeline, l, ok)
		}
	}
	for _, timeline := range []TimelineID{0, 3, 10} {
		if l, ok := h.SwitchPoint(timeline); ok {
			t.Errorf("timeline %d was left at %s", timeline, l)
		}
	}
	for timeline, next := range map[TimelineID]TimelineID{1: 2, 2: 7, 7: 9, 9: 12, 5: 12} {
		if got := h.After(timeline, 12); got != next {
			t.Errorf("%d follows %d, want %d", got, timeline, next)
		}
	}
	for _, empty := range []string{"", "\n\n", "# nothing\n"} {
		if h, err := ParseHistory([]byte(empty)); len(h) != 0 || err != nil {
			t.Errorf("%q: %v, %v", empty, h, err)
		}
	}
}

func TestParseHistoryRefuses(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]string{
		"1":                        "line 1",
		"1\t0/1\n2":                "line 2",
		"x 0/1":                    "line 1",
		"0 0/1":                    "timeline 0",
		"-1 0/1":                   "line 1",
		"1 1":                      "LSN",
		"1 0/0x1":                  "LSN",
		"1 0/1\n1 0/2":             "line 2: out of order",
		"2 0/1\n1 0/2":             "line 2: out of order",
		"4294967296 0/1":           "line 1",
		strings.Repeat("#", 5<<20): "too many",
	} {
		if h, err := ParseHistory([]byte(content)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, %v, want an error with %q", content, h, err, want)
		}
	}
}

// FuzzParseHistory: what is taken is in order, and its text is taken again for
// the same.
func FuzzParseHistory(f *testing.F) {
	f.Add([]byte("1\t0/3000158\tno recovery target specified\n2\t0/5000000\tx y\n"))
	f.Add([]byte("# c\n\n3 0/1\r\n"))
	f.Add([]byte("1 0/2\n2 0/1\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		h, err := ParseHistory(content)
		if err != nil {
			if h != nil {
				t.Fatalf("%v with %v", h, err)
			}
			return
		}
		var again strings.Builder
		for i, e := range h {
			if e.Timeline == 0 || i > 0 && e.Timeline <= h[i-1].Timeline {
				t.Fatalf("out of order: %v", h)
			}
			if l, ok := h.SwitchPoint(e.Timeline); l != e.Switch || !ok {
				t.Fatalf("%v: %s, %t", e, l, ok)
			}
			if next := h.After(e.Timeline, 1<<32-1); next <= e.Timeline && e.Timeline != 1<<32-1 {
				t.Fatalf("%d follows %d", next, e.Timeline)
			}
			fmt.Fprintf(&again, "%d\t%s\t%s\n", e.Timeline, e.Switch, e.Reason)
		}
		if back, err := ParseHistory([]byte(again.String())); err != nil || fmt.Sprint(back) != fmt.Sprint(h) {
			t.Fatalf("%q: %v, %v, want %v", again.String(), back, err, h)
		}
	})
}
