// Package storetest tests that a logstream.Store keeps what that interface
// promises to the Receiver. Each Store's own tests call Run.
package storetest

import (
	"bytes"
	"sync"
	"testing"

	"github.com/pgbraid/pgbraid/logstream"
)

// SegmentSize is that of the segments which the tests write.
const SegmentSize = logstream.MinSegmentSize

// Opened is a Store under test and the way to look into it.
type Opened struct {
	// Store keeps segments of SegmentSize bytes.
	Store logstream.Store

	// Reopen makes another Store of the same place, as a new process would.
	Reopen func() logstream.Store

	// Read returns a segment, decompressed, and whether it is sealed: there
	// under its last name. ok is false where there is none. It must look at
	// what is kept, not at what the Store has in memory.
	Read func(t logstream.TimelineID, n logstream.SegmentNumber) (content []byte, sealed, ok bool)

	// ReadHistory returns a history file, nil where there is none.
	ReadHistory func(t logstream.TimelineID) []byte

	// FinishSeals says that Finish and Leave give a segment its last name.
	FinishSeals bool
}

// Run tests the Store that open makes, an empty one for each test.
func Run(t *testing.T, open func(t *testing.T) Opened) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, o Opened)
	}{
		{"sealed segment is whole and sealed", sealed},
		{"synced segment is readable and not sealed", synced},
		{"left segment is partial and goes on after reopening", left},
		{"finished segment", finished},
		{"partial segment is not emptied by opening", notEmptied},
		{"segments of two timelines are two", timelines},
		{"segments of one number written anew are replaced when sealed", again},
		{"next segment is written while the one before is sealed", beside},
		{"writing goes on while a sync runs", writeDuringSync},
		{"bytes written are not kept by reference", notKept},
		{"history is kept and found", history},
		{"history is replaced as a whole", historyAgain},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

// pattern is a segment's content.
func pattern(seed byte) []byte {
	p := make([]byte, SegmentSize)
	for i := range p {
		p[i] = byte(i>>8) ^ byte(i)*31 ^ seed
	}
	return p
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openSegment(t *testing.T, s logstream.Store, timeline logstream.TimelineID, n logstream.SegmentNumber) logstream.Segment {
	t.Helper()
	segment, err := s.OpenSegment(timeline, n)
	must(t, err)
	return segment
}

func write(t *testing.T, s logstream.Segment, p []byte, offset int64) {
	t.Helper()
	n, err := s.WriteAt(p, offset)
	if err != nil || n != len(p) {
		t.Fatalf("WriteAt(%d bytes, %d) = %d, %v", len(p), offset, n, err)
	}
}

// fill writes a whole segment in pieces.
func fill(t *testing.T, s logstream.Segment, p []byte) {
	t.Helper()
	for offset := 0; offset < len(p); {
		n := min(40960, len(p)-offset)
		write(t, s, p[offset:offset+n], int64(offset))
		offset += n
	}
	s.Full()
}

func (o Opened) expect(t *testing.T, timeline logstream.TimelineID, n logstream.SegmentNumber, want []byte, sealed bool) {
	t.Helper()
	got, isSealed, ok := o.Read(timeline, n)
	switch {
	case !ok:
		t.Errorf("segment %d of timeline %d is not there", n, timeline)
	case isSealed != sealed:
		t.Errorf("segment %d of timeline %d: sealed %v, want %v", n, timeline, isSealed, sealed)
	case len(got) < len(want) || !bytes.Equal(got[:len(want)], want):
		t.Errorf("segment %d of timeline %d: %d bytes, not what was written", n, timeline, len(got))
	case sealed && len(got) != int(SegmentSize):
		t.Errorf("segment %d of timeline %d has %d bytes, want %d", n, timeline, len(got), SegmentSize)
	}
}

func sealed(t *testing.T, o Opened) {
	for n := range logstream.SegmentNumber(3) {
		s := openSegment(t, o.Store, 1, 1+n)
		fill(t, s, pattern(byte(n)))
		must(t, s.Seal())
	}
	for n := range logstream.SegmentNumber(3) {
		o.expect(t, 1, 1+n, pattern(byte(n)), true)
	}
	if _, _, ok := o.Read(1, 4); ok {
		t.Error("a segment is there that was never opened")
	}
}

func synced(t *testing.T, o Opened) {
	p := pattern(1)
	s := openSegment(t, o.Store, 1, 1)
	must(t, s.Sync()) // nothing is written yet
	write(t, s, p[:5000], 0)
	must(t, s.Sync())
	o.expect(t, 1, 1, p[:5000], false)
	write(t, s, p[5000:6000], 5000)
	must(t, s.Sync())
	must(t, s.Sync())
	o.expect(t, 1, 1, p[:6000], false)
	must(t, s.Leave())
}

func left(t *testing.T, o Opened) {
	p := pattern(2)
	s := openSegment(t, o.Store, 1, 1)
	write(t, s, p[:5000], 0)
	must(t, s.Leave())
	if !o.FinishSeals {
		o.expect(t, 1, 1, p[:5000], false)
	}
	o.Store = o.Reopen()
	s = openSegment(t, o.Store, 1, 1)
	fill(t, s, p)
	must(t, s.Seal())
	o.expect(t, 1, 1, p, true)
}

func finished(t *testing.T, o Opened) {
	p := pattern(3)
	s := openSegment(t, o.Store, 1, 1)
	write(t, s, p[:5000], 0)
	must(t, s.Finish())
	o.expect(t, 1, 1, p[:5000], o.FinishSeals)
}

func notEmptied(t *testing.T, o Opened) {
	if o.FinishSeals {
		t.Skip("no segment that was left is partial")
	}
	p := pattern(4)
	s := openSegment(t, o.Store, 1, 1)
	write(t, s, p[:9000], 0)
	must(t, s.Sync())
	must(t, s.Leave())
	o.Store = o.Reopen()
	s = openSegment(t, o.Store, 1, 1)
	write(t, s, p[:100], 0)
	must(t, s.Sync())
	o.expect(t, 1, 1, p[:9000], false)
	must(t, s.Leave())
}

func timelines(t *testing.T, o Opened) {
	a, b := openSegment(t, o.Store, 1, 7), openSegment(t, o.Store, 2, 7)
	write(t, a, pattern(5)[:1000], 0)
	fill(t, b, pattern(6))
	must(t, b.Seal())
	must(t, a.Leave())
	o.expect(t, 2, 7, pattern(6), true)
	if !o.FinishSeals {
		o.expect(t, 1, 7, pattern(5)[:1000], false)
	}
}

func again(t *testing.T, o Opened) {
	for seed := range byte(2) {
		s := openSegment(t, o.Store, 1, 1)
		fill(t, s, pattern(seed))
		must(t, s.Seal())
		o.expect(t, 1, 1, pattern(seed), true)
		o.Store = o.Reopen()
	}
}

func beside(t *testing.T, o Opened) {
	const segments = 6
	var sealing sync.WaitGroup
	failed := make([]error, segments)
	before := make(chan struct{})
	close(before)
	for n := range segments {
		s := openSegment(t, o.Store, 1, logstream.SegmentNumber(1+n))
		fill(t, s, pattern(byte(n)))
		after, done := before, make(chan struct{})
		before = done
		sealing.Go(func() { // in order, as the Receiver does
			<-after
			failed[n] = s.Seal()
			close(done)
		})
	}
	sealing.Wait()
	for n := range segments {
		must(t, failed[n])
		o.expect(t, 1, logstream.SegmentNumber(1+n), pattern(byte(n)), true)
	}
}

func writeDuringSync(t *testing.T, o Opened) {
	p := pattern(8)
	s := openSegment(t, o.Store, 1, 1)
	stop := make(chan struct{})
	var syncing sync.WaitGroup
	var failed error
	syncing.Go(func() {
		for failed == nil {
			failed = s.Sync()
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	for offset := 0; offset < len(p); offset += 4096 {
		write(t, s, p[offset:offset+4096], int64(offset))
	}
	close(stop)
	syncing.Wait()
	must(t, failed)
	s.Full()
	must(t, s.Seal())
	o.expect(t, 1, 1, p, true)
}

func notKept(t *testing.T, o Opened) {
	p := pattern(9)
	buf := make([]byte, 8192)
	s := openSegment(t, o.Store, 1, 1)
	for offset := 0; offset < len(p); offset += len(buf) {
		copy(buf, p[offset:])
		write(t, s, buf, int64(offset))
		clear(buf)
	}
	s.Full()
	must(t, s.Seal())
	o.expect(t, 1, 1, p, true)
}

func history(t *testing.T, o Opened) {
	expect := func(timeline logstream.TimelineID, want bool) {
		t.Helper()
		if have, err := o.Store.HasHistory(timeline); err != nil || have != want {
			t.Errorf("HasHistory(%d) = %v, %v, want %v", timeline, have, err, want)
		}
	}
	expect(2, false)
	content := []byte("1\t0/2000000\tno recovery target specified\n")
	must(t, o.Store.WriteHistory(2, content))
	expect(2, true)
	expect(3, false)
	o.Store = o.Reopen()
	expect(2, true)
	if got := o.ReadHistory(2); !bytes.Equal(got, content) {
		t.Errorf("history is %q, want %q", got, content)
	}
}

func historyAgain(t *testing.T, o Opened) {
	for _, content := range []string{"1\t0/2000000\ta long reason\n", "1\t0/2000000\n"} {
		must(t, o.Store.WriteHistory(2, []byte(content)))
		if got := o.ReadHistory(2); string(got) != content {
			t.Errorf("history is %q, want %q", got, content)
		}
	}
}
