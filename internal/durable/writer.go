package durable

import "os"

const (
	// gather is how many bytes go to the file in one write. The server sends
	// 32 KiB pieces; written as they come they cost three times the system
	// time.
	gather = 1 << 20
	// writeBack is after how many bytes the kernel is asked to begin writing
	// them to the disk.
	writeBack = 8 << 20
)

// Writer gathers small pieces into large writes. One Writer serves one file
// after another and keeps its buffer.
type Writer struct {
	file      *os.File
	buf       []byte
	written   int64 // bytes of the file that were handed to the kernel
	handedOn  int64 // of these, how many the kernel was asked to write back
	writeBack bool
}

// NewWriter makes a Writer. With early the kernel is asked to begin writing
// back long files while they still come.
func NewWriter(early bool) *Writer {
	return &Writer{buf: make([]byte, 0, gather), writeBack: early}
}

// Start begins a file at its first byte. The former one must be finished.
func (w *Writer) Start(f *os.File) {
	w.file, w.buf, w.written, w.handedOn = f, w.buf[:0], 0, 0
}

// Write takes p into the file. p is not kept.
func (w *Writer) Write(p []byte) (int, error) {
	taken := len(p)
	for len(p) > 0 {
		if len(w.buf) == 0 && len(p) >= gather {
			if err := w.put(p[:gather]); err != nil {
				return 0, err
			}
			p = p[gather:]
			continue
		}
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
func (w *Writer) Finish() (*os.File, error) {
	err := w.flush()
	f := w.file
	w.file = nil
	return f, err
}

// Active is the file that was started and not finished, or nil.
func (w *Writer) Active() *os.File { return w.file }

func (w *Writer) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	err := w.put(w.buf)
	w.buf = w.buf[:0]
	return err
}

func (w *Writer) put(p []byte) error {
	n, err := w.file.Write(p)
	w.written += int64(n)
	if err != nil {
		return err
	}
	if w.writeBack && w.written-w.handedOn >= writeBack {
		startWriteBack(w.file, w.handedOn, w.written-w.handedOn)
		w.handedOn = w.written
	}
	return nil
}
