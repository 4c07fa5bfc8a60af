package logstream

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// flushing is a flusher and what it works on, within a synctest bubble.
type flushing struct {
	*flusher
	journal
	t     *testing.T
	moves int             // calls of advanced
	took  []time.Duration // calls of took
}

func newFlushing(t *testing.T) *flushing {
	b := &flushing{t: t}
	b.flusher = newFlusher(at(0), 0, func() {
		b.position() // it must not be called with the lock held
		b.moves++
	}, func(d time.Duration) { b.took = append(b.took, d) })
	return b
}

// at is a short position: LSN n on timeline 1.
func at(n int) Position { return Position{1, LSN(n)} }

func (b *flushing) segment(name string) *fakeSegment {
	return &fakeSegment{journal: &b.journal, name: name}
}

// gated is a segment whose flushes wait until the channel is sent to.
func (b *flushing) gated(name string) *fakeSegment {
	s := b.segment(name)
	s.gate = make(chan struct{})
	return s
}

func (b *flushing) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// standsAt checks the durable position once all is quiet.
func (b *flushing) standsAt(when string, n int) {
	b.t.Helper()
	synctest.Wait()
	if got := b.position(); got != at(n) {
		b.t.Errorf("%s: durable up to %s, want %s", when, got, at(n))
	}
}

func TestDurablePositionMovesWhenAJobIsDoneAndNotBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newFlushing(t)
		one, two, three, four := b.gated("1"), b.gated("2"), b.gated("3"), b.gated("4")
		b.must(b.add(flushJob{flushSeal, one, at(10)}))
		b.must(b.sync(two, at(15)))
		b.must(b.add(flushJob{flushSeal, two, at(20)}))
		b.must(b.add(flushJob{flushLeave, three, at(25)}))
		b.must(b.add(flushJob{kind: flushMove, upTo: at(23)}))
		b.must(b.add(flushJob{flushFinish, four, at(28)}))
		b.standsAt("nothing is done", 0)
		one.gate <- struct{}{}
		b.standsAt("the first is sealed", 10)
		two.gate <- struct{}{}
		b.standsAt("the second is synced", 15)
		two.gate <- struct{}{}
		b.standsAt("the second is sealed", 20)
		three.gate <- struct{}{}
		b.standsAt("the third is left, and the stream moved", 23)
		if b.moves != 5 {
			t.Errorf("advanced was called %d times, want 5", b.moves)
		}
		drained := make(chan error, 1)
		go func() { drained <- b.drain() }()
		synctest.Wait()
		if len(drained) != 0 {
			t.Error("drained with a job under way")
		}
		four.gate <- struct{}{}
		b.must(<-drained)
		b.standsAt("the last is finished", 28)
		b.must(b.drain())
		b.must(b.close())
		b.want(t, "jobs", "seal 1, sync 2, seal 2, leave 3, finish 4")
	})
}

func TestFirstErrorSticksAndLaterJobsOnlyRelease(t *testing.T) {
	t.Parallel()
	for _, kind := range []flushKind{flushSync, flushSeal, flushFinish, flushLeave} {
		synctest.Test(t, func(t *testing.T) {
			b := newFlushing(t)
			bad := b.gated("bad")
			bad.err = errors.New("fsync: input/output error")
			b.must(b.add(flushJob{flushSeal, b.segment("1"), at(10)}))
			b.must(b.add(flushJob{kind, bad, at(20)}))
			worse := b.segment("worse")
			worse.err = errors.New("a later error")
			b.must(b.add(flushJob{flushSeal, worse, at(30)}))
			b.must(b.add(flushJob{flushSync, b.segment("3"), at(35)}))
			b.must(b.add(flushJob{flushFinish, b.segment("3"), at(40)}))
			b.must(b.add(flushJob{kind: flushMove, upTo: at(50)}))
			b.must(b.add(flushJob{flushLeave, b.segment("4"), at(60)}))
			b.standsAt("before the error", 10)
			bad.gate <- struct{}{}
			b.standsAt("after the error", 10)
			for _, err := range []error{
				b.failed(), b.drain(), b.sync(b.segment("5"), at(70)), b.add(flushJob{flushSeal, b.segment("5"), at(70)}), b.close(),
			} {
				var store *StoreError
				if !errors.As(err, &store) || !errors.Is(err, bad.err) {
					t.Errorf("%v, want the first error as a StoreError", err)
				}
			}
			b.standsAt("in the end", 10)
			b.want(t, "jobs", "seal 1, "+[]string{"sync", "seal", "finish", "leave"}[kind]+" bad, leave worse, leave 3, leave 4")
			if len(b.took) != 1 {
				t.Errorf("%d flushes are said to have made something durable, want 1", len(b.took))
			}
			if b.moves != 7 {
				t.Errorf("advanced was called %d times, want 7", b.moves)
			}
		})
	}
}

