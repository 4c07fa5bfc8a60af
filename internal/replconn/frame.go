package replconn

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
)

// Every message of the server is a frame:
//
//	type    byte
//	length  int32, big endian, counts itself and the body
//	body    length-4 bytes
const frameHeader = 5

// maxFrame caps a frame's length field. The largest frames that a walsender
// sends are 'w' messages of 128 KiB and what its compressors put out for
// 32 KiB; a history file or an error text may be longer than that, but not
// by orders of magnitude.
const maxFrame = 16 << 20

// readAhead is how much one read asks the socket for. It holds several of the
// 32 KiB messages of a base backup.
const readAhead = 256 << 10

// ErrMalformed is wrapped by errors about bytes that are no valid message.
var ErrMalformed = errors.New("malformed message")

// frameReader cuts a byte stream into frames in place: a frame is handed on
// as a slice of the buffer that the socket was read into.
type frameReader struct {
	src        io.Reader
	buf        []byte
	start, end int   // what was read and not handed on is buf[start:end]
	offset     int64 // bytes handed on since the beginning
	// waiting is since when a read waits for bytes, as Monotonic has it;
	// 0 while none does.
	waiting atomic.Int64
}

func newFrameReader(src io.Reader) *frameReader {
	return &frameReader{src: src, buf: make([]byte, readAhead)}
}

// next returns the next frame. body is valid until the following call. After
// a read error that is not final, such as a deadline that passed, nothing is
// lost: the next call goes on where this one stopped.
func (f *frameReader) next() (kind byte, body []byte, err error) {
	if err := f.fill(frameHeader); err != nil {
		return 0, nil, err
	}
	length := binary.BigEndian.Uint32(f.buf[f.start+1:])
	if length < 4 || length > maxFrame {
		return 0, nil, fmt.Errorf("%w at offset %d: type %q says it has %d bytes",
			ErrMalformed, f.offset, f.buf[f.start], length)
	}
	whole := int(length) + 1
	if err := f.fill(whole); err != nil {
		return 0, nil, err
	}
	frame := f.buf[f.start : f.start+whole]
	f.start += whole
	f.offset += int64(whole)
	return frame[0], frame[frameHeader:whole:whole], nil
}

// buffered tells whether a whole frame of another kind than those that
// passOver names is there without reading.
func (f *frameReader) buffered(passOver func(kind byte) bool) bool {
	for at := f.start; f.end-at >= frameHeader; {
		length := int64(binary.BigEndian.Uint32(f.buf[at+1:]))
		if int64(f.end-at) <= length {
			return false
		}
		if length < 4 || !passOver(f.buf[at]) {
			return true
		}
		at += int(length) + 1
	}
	return false
}

// fill makes sure that n bytes are in the buffer from start on. What is left
// of a frame moves to the front only when the rest of it would not fit, so in
// the steady state a byte is moved at most once, and most are not moved.
func (f *frameReader) fill(n int) error {
	if f.end-f.start >= n {
		return nil
	}
	if f.start+n > len(f.buf) || f.start == f.end {
		if n > len(f.buf) {
			grown := make([]byte, n)
			copy(grown, f.buf[f.start:f.end])
			f.buf, f.start, f.end = grown, 0, f.end-f.start
		} else {
			f.end = copy(f.buf, f.buf[f.start:f.end])
			f.start = 0
		}
	}
	for f.end-f.start < n {
		f.waiting.Store(Monotonic())
		got, err := f.src.Read(f.buf[f.end:])
		f.waiting.Store(0)
		f.end += got
		if err != nil && f.end-f.start < n {
			if err == io.EOF && f.end > f.start {
				return io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}
