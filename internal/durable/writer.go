package durable

const (
	// gather is how many bytes are gathered before they are written. The server
	// sends 32 KiB pieces; written as they come they cost three times the
	// system time.
	gather = 1 << 20
	// cached is how many bytes go to the page cache in one write. For longer
	// ones the kernel looks for long stretches of free memory, which can take
	// several times as long as the copying.
	cached = 256 << 10
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
// afterwards has little left to do.
func NewDirectWriter() *Writer {
	w := NewWriter(true)
	w.direct = newDirectWriter()
	return w
}

// Start begins a file at its first byte. The former one must be finished.
func (w *Writer) Start(f *File) { w.StartSized(f, -1) }

// StartSized is Start for a file whose size in bytes is known.
func (w *Writer) StartSized(f *File, size int64) {
	w.file, w.size, w.buf, w.written, w.handedOn = f, size, w.buf[:0], 0, 0
}

// Write takes p into the file. p is not kept.
func (w *Writer) Write(p []byte) (int, error) {
	taken := len(p)
	for len(p) > 0 {
		n := min(len(p), gather-len(w.buf))
		w.buf = append(w.buf, p[:n]...)
		p = p[n:]
		if len(w.buf) == gather {
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
	if w.direct != nil && w.direct.begin(w.file, w.written, w.size) {
		w.written += int64(len(w.buf))
		var err error
		w.buf, err = w.direct.put(w.buf)
		return err
	}
	return w.put()
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
	return w.put()
}

// put writes the buffer through the page cache.
func (w *Writer) put() error {
	for rest := w.buf; len(rest) > 0; {
		n, err := w.file.WriteAt(rest[:min(len(rest), cached)], w.written)
		w.written += int64(n)
		if err != nil {
			return err
		}
		rest = rest[n:]
	}
	w.buf = w.buf[:0]
	if w.writeBack && w.written-w.handedOn >= writeBack {
		startWriteBack(w.file, w.handedOn, w.written-w.handedOn)
		w.handedOn = w.written
	}
	return nil
}
