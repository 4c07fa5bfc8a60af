package durable

const (
	// gather is how many bytes are gathered before they are written past the
	// page cache, in bytes.
	gather = 1 << 20
	// cached is how many bytes go to the page cache in one write. For longer
	// ones the kernel looks for long stretches of free memory, which a virtual
	// machine may first have to get back from its host. More than one such
	// piece is not gathered: while a long one is written, whoever sends waits.
	cached = 16 << 10
	// writeBack is after how many bytes the kernel is asked to begin writing
	// them to the disk.
	writeBack = 8 << 20
)

// Writer gathers small pieces into large writes. One Writer serves one file
// after another and keeps its buffers.
type Writer struct {
	file      *File
	size      int64 // of the file, where it is known; -1 elsewhere
	buf       []byte
	block     int   // bytes that are gathered in buf: gather or cached
	written   int64 // bytes of the file that were handed to the kernel
	handedOn  int64 // of these, how many the kernel was asked to write back
	writeBack bool
	direct    *directWriter // nil: everything goes through the page cache
}

// NewWriter makes a Writer. With early the kernel is asked to begin writing
// back long files while they still come.
func NewWriter(early bool) *Writer {
	return &Writer{buf: alignedBuffer(), writeBack: early}
}

// NewDirectWriter makes a Writer that keeps long files out of the page cache,
// where system and file system allow it: what is written goes to the disk at
// once, several blocks at a time beside whoever calls Write, and the fsync
// afterwards has little left to do. With impatient, for those who do not wait
// for the disk in the end either, the page cache is used after all once the
// disk turns out to be slower than what comes.
func NewDirectWriter(impatient bool) *Writer {
	w := NewWriter(!impatient)
	w.direct = newDirectWriter(impatient)
	return w
}

// Start begins a file at its first byte. The former one must be finished.
func (w *Writer) Start(f *File) { w.StartSized(f, -1) }

// StartSized is Start for a file whose size in bytes is known.
func (w *Writer) StartSized(f *File, size int64) {
	w.file, w.size, w.buf, w.written, w.handedOn = f, size, w.buf[:0], 0, 0
	w.block = cached
	if w.direct != nil && (size < 0 || size >= directFrom) {
		w.block = gather
	}
}

// Write takes p into the file. p is not kept.
func (w *Writer) Write(p []byte) (int, error) {
	taken := len(p)
	for len(p) > 0 {
		if w.block == cached && len(w.buf) == 0 && len(p) >= cached {
			n := len(p) &^ (cached - 1)
			if err := w.put(p[:n]); err != nil {
				return 0, err
			}
			p = p[n:]
			continue
		}
		n := min(len(p), w.block-len(w.buf))
		w.buf = append(w.buf, p[:n]...)
		p = p[n:]
		if len(w.buf) == w.block {
			if err := w.flush(); err != nil {
				return 0, err
			}
		}
	}
	return taken, nil
}

// Finish hands over the file with everything written to it. It is not synced
// and not closed, also when an error is returned with it.
func (w *Writer) Finish() (*File, error) {
	err := w.end()
	f := w.file
	w.file = nil
	return f, err
}

// Abandon hands over a file that is not finished, or nil if there is none.
// Nothing writes to it any more.
func (w *Writer) Abandon() *File {
	if w.direct != nil {
		_ = w.direct.wait() // what it met does not matter any more
	}
	f := w.file
	w.file = nil
	return f
}

// flush writes a full buffer.
func (w *Writer) flush() error {
	if w.block == gather {
		if w.direct.begin(w.file, w.written, w.size) {
			w.written += int64(len(w.buf))
			var err error
			w.buf, err = w.direct.put(w.buf)
			return err
		}
		w.block = cached
	}
	return w.putBuffer()
}

// putBuffer writes the buffer through the page cache.
func (w *Writer) putBuffer() error {
	err := w.put(w.buf)
	w.buf = w.buf[:0]
	return err
}

// end writes what is in the buffer, and waits for what is under way.
func (w *Writer) end() error {
	if w.direct != nil {
		if err := w.direct.end(w.written + int64(len(w.buf))); err != nil {
			return err
		}
	}
	if len(w.buf) == 0 {
		return nil
	}
	return w.putBuffer()
}

// put writes p through the page cache.
func (w *Writer) put(p []byte) error {
	for rest := p; len(rest) > 0; {
		n, err := w.file.WriteAt(rest[:min(len(rest), cached)], w.written)
		w.written += int64(n)
		if err != nil {
			return err
		}
		rest = rest[n:]
	}
	if w.writeBack && w.written-w.handedOn >= writeBack {
		startWriteBack(w.file, w.handedOn, w.written-w.handedOn)
		w.handedOn = w.written
	}
	return nil
}
