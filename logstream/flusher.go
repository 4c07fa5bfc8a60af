package logstream

import (
	"sync"
	"time"
)

// flusher makes WAL durable beside the stream: it seals full segments and
// syncs the open one when asked to, in the order of the log, in one goroutine
// of its own. After its first error it does nothing more: what was to become
// durable then is not, and the durable position stays where it was.
type flusher struct {
	mu      sync.Mutex
	changed sync.Cond // jobs, busy, err or closed changed
	jobs    []flushJob
	busy    bool
	since   time.Time // when what busy says began
	current Segment   // that it is about
	closed  bool
	err     error
	durable Position
	sealed  int          // segments
	packs   []latePacker // sealed, and to be compressed
	packing bool         // there is a goroutine that does

	// advanced is called, without the lock, after the durable position moved
	// or a job failed.
	advanced func()
	// took, if set, is called with the time that each job took which made
	// something durable.
	took func(time.Duration)
	done chan struct{}
}

type flushKind int

const (
	flushSync   flushKind = iota // the open segment, which stays open
	flushSeal                    // a full segment
	flushFinish                  // the last segment, at the stop position
	flushLeave                   // a segment that stays partial
	flushMove                    // no segment: the stream goes on elsewhere
)

type flushJob struct {
	kind    flushKind
	segment Segment
	upTo    Position // what is durable once the job is done
}

// maxFlushJobs is how many jobs may wait before the stream does: a disk that
// is slower than the network must not gather open files without end.
const maxFlushJobs = 16

func newFlusher(start Position, sealed int, advanced func(), took func(time.Duration)) *flusher {
	f := &flusher{durable: start, sealed: sealed, advanced: advanced, took: took, done: make(chan struct{})}
	f.changed.L = &f.mu
	go f.run()
	return f
}

// add queues a job. It waits while too many are queued. The error is that of
// an earlier job; the segment is left as it is then.
func (f *flusher) add(job flushJob) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.jobs) >= maxFlushJobs && f.err == nil {
		f.changed.Wait()
	}
	if f.err != nil {
		return f.err
	}
	f.jobs = append(f.jobs, job)
	f.changed.Broadcast()
	return nil
}

// sync asks for the open segment to be synced up to a position. Requests that
// wait behind each other become one.
func (f *flusher) sync(segment Segment, upTo Position) error {
	f.mu.Lock()
	if n := len(f.jobs); n > 0 && f.jobs[n-1].kind == flushSync {
		f.jobs[n-1].upTo = upTo
		defer f.mu.Unlock()
		return f.err
	}
	f.mu.Unlock()
	return f.add(flushJob{flushSync, segment, upTo})
}

// syncNow is sync for a caller that waits for it. Where nothing is queued it
// happens in the caller's goroutine: to hand it to another one and hear of its
// end costs a synchronous commit as much as the disk does. done tells whether
// the position became durable here; advanced is not called then. Jobs must not
// be added beside it.
func (f *flusher) syncNow(segment Segment, upTo Position) (done bool, err error) {
	f.mu.Lock()
	queued := len(f.jobs) > 0 || f.busy
	durable, err := f.durable, f.err
	f.mu.Unlock()
	switch {
	case err != nil || durable == upTo:
		return false, err
	case queued:
		return false, f.sync(segment, upTo)
	}
	begun := time.Now()
	if err := segment.Sync(); err != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.err = &StoreError{Err: err}
		return false, f.err
	}
	if f.took != nil {
		f.took(time.Since(begun))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.advance(upTo)
	return true, nil
}

// advance needs the mutex. Where the stream began anew it goes over what is
// durable already.
func (f *flusher) advance(to Position) {
	if to.Timeline != f.durable.Timeline || to.LSN > f.durable.LSN {
		f.durable = to
	}
}

// failed is the first error that a job met, or nil.
func (f *flusher) failed() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// packer is a Segment that compresses before it is sealed. The processor takes
// its time for that, which says nothing about the disk.
type packer interface{ Packing() bool }

// busyFor is how long the present job has been at the disk.
func (f *flusher) busyFor(now time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.busy {
		return 0
	}
	if p, ok := f.current.(packer); ok && p.Packing() {
		return 0
	}
	return now.Sub(f.since)
}

// drain waits until every job is done.
func (f *flusher) drain() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for (len(f.jobs) > 0 || f.busy) && f.err == nil {
		f.changed.Wait()
	}
	return f.err
}

// position is up to where the log is durable.
func (f *flusher) position() Position {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.durable
}

// progress is position, and how many segments were sealed.
func (f *flusher) progress() (durable Position, sealed int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.durable, f.sealed
}

// close ends the goroutine after the jobs that are queued.
func (f *flusher) close() error {
	f.mu.Lock()
	f.closed = true
	f.changed.Broadcast()
	f.mu.Unlock()
	<-f.done
	return f.packed()
}

func (f *flusher) run() {
	defer close(f.done)
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		for len(f.jobs) == 0 && !f.closed {
			f.changed.Wait()
		}
		if len(f.jobs) == 0 {
			return
		}
		job := f.jobs[0]
		f.jobs = f.jobs[1:]
		failed := f.err
		begun := time.Now()
		f.busy, f.since, f.current = true, begun, job.segment
		f.mu.Unlock()

		err := job.do(failed != nil)
		if f.took != nil && job.segment != nil && failed == nil && err == nil {
			f.took(time.Since(begun))
		}
		f.mu.Lock()
		f.busy, f.current = false, nil
		switch {
		case err != nil && (f.err == nil || noRoomToPack(f.err) && !noRoom(err)):
			f.err = &StoreError{Err: err}
		case f.err == nil && job.kind == flushMove:
			f.durable = job.upTo
		case f.err == nil:
			f.advance(job.upTo)
			if job.kind == flushSeal {
				f.countSealed(job.segment)
			}
		}
		f.changed.Broadcast()
		f.mu.Unlock()
		f.advanced()
		f.mu.Lock()
	}
}

// do carries the job out. After a failure only the file is let go.
func (j flushJob) do(failed bool) error {
	switch {
	case j.kind == flushMove:
		return nil
	case j.kind == flushSync && failed:
		return nil
	case j.kind == flushSync:
		return j.segment.Sync()
	case failed || j.kind == flushLeave:
		return j.segment.Leave()
	case j.kind == flushFinish:
		return j.segment.Finish()
	default:
		return j.segment.Seal()
	}
}
