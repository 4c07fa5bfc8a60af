package walsender

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

const start = LSN(0x2000000)

// endAt sends CopyDone when the WAL up to l has come.
func (w *wire) endAt(l LSN) func(pgproto3.BackendMessage) {
	got := LSN(0)
	return func(m pgproto3.BackendMessage) {
		if d, ok := m.(*pgproto3.CopyData); ok && d.Data[0] == 'w' {
			if got += LSN(len(d.Data) - 25); start+got == l {
				w.send(&pgproto3.CopyDone{})
			}
		}
	}
}

const streamEnd = "c C:START_STREAMING C:START_REPLICATION Z"

func TestStreamUntilTheClientEndsIt(t *testing.T) {
	t.Parallel()
	s := New(t, Options{})
	wal := NewWAL(start, start+300_000)
	wal.KeepaliveEvery = 2
	s.ServeWAL(wal)
	s.AddSlot("x", Slot{})
	w := hijack(t, s)
	w.query(`START_REPLICATION SLOT "x" 0/2000000 TIMELINE 1`)
	end := w.endAt(start + 300_000)
	r := w.read(func(m pgproto3.BackendMessage) {
		if brief(m) == "W" {
			w.report(start+5, start+3)
			s.WaitFeedback(func(f Feedback) bool { return f.Written == start+5 && f.Flushed == start+3 && f.Conn == 1 })
		}
		end(m)
	})
	if got := strings.Join(r.messages, " "); got != "W "+streamEnd {
		t.Errorf("got %s", got)
	}
	if got := r.wal(t, start); !bytes.Equal(got, wal.Bytes(1, start, start+300_000)) {
		t.Errorf("%d bytes of WAL differ", len(got))
	}
	sizes := []int{}
	for _, d := range r.data {
		sizes = append(sizes, len(d))
	}
	if !slices.Equal(sizes, []int{131097, 131097, 18, 37881}) {
		t.Errorf("messages have %d bytes", sizes)
	}
	if got := s.Slots()["x"]; got.RestartLSN != start+3 || got.active != 0 {
		t.Errorf("slot is %+v", got)
	}
	if end := wal.End(); end.LSN != start+300_000 {
		t.Errorf("end is %v", end)
	}
}

func TestContentDependsOnLSNAndTimelineOnly(t *testing.T) {
	t.Parallel()
	wal := NewWAL(0, 0x5000)
	wal.Promote(0x1803, 2, 0x9000)
	a := wal.Bytes(2, 0, 0x3000)
	if !bytes.Equal(a[0x17f1:0x2005], wal.Bytes(2, 0x17f1, 0x2005)) {
		t.Error("a part differs from the whole")
	}
	if old := wal.Bytes(1, 0, 0x3000); !bytes.Equal(a[:0x1803], old[:0x1803]) || bytes.Equal(a[0x1803:0x180b], old[0x1803:0x180b]) {
		t.Error("the fork is not where it should be")
	}
	seg := wal.Segment(1, 0x1000, 0x2000)
	if !bytes.Equal(seg[:0x1803], a[:0x1803]) || bytes.Count(seg[0x1803:], []byte{0}) != 0x2000-0x1803 {
		t.Error("segment is not zero behind the end")
	}
}

func TestTimelineEnds(t *testing.T) {
	t.Parallel()
	fork := start + 0x12345
	row := "T D:2:" + fork.String() + " C:START_STREAMING C:START_REPLICATION Z"
	setup := func(t *testing.T) (*Server, *WAL) {
		s := New(t, Options{})
		wal := NewWAL(start, start+0x20000)
		wal.Overrun = 100
		s.ServeWAL(wal)
		return s, wal
	}
	answerDone := func(w *wire) func(pgproto3.BackendMessage) {
		return func(m pgproto3.BackendMessage) {
			if _, ok := m.(*pgproto3.CopyDone); ok {
				w.send(&pgproto3.CopyDone{})
			}
		}
	}
	t.Run("behind WAL", func(t *testing.T) {
		t.Parallel()
		s, wal := setup(t)
		wal.Promote(fork, 2, start+0x30000)
		w := hijack(t, s)
		w.query("START_REPLICATION 0/2000000 TIMELINE 1")
		r := w.read(answerDone(w))
		if got := strings.Join(r.messages, " "); got != "W c "+row {
			t.Errorf("got %s", got)
		}
		if got := r.wal(t, start); len(got) != 0x12345+100 {
			t.Errorf("%d bytes", len(got))
		}
		h, err := query(t, connect(t, s), "TIMELINE_HISTORY 2")
		if err != nil || h[0] != "00000002.history" || h[1] != "1\t0/2012345\tno recovery target specified\n" {
			t.Errorf("history is %q, %v", h, err)
		}
		if id, err := query(t, connect(t, s), "IDENTIFY_SYSTEM"); err != nil || id[1] != "2" || id[2] != "0/2030000" {
			t.Errorf("system is %q, %v", id, err)
		}
	})
	t.Run("without W", func(t *testing.T) {
		t.Parallel()
		s, wal := setup(t)
		wal.Promote(fork, 2, start+0x30000)
		w := hijack(t, s)
		w.query("START_REPLICATION " + fork.String() + " TIMELINE 1")
		if got := strings.Join(w.read(nil).messages, " "); got != row {
			t.Errorf("got %s", got)
		}
		w.query("START_REPLICATION 0/2020000 TIMELINE 1")
		if got := strings.Join(w.read(nil).messages, " "); got != "E:XX000 Z" {
			t.Errorf("start behind the fork: got %s", got)
		}
		w.query("START_REPLICATION 0/2020000 TIMELINE 7")
		if got := strings.Join(w.read(nil).messages, " "); got != "E:XX000 Z" {
			t.Errorf("unknown timeline: got %s", got)
		}
	})
	t.Run("while streaming", func(t *testing.T) {
		t.Parallel()
		s, wal := setup(t)
		w := hijack(t, s)
		w.query("START_REPLICATION 0/2000000 TIMELINE 1")
		wal.At(start+0x20000, func(*Conn) error {
			wal.Promote(fork, 2, start+0x30000)
			return nil
		})
		if got := strings.Join(w.read(answerDone(w)).messages, " "); got != "W c "+row {
			t.Errorf("got %s", got)
		}
	})
}

