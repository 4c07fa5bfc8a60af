package logstream

import (
	"testing"
	"time"
)

// The grammar of slots changed with release 15.
func TestCreateSlotCommand(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		version            int
		temporary, reserve bool
		want               string
	}{
		{100023, false, false, `CREATE_REPLICATION_SLOT "s" PHYSICAL`},
		{100023, true, false, `CREATE_REPLICATION_SLOT "s" TEMPORARY PHYSICAL`},
		{100023, false, true, `CREATE_REPLICATION_SLOT "s" PHYSICAL RESERVE_WAL`},
		{100023, true, true, `CREATE_REPLICATION_SLOT "s" TEMPORARY PHYSICAL RESERVE_WAL`},
		{140019, false, false, `CREATE_REPLICATION_SLOT "s" PHYSICAL`},
		{140019, true, false, `CREATE_REPLICATION_SLOT "s" TEMPORARY PHYSICAL`},
		{140019, false, true, `CREATE_REPLICATION_SLOT "s" PHYSICAL RESERVE_WAL`},
		{140019, true, true, `CREATE_REPLICATION_SLOT "s" TEMPORARY PHYSICAL RESERVE_WAL`},
		{150000, false, false, `CREATE_REPLICATION_SLOT "s" PHYSICAL`},
		{150000, true, false, `CREATE_REPLICATION_SLOT "s" TEMPORARY PHYSICAL`},
		{150000, false, true, `CREATE_REPLICATION_SLOT "s" PHYSICAL (RESERVE_WAL)`},
		{150000, true, true, `CREATE_REPLICATION_SLOT "s" TEMPORARY PHYSICAL (RESERVE_WAL)`},
		{180001, false, false, `CREATE_REPLICATION_SLOT "s" PHYSICAL`},
		{180001, true, false, `CREATE_REPLICATION_SLOT "s" TEMPORARY PHYSICAL`},
		{180001, false, true, `CREATE_REPLICATION_SLOT "s" PHYSICAL (RESERVE_WAL)`},
		{180001, true, true, `CREATE_REPLICATION_SLOT "s" TEMPORARY PHYSICAL (RESERVE_WAL)`},
	} {
		if got := createSlotCommand(test.version, "s", test.temporary, test.reserve); got != test.want {
			t.Errorf("%d: %s, want %s", test.version, got, test.want)
		}
	}
	if got := createSlotCommand(180000, `a"b`, false, false); got != `CREATE_REPLICATION_SLOT "a""b" PHYSICAL` {
		t.Error(got)
	}
}

func TestParseInterval(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"60s": time.Minute, "1min": time.Minute, "500ms": 500 * time.Millisecond, "1ms": time.Millisecond,
		"90s": 90 * time.Second, "10min": 10 * time.Minute, "1h": time.Hour, "2d": 48 * time.Hour,
		"0": 0, "": 0, "s": 0, "ms": 0, "min": 0, "60": 0, "garbage": 0, "1 min": 0, "1.5s": 0, "sixtys": 0, "1mins": 0,
	} {
		if got := parseInterval(text); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestPauseDoublesToItsCapLessAtMostAQuarter(t *testing.T) {
	t.Parallel()
	most := 100 * time.Millisecond
	for tries := range 70 {
		var shortest, longest time.Duration = time.Hour, 0
		for range 500 {
			d := pause(tries)
			shortest, longest = min(shortest, d), max(longest, d)
		}
		if longest > most || shortest <= most-most/4 {
			t.Fatalf("try %d: from %s to %s, want at most a quarter less than %s", tries, shortest, longest, most)
		}
		// Of 500 the least is in the lower half of what is allowed, and the
		// greatest in the upper, or chance has no part.
		if middle := most - most/8; shortest > middle || longest < middle {
			t.Errorf("try %d: from %s to %s does not spread about %s", tries, shortest, longest, middle)
		}
		most = min(2*most, 30*time.Second)
	}
}