func TestStreamWaitsForADiskThatIsTooSlow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newFlushing(t)
		slow := b.gated("slow")
		b.must(b.add(flushJob{flushSeal, slow, at(1)}))
		synctest.Wait() // it is under way and waits for nothing in the queue
		for i := range maxFlushJobs {
			b.must(b.add(flushJob{flushSeal, b.segment(fmt.Sprint(i)), at(2 + i)}))
		}
		added := make(chan error, 1)
		go func() { added <- b.add(flushJob{flushSeal, b.segment("last"), at(100)}) }()
		synctest.Wait()
		if len(added) != 0 {
			t.Fatalf("more than %d jobs wait", maxFlushJobs)
		}
		slow.gate <- struct{}{}
		b.must(<-added)
		b.must(b.drain())
		b.standsAt("all is done", 100)
		b.must(b.close())
	})
}

func TestFailureFreesAStreamThatWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newFlushing(t)
		bad, held := b.gated("bad"), b.gated("held")
		bad.err = errors.New("no")
		b.must(b.add(flushJob{flushSeal, bad, at(1)}))
		synctest.Wait()
		for range maxFlushJobs {
			b.must(b.add(flushJob{flushSeal, held, at(2)}))
		}
		added := make(chan error, 1)
		go func() { added <- b.add(flushJob{flushSeal, held, at(3)}) }()
		bad.gate <- struct{}{}
		if err := <-added; !errors.Is(err, bad.err) {
			t.Errorf("%v, want the error of the disk", err)
		}
		close(held.gate)
		if err := b.close(); !errors.Is(err, bad.err) {
			t.Error(err)
		}
	})
}

func TestSyncsThatWaitBehindEachOtherBecomeOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newFlushing(t)
		open, next := b.gated("open"), b.gated("next")
		for i := range 100 { // the first is under way, the others wait
			b.must(b.sync(open, at(1+i)))
			synctest.Wait()
		}
		open.gate <- struct{}{}
		b.standsAt("the first sync", 1)
		open.gate <- struct{}{}
		b.standsAt("the second sync, for all the others", 100)
		// A sync behind the seal of another segment is one of its own.
		b.must(b.sync(open, at(101)))
		synctest.Wait()
		b.must(b.sync(open, at(102)))
		b.must(b.add(flushJob{flushSeal, open, at(110)}))
		b.must(b.sync(next, at(111)))
		close(open.gate)
		b.standsAt("the seal", 110)
		close(next.gate)
		b.must(b.close())
		b.standsAt("the end", 111)
		b.want(t, "jobs", "sync open, sync open, sync open, sync open, seal open, sync next")
	})
}

func TestCloseDoesWhatIsQueued(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newFlushing(t)
		one := b.segment("1")
		one.takes = 3 * time.Second
		b.must(b.add(flushJob{flushSeal, one, at(1)}))
		b.must(b.add(flushJob{kind: flushMove, upTo: at(1)}))
		b.must(b.add(flushJob{flushLeave, b.segment("2"), at(2)}))
		b.must(b.close())
		b.standsAt("closed", 2)
		b.want(t, "jobs", "seal 1, leave 2")
		if fmt.Sprint(b.took) != "[3s 0s]" {
			t.Errorf("took %v, want 3s and 0s", b.took)
		}
	})
}

func TestFlusherWithNothingToDoCloses(t *testing.T) {
	t.Parallel()
	f := newFlusher(at(5), 0, func() { t.Error("advanced is called for nothing") }, nil)
	if err := f.drain(); err != nil {
		t.Error(err)
	}
	if err := f.close(); err != nil || f.position() != at(5) {
		t.Errorf("%v, at %s", err, f.position())
	}
}
