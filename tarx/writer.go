package tarx

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

const (
	trailerSize = 2 * blockSize
	// maxName is the longest name and link target in bytes that the server
	// writes: the field has 100, and it uses no prefix.
	maxName = 99
)

// Trailer is the end of a tar stream: two blocks of zeros. It must not be
// changed. A prefix of it serves as padding.
var Trailer = make([]byte, trailerSize)

// Padding is how many zero bytes follow content of size bytes to fill its last
// block: 0 to 511.
func Padding(size int64) int {
	return int(-size & (blockSize - 1))
}

// AppendHeader appends the 512 bytes of a member's header, the same ones that
// the server writes (tarCreateHeader in PostgreSQL's src/port/tar.c): ustar,
// with "postgres" as owner and group name. Names of directories and symbolic
// links get the slash at the end that the server gives them.
//
// It returns dst as it was, and an error, for a name or link target that is
// empty, has a NUL or is longer than 99 bytes without that slash, for a file
// name that ends in a slash, and for numbers out of range. A zero ModTime is
// written as 0.
func AppendHeader(dst []byte, h *Header) ([]byte, error) {
	name, flag := h.Name, byte('0')
	switch h.Type {
	case TypeFile:
		if strings.HasSuffix(name, "/") {
			return dst, fmt.Errorf("tar header: name of file %q ends in a slash", name)
		}
	case TypeDirectory:
		name, flag = strings.TrimRight(name, "/"), '5'
	case TypeSymlink:
		name, flag = strings.TrimRight(name, "/"), '2'
		if err := checkText("link target", h.Linkname); err != nil {
			return dst, err
		}
	default:
		return dst, fmt.Errorf("tar header: member %q is of unknown type %d", name, h.Type)
	}
	if err := checkText("name", name); err != nil {
		return dst, err
	}
	if h.Size < 0 || h.Size != 0 && h.Type != TypeFile {
		return dst, fmt.Errorf("tar header: %s %q cannot have a size of %d bytes", h.Type, name, h.Size)
	}
	if uint64(h.UID) > math.MaxUint32 || uint64(h.GID) > math.MaxUint32 {
		return dst, fmt.Errorf("tar header: owner %d:%d of %q is out of range", h.UID, h.GID, name)
	}
	var mtime int64
	if !h.ModTime.IsZero() {
		mtime = h.ModTime.Unix()
	}

	start := len(dst)
	dst = slices.Grow(dst, blockSize)[:start+blockSize]
	b := (*block)(dst[start:])
	*b = zeroBlock
	n := copy(b.name(), name)
	if h.Type != TypeFile {
		b[n] = '/' // of a name of 99 bytes, this takes the place of the NUL
	}
	putNumber(b.mode(), uint64(h.Mode&0o7777))
	putNumber(b.uid(), uint64(h.UID))
	putNumber(b.gid(), uint64(h.GID))
	putNumber(b.size(), uint64(h.Size))
	putNumber(b.mtime(), uint64(mtime))
	b[156] = flag
	if h.Type == TypeSymlink {
		copy(b.linkname(), h.Linkname)
	}
	copy(b.magic(), magicUstar)
	copy(b.uname(), "postgres")
	copy(b.gname(), "postgres")
	putNumber(b.devmajor(), 0)
	putNumber(b.devminor(), 0)
	sum, _ := b.sums()
	putNumber(b.checksum(), uint64(sum))
	return dst, nil
}

// checkText tells whether the server could write text in a field of 100 bytes.
func checkText(what, text string) error {
	switch {
	case text == "":
		return fmt.Errorf("tar header: %s is empty", what)
	case strings.IndexByte(text, 0) >= 0:
		return fmt.Errorf("tar header: %s %q has a NUL byte", what, text)
	case len(text) > maxName:
		return fmt.Errorf("tar header: %s %q has %d bytes, more than %d", what, text, len(text), maxName)
	}
	return nil
}

// putNumber fills a field with octal digits and one space, or with base-256
// when there are not enough digits.
func putNumber(field []byte, n uint64) {
	last := len(field) - 1
	if n < 1<<(3*last) {
		field[last] = ' '
		for i := last - 1; i >= 0; i-- {
			field[i] = '0' + byte(n&7)
			n >>= 3
		}
		return
	}
	field[0] = 0x80
	for i := last; i > 0; i-- {
		field[i] = byte(n)
		n >>= 8
	}
}

// Writer makes a tar stream of members. It is a Handler, so that what a Parser
// takes apart can be put together again, with members changed, added or left
// out on the way. It is not safe for use by several goroutines at once.
type Writer struct {
	out    io.Writer
	header [blockSize]byte
	name   string // of the present member
	left   int64  // bytes of content to come
	pad    int
}

// NewWriter makes a Writer that writes to out as it is written to: each header,
// each piece of content and each padding in one call.
func NewWriter(out io.Writer) *Writer { return &Writer{out: out} }

// BeginMember implements Handler. The errors are those of AppendHeader and of
// the underlying writer.
func (w *Writer) BeginMember(h *Header) error {
	header, err := AppendHeader(w.header[:0], h)
	if err != nil {
		return err
	}
	w.name, w.left, w.pad = h.Name, h.Size, Padding(h.Size)
	_, err = w.out.Write(header)
	return err
}

// Content implements Handler.
func (w *Writer) Content(p []byte) error {
	if w.left -= int64(len(p)); w.left < 0 {
		return fmt.Errorf("tar: member %q has more content than its size", w.name)
	}
	_, err := w.out.Write(p)
	return err
}

// EndMember implements Handler.
func (w *Writer) EndMember() error {
	if w.left > 0 {
		return fmt.Errorf("tar: %d bytes of member %q are missing", w.left, w.name)
	}
	if w.pad == 0 {
		return nil
	}
	_, err := w.out.Write(Trailer[:w.pad])
	return err
}

// WriteFile writes a member with its content.
func (w *Writer) WriteFile(h *Header, content []byte) error {
	if err := w.BeginMember(h); err != nil {
		return err
	}
	if len(content) > 0 {
		if err := w.Content(content); err != nil {
			return err
		}
	}
	return w.EndMember()
}

// Close ends the stream. It does not close the underlying writer.
func (w *Writer) Close() error {
	_, err := w.out.Write(Trailer)
	return err
}
