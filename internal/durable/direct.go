package durable

import (
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

const (
	// directFrom is the size in bytes from which a file is written past the
	// page cache. A smaller one is in one write or two anyway.
	directFrom = 2 * gather
	// directBlocks is how many blocks may be under way to the disk at once.
	directBlocks = 3
	// reserve is how much room is made at once for a file whose size is not
	// known: blocks can only be written beside each other where the file need
	// not grow for them.
	reserve = 64 * gather
	// patience is how long an impatient writer waits for the disk in any case;
	// beyond that, half of the time.
	patience = 200 * time.Millisecond
	// alignment is what the address, the offset and the length of a direct
	// write are multiples of, on any disk.
	alignment = 4096
)

// directWriter writes the whole blocks of one file after another past the page
// cache. Where that cannot be done it writes them as any other.
type directWriter struct {
	file     *File // nil: the present file is not written directly
	room     int64 // bytes of the file that have room on the disk; -1: none is made any more
	at       int64
	free     chan []byte
	underWay sync.WaitGroup
	unable   atomic.Bool // a file system turned out not to do what it said, or to be slow

	impatient bool
	since     time.Time     // of the first block
	waited    time.Duration // for the disk, in all

	mu  sync.Mutex
	err error // the first of the present file
}

func newDirectWriter(impatient bool) *directWriter {
	if !hasDirect {
		return nil
	}
	d := &directWriter{free: make(chan []byte, directBlocks), impatient: impatient}
	for range directBlocks {
		d.free <- alignedBuffer()
	}
	return d
}

// alignedBuffer makes a buffer of gather bytes whose address is aligned.
func alignedBuffer() []byte {
	b := make([]byte, gather+alignment)
	skip := -uintptr(unsafe.Pointer(unsafe.SliceData(b))) & (alignment - 1)
	return b[skip : skip : skip+gather]
}

// begin tells whether the block at offset at is to be written by put.
func (d *directWriter) begin(f *File, at, size int64) bool {
	if d.file == f {
		return true
	}
	if d.unable.Load() || at != 0 || size >= 0 && size < directFrom || !setDirect(f, true) {
		return false
	}
	if d.since.IsZero() {
		d.since = time.Now()
	}
	d.file, d.at, d.room, d.err = f, 0, 0, nil
	if size > 0 {
		d.makeRoom(size)
	}
	return true
}

// makeRoom reserves room up to size. It is for speed only: a disk that has no
// room for all says so when it is written to.
func (d *directWriter) makeRoom(size int64) {
	if Allocate(d.file, size) != nil {
		size = -1
	}
	d.room = size
}

// put writes a full block, now or soon, and gives back an empty buffer. The
// error may be one of an earlier block.
func (d *directWriter) put(block []byte) ([]byte, error) {
	if d.room >= 0 && d.at+gather > d.room {
		d.makeRoom(d.at + reserve)
	}
	f, at := d.file, d.at
	d.at += gather
	if d.room < 0 {
		// Each block makes the file grow: one after the other.
		err := d.write(f, block, at)
		d.note(err)
		return block[:0], d.failed()
	}
	d.underWay.Add(1)
	go func() {
		defer d.underWay.Done()
		d.note(d.write(f, block, at))
		d.free <- block[:0]
	}()
	return d.take(), d.failed()
}

// take waits for an empty buffer.
func (d *directWriter) take() []byte {
	select {
	case block := <-d.free:
		return block
	default:
	}
	defer d.waitedSince(time.Now())
	return <-d.free
}

// waitedSince counts what was waited for the disk. Whoever is impatient and waits
// for longer than half of the time has the next files written through the page
// cache.
func (d *directWriter) waitedSince(begun time.Time) {
	if d.waited += time.Since(begun); d.impatient && d.waited > patience+time.Since(d.since)/2 {
		d.unable.Store(true)
	}
}

func (d *directWriter) write(f *File, block []byte, at int64) error {
	n, err := f.WriteAt(block, at)
	if errors.Is(err, syscall.EINVAL) {
		// It took the flag and cannot do it all the same.
		d.unable.Store(true)
		setDirect(f, false)
		_, err = f.WriteAt(block[n:], at+int64(n))
	}
	return err
}

func (d *directWriter) note(err error) {
	if err == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil {
		d.err = err
	}
}

func (d *directWriter) failed() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// wait returns when nothing is under way, with the first error of the present
// file.
func (d *directWriter) wait() error {
	begun := time.Now()
	d.underWay.Wait()
	d.waitedSince(begun)
	d.file = nil
	return d.failed()
}

// end waits for the blocks of the present file, and makes it ready for its
// last bytes, which are not a whole block: these go the ordinary way. length
// is what the file will have with them.
func (d *directWriter) end(length int64) error {
	f, room := d.file, d.room
	if f == nil {
		return nil
	}
	if err := d.wait(); err != nil {
		return err
	}
	setDirect(f, false)
	if room > length {
		return f.Truncate(length)
	}
	return nil
}
