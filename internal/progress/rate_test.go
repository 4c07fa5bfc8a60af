package progress

import (
	"testing"
	"time"
)

func TestRateFollowsTheRecentWindowOnly(t *testing.T) {
	t.Parallel()
	var m meter
	at := time.Unix(1000, 0)
	done := int64(0)
	run := func(seconds int, perSecond int64) {
		for range seconds * 5 {
			at = at.Add(200 * time.Millisecond)
			done += perSecond / 5
			m.add(at, done)
		}
	}
	m.add(at, 0)
	if _, ok := m.rate(); ok {
		t.Error("a rate from one sample")
	}
	run(60, 1000)
	run(12, 5000)
	if r, ok := m.rate(); !ok || r != 5000 {
		t.Errorf("rate = %v, %v, want 5000", r, ok)
	}
	if left, ok := m.left(10000); !ok || left != 2*time.Second {
		t.Errorf("left = %v, %v, want 2s", left, ok)
	}
	run(12, 0)
	if r, ok := m.rate(); !ok || r != 0 {
		t.Errorf("rate in a stall = %v, %v, want 0", r, ok)
	}
	if left, ok := m.left(10000); ok {
		t.Errorf("time left in a stall = %v", left)
	}
	if n := len(m.samples); n > 64 {
		t.Errorf("%d samples are kept", n)
	}
	m.add(at.Add(time.Second), 5)
	if _, ok := m.rate(); ok {
		t.Error("a rate across a count that went back")
	}
}

func TestAnAbsurdTimeLeftIsNotShown(t *testing.T) {
	t.Parallel()
	var m meter
	at := time.Unix(1000, 0)
	m.add(at, 0)
	m.add(at.Add(2*time.Second), 1)
	if left, ok := m.left(1 << 62); ok {
		t.Errorf("left = %v", left)
	}
}

func TestPercentReachesAHundredOnlyAtTheEnd(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		done, total int64
		want        int
	}{
		{0, 0, 0}, {5, 0, 0}, {0, 10, 0}, {-3, 10, 0}, {5, 10, 50}, {999, 1000, 99},
		{1<<62 - 1, 1 << 62, 99}, {10, 10, 100}, {15, 10, 100},
	} {
		s := Snapshot{Done: c.done, Total: c.total}
		if got := s.percent(); got != c.want {
			t.Errorf("%d of %d: %d%%, want %d%%", c.done, c.total, got, c.want)
		}
	}
}
