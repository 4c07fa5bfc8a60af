package durable

import "sync"

// Syncer fsyncs and closes finished files beside whoever writes them. Several
// fsyncs at a time let the file system join them in one journal commit, which
// is what a cluster of many small files needs.
type Syncer struct {
	files   chan *File
	skip    bool
	workers sync.WaitGroup

	mu    sync.Mutex
	first error
}

// syncWorkers is how many fsyncs run at a time. They wait for the disk, not
// for a processor.
const syncWorkers = 16

// NewSyncer starts a Syncer. With skip nothing is fsynced, only closed. Wait
// must be called in the end, also after a failure.
func NewSyncer(skip bool) *Syncer {
	s := &Syncer{files: make(chan *File, syncWorkers), skip: skip}
	if skip {
		return s
	}
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
// nothing more should be written.
func (s *Syncer) Take(f *File) error {
	if s.skip {
		s.record(f.Close())
	} else {
		s.files <- f
	}
	return s.Err()
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
