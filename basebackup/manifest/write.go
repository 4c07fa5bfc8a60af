package manifest

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"unicode/utf8"
)

// WriterOptions say what a Writer puts at a manifest's head, and how it
// writes paths.
type WriterOptions struct {
	// Version is 1 or 2.
	Version int
	// SystemIdentifier is written in version 2 only.
	SystemIdentifier uint64
	// ForceEncode writes every path in hexadecimal digits, as
	// --manifest-force-encode asks for. A path that is not valid UTF-8 is
	// written so in any case.
	ForceEncode bool
}

// Writer writes a manifest, byte for byte as a server does that has the same
// files in the same order.
type Writer struct {
	out     *bufio.Writer
	sum     hash.Hash
	options WriterOptions
	line    []byte
	files   bool // whether one was written
	closed  bool
}

// NewWriter writes a manifest's head to w, which is written to in large
// pieces and never closed.
func NewWriter(w io.Writer, options WriterOptions) (*Writer, error) {
	m := &Writer{sum: sha256.New(), options: options}
	m.out = bufio.NewWriterSize(w, 64<<10)
	b := append(m.line, `{ "`+keyVersion+`": `...)
	b = strconv.AppendInt(b, int64(options.Version), 10)
	switch options.Version {
	case 1:
	case 2:
		b = append(b, ",\n\""+keySystemIdentifier+`": `...)
		b = strconv.AppendUint(b, options.SystemIdentifier, 10)
	default:
		return nil, fmt.Errorf("backup manifest: no version %d", options.Version)
	}
	b = append(b, ",\n\""+keyFiles+`": [`...)
	return m, m.write(b)
}

// write sums and writes a piece, whose memory becomes the next piece's.
func (m *Writer) write(b []byte) error {
	m.line = b[:0]
	m.sum.Write(b) // a hash never fails
	if _, err := m.out.Write(b); err != nil {
		return fmt.Errorf("write backup manifest: %w", err)
	}
	return nil
}

// Add writes one file's entry. A file that Read would refuse is an error,
// and nothing of it is written.
func (m *Writer) Add(f File) error {
	if m.closed {
		return errClosed
	}
	if cause := pathFault(f.Path); cause != "" {
		return fmt.Errorf("backup manifest: %q: %s", f.Path, cause)
	}
	if f.Size < 0 {
		return fmt.Errorf("backup manifest: %q: negative size", f.Path)
	}
	if len(f.Checksum) != 0 && len(f.Checksum) != f.Algorithm.Size() {
		return fmt.Errorf("backup manifest: %q: checksum of a wrong length", f.Path)
	}
	b := m.line
	if m.files {
		b = append(b, ',')
	}
	m.files = true
	if m.options.ForceEncode || !utf8.ValidString(f.Path) {
		b = append(b, "\n{ \""+keyEncodedPath+`": "`...)
		b = hex.AppendEncode(b, []byte(f.Path))
		b = append(b, '"')
	} else {
		b = append(b, "\n{ \""+keyPath+`": `...)
		b = appendString(b, f.Path)
	}
	b = append(b, `, "`+keySize+`": `...)
	b = strconv.AppendInt(b, f.Size, 10)
	b = append(b, `, "`+keyLastModified+`": "`...)
	b = f.ModTime.UTC().AppendFormat(b, timeLayout)
	b = append(b, '"')
	if f.Algorithm != None {
		b = append(b, `, "`+keyAlgorithm+`": "`+f.Algorithm.String()+`"`...)
		if len(f.Checksum) != 0 {
			b = append(b, `, "`+keyChecksum+`": "`...)
			b = hex.AppendEncode(b, f.Checksum)
			b = append(b, '"')
		}
	}
	return m.write(append(b, " }"...))
}

// Close writes the WAL ranges, which go newest timeline first, and the
// manifest's checksum of itself, and flushes all to the underlying writer.
func (m *Writer) Close(ranges []WALRange) error {
	if m.closed {
		return errClosed
	}
	if len(ranges) > MaxWALRanges {
		return errors.New("backup manifest: too many WAL ranges")
	}
	for _, r := range ranges {
		if r.Timeline == 0 {
			return errors.New("backup manifest: WAL range without a timeline")
		}
	}
	m.closed = true
	b := append(m.line, "\n],\n\""+keyWALRanges+"\": ["...)
	for i, r := range ranges {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, "\n{ \"%s\": %d, \"%s\": \"%s\", \"%s\": \"%s\" }",
			keyTimeline, r.Timeline, keyStartLSN, r.Start, keyEndLSN, r.End)
	}
	if err := m.write(append(b, "\n],\n"...)); err != nil {
		return err
	}
	b = append(m.line, `"`+keyManifestChecksum+`": "`...)
	b = hex.AppendEncode(b, m.sum.Sum(nil))
	if err := m.write(append(b, "\"}\n"...)); err != nil {
		return err
	}
	if err := m.out.Flush(); err != nil {
		return fmt.Errorf("write backup manifest: %w", err)
	}
	return nil
}

var errClosed = errors.New("backup manifest: already complete")

// appendString writes a JSON string with the escapes that a server uses and
// no others.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; c {
		case '\b':
			b = append(b, `\b`...)
		case '\f':
			b = append(b, `\f`...)
		case '\n':
			b = append(b, `\n`...)
		case '\r':
			b = append(b, `\r`...)
		case '\t':
			b = append(b, `\t`...)
		case '"', '\\':
			b = append(b, '\\', c)
		default:
			if c < ' ' {
				b = fmt.Appendf(b, `\u%04x`, c)
			} else {
				b = append(b, c)
			}
		}
	}
	return append(b, '"')
}