func TestControlledShutdownWaitsForTheReport(t *testing.T) {
	t.Parallel()
	s := New(t, Options{})
	wal := NewWAL(start, start+0x20000)
	wal.At(start+0x20000, ControlledShutdown)
	s.ServeWAL(wal)
	w := hijack(t, s)
	w.query("START_REPLICATION 0/2000000 TIMELINE 1")
	pings := 0
	r := w.read(func(m pgproto3.BackendMessage) {
		if d, ok := m.(*pgproto3.CopyData); ok && d.Data[0] == 'k' {
			if d.Data[17] != 1 {
				t.Error("no reply is requested")
			}
			if pings++; pings < 3 {
				w.report(start+0x20000, start+1)
			} else {
				w.report(start+0x20000, 0)
			}
		}
	})
	if got := strings.Join(r.messages, " "); got != "W C:COPY 0" || !isEnd(r.err) || pings < 3 {
		t.Errorf("got %s, %v after %d pings", got, r.err, pings)
	}
}

func TestStreamFaults(t *testing.T) {
	t.Parallel()
	at := start + 0x15001
	for name, test := range map[string]struct {
		prepare func(*WAL)
		begin   string
		want    string
		bytes   int
	}{
		"error behind WAL": {func(w *WAL) { w.At(at, Failing("XX000", "broken")) }, "0/2000000", "W E:XX000 Z", 0x15001},
		"error behind W":   {func(w *WAL) { w.At(start, Failing("XX000", "broken")) }, "0/2000000", "W E:XX000 Z", 0},
		"cut":              {func(w *WAL) { w.At(at, Cut) }, "0/2000000", "W", 0x15001},
		"removed":          {func(w *WAL) { w.Remove(0x3000000) }, "0/2000000", "W E:58P01 Z", 0},
		"removed later": {func(w *WAL) {
			w.At(at, func(*Conn) error { w.Remove(0x3000000); return nil })
		}, "0/2000000", "W E:58P01 Z", 0x15001},
		"ahead": {func(*WAL) {}, "0/2020001", "W E:XX000 Z", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := New(t, Options{})
			wal := NewWAL(start, start+0x20000)
			test.prepare(wal)
			s.ServeWAL(wal)
			w := hijack(t, s)
			w.query("START_REPLICATION " + test.begin + " TIMELINE 1")
			var message string
			r := w.read(func(m pgproto3.BackendMessage) {
				if e, ok := m.(*pgproto3.ErrorResponse); ok {
					message = e.Message
				}
			})
			if got := strings.Join(r.messages, " "); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			if got := r.wal(t, start); len(got) != test.bytes {
				t.Errorf("%#x bytes, want %#x", len(got), test.bytes)
			}
			if strings.Contains(test.want, "58P01") && message != "requested WAL segment 000000010000000000000002 has already been removed" {
				t.Errorf("message is %q", message)
			}
		})
	}
}

func TestNewWALReachesAWaitingClient(t *testing.T) {
	t.Parallel()
	s := New(t, Options{})
	wal := NewWAL(start, start)
	wal.KeepaliveIdle, wal.ReplyRequested = 5*time.Millisecond, true
	s.ServeWAL(wal)
	w := hijack(t, s)
	w.query("START_REPLICATION 0/2000000")
	keepalives, end := 0, w.endAt(start+0x1234)
	r := w.read(func(m pgproto3.BackendMessage) {
		end(m)
		if d, ok := m.(*pgproto3.CopyData); ok && d.Data[0] == 'k' {
			if keepalives++; keepalives == 2 {
				wal.Advance(start + 0x1234)
			}
		}
	})
	if got := r.wal(t, start); !bytes.Equal(got, wal.Bytes(1, start, start+0x1234)) {
		t.Errorf("%d bytes differ", len(got))
	}
}

func TestSlotInUseOrAbsentIsRefused(t *testing.T) {
	t.Parallel()
	s := New(t, Options{})
	s.ServeWAL(NewWAL(start, start))
	s.AddSlot("x", Slot{})
	w := hijack(t, s)
	w.query(`START_REPLICATION SLOT "x" 0/2000000 TIMELINE 1`)
	if m, err := w.fe.Receive(); err != nil || brief(m) != "W" {
		t.Fatal(m, err)
	}
	c := connect(t, s)
	for text, state := range map[string]string{
		`START_REPLICATION SLOT "x" 0/2000000 TIMELINE 1`: "55006",
		`START_REPLICATION SLOT "y" 0/2000000 TIMELINE 1`: "42704",
		`DROP_REPLICATION_SLOT "x"`:                       "55006",
	} {
		_, err := query(t, c, text)
		wantState(t, err, state)
	}
}
