package logstream

import "errors"

// latePacker is a Segment that is compressed after it was sealed, where it says
// so: it is durable then, and nobody waits for the compressor.
type latePacker interface {
	PackLater() bool
	// Pack compresses the segment. After an error it can be called again, or
	// LeavePlain.
	Pack() error
	LeavePlain() error
}

// maxPacks is how many sealed segments may wait for the compressor before the
// stream does: their files are open.
const maxPacks = 64

// countSealed counts a segment that was sealed, or has it compressed first. It
// needs the mutex.
func (f *flusher) countSealed(segment Segment) {
	p, ok := segment.(latePacker)
	if !ok || !p.PackLater() {
		f.sealed++
		return
	}
	for len(f.packs) >= maxPacks && f.err == nil {
		f.changed.Wait()
	}
	f.addPacks([]latePacker{p})
}

// addPacks needs the mutex.
func (f *flusher) addPacks(list []latePacker) {
	f.packs = append(f.packs, list...)
	if !f.packing && len(f.packs) > 0 {
		f.packing = true
		go f.pack()
	}
}

// pack compresses the segments that wait for it, up to the first error.
func (f *flusher) pack() {
	f.mu.Lock()
	defer f.mu.Unlock()
	var err error
	for len(f.packs) > 0 && err == nil {
		next := f.packs[0]
		f.mu.Unlock()
		err = next.Pack()
		f.mu.Lock()
		switch {
		case err == nil:
			f.packs = f.packs[1:]
			f.sealed++
		case f.err == nil:
			f.err = &StoreError{Err: err}
		}
		f.changed.Broadcast()
		f.mu.Unlock()
		f.advanced()
		f.mu.Lock()
	}
	f.packing = false
	f.changed.Broadcast()
}

// packed waits until the compressor has ended and returns the first error of
// all.
func (f *flusher) packed() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.packing {
		f.changed.Wait()
	}
	return f.err
}

// takePacks takes over the segments that could not be compressed. The flusher
// is closed.
func (f *flusher) takePacks() []latePacker {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := f.packs
	f.packs = nil
	return list
}

// leavePacks lets go of them.
func (f *flusher) leavePacks() error {
	var err error
	for _, p := range f.takePacks() {
		err = errors.Join(err, p.LeavePlain())
	}
	return err
}
