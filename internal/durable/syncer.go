package durable

import "sync"

// Syncer fsyncs and closes finished files beside whoever writes them. Several
// fsyncs at a time let the file system join them in one journal commit. Small
// files are gathered first: what a file system keeps of neighbours lies
// together, and one that is made meanwhile would have it written again.
type Syncer struct {
	batches chan []*File
	files   chan *File
	skip    bool
	feeder  sync.WaitGroup
	workers sync.WaitGroup

	mu    sync.Mutex
	batch []*File // that is being gathered
	first error
}

const (
	// syncWorkers is how many fsyncs run at a time. They wait for the disk, not
	// for a processor.
	syncWorkers = 16
	// batchSize is how many small files are gathered. Twice as many may be open.
	batchSize = 200
	// small is up to how many bytes a file is small.
	small = 256 << 10
)

// NewSyncer starts a Syncer. With skip nothing is fsynced, only closed. Wait
// must be called in the end, also after a failure.
func NewSyncer(skip bool) *Syncer {
	s := &Syncer{batches: make(chan []*File), files: make(chan *File, syncWorkers), skip: skip}
	if skip {
		return s
	}
	s.feeder.Go(func() {
		for batch := range s.batches {
			for _, f := range batch {
				startWriteBack(f, 0, 0) // to its end
			}
			for _, f := range batch {
				s.files <- f
			}
		}
	})
	for range syncWorkers {
		s.workers.Go(func() {
			for f := range s.files {
				s.finish(f)
			}
		})
	}
	return s
}

// Take makes the file durable and closes it, now or later. The file is the
// Syncer's from here on. The error is the first that any file met: after one
// nothing more should be written. Several goroutines may call it.
func (s *Syncer) Take(f *File) error {
	if s.skip {
		s.record(f.Close())
		return s.Err()
	}
	// Where it cannot be told its fsync says what is wrong.
	if info, err := f.Stat(); err != nil || info.Size() > small {
		s.files <- f
	} else if batch := s.gather(f); batch != nil {
		s.batches <- batch
	}
	return s.Err()
}

// gather gives back a batch that is full.
func (s *Syncer) gather(f *File) (full []*File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.batch = append(s.batch, f); len(s.batch) == batchSize {
		full, s.batch = s.batch, nil
	}
	return full
}

// Err is the first error that any file met so far.
func (s *Syncer) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.first
}

// Wait returns when every file is durable and closed, with the first error.
// Nothing can be taken after it.
func (s *Syncer) Wait() error {
	if !s.skip && len(s.batch) > 0 {
		s.batches <- s.batch
		s.batch = nil
	}
	close(s.batches)
	s.feeder.Wait()
	close(s.files)
	s.workers.Wait()
	return s.Err()
}

func (s *Syncer) finish(f *File) {
	// After a failed fsync the kernel may call the pages clean: a second try
	// would lie. The backup fails instead.
	s.record(f.Sync())
	s.record(f.Close())
}

func (s *Syncer) record(err error) {
	if err == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first == nil {
		s.first = err
	}
}
