package replconn

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
)

type gotFrame struct {
	kind byte
	body []byte
}

// someFrames are empty, short, of unknown types, and longer than one read.
func someFrames() []gotFrame {
	return []gotFrame{
		{'c', nil},
		{'d', []byte("x")},
		{0, []byte{0, 0, 0, 4}},
		{0xff, bytes.Repeat([]byte{0xff}, 9)},
		{'d', bytes.Repeat([]byte("wal"), 30)},
		{'Z', []byte{'I'}},
	}
}

func wire(frames []gotFrame) (stream []byte) {
	for _, f := range frames {
		stream = append(stream, frame(f.kind, f.body)...)
	}
	return stream
}

// readFrames reads to the first error that does not say to try again.
func readFrames(f *frameReader) (frames []gotFrame, err error) {
	for {
		kind, body, err := f.next()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return frames, err
		}
		frames = append(frames, gotFrame{kind, bytes.Clone(body)})
	}
}

func sameFrames(a, b []gotFrame) error {
	if len(a) != len(b) {
		return fmt.Errorf("%d frames, want %d", len(a), len(b))
	}
	for i := range a {
		if a[i].kind != b[i].kind || !bytes.Equal(a[i].body, b[i].body) {
			return fmt.Errorf("frame %d is %q %x, want %q %x", i, a[i].kind, a[i].body, b[i].kind, b[i].body)
		}
	}
	return nil
}

func TestFramesTornAtEveryByteAreTheSame(t *testing.T) {
	t.Parallel()
	want := someFrames()
	stream := wire(want)
	for cut := 1; cut < len(stream); cut++ {
		got, err := readFrames(newFrameReader(&torn{rest: stream, sizes: []int{cut, len(stream)}}))
		if err != io.EOF {
			t.Fatalf("cut at %d: %v, want EOF", cut, err)
		}
		if err := sameFrames(got, want); err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	}
}

func TestDeadlinesInMidFrameLoseNothing(t *testing.T) {
	t.Parallel()
	want := someFrames()
	// One longer than the buffer, so that it has to grow, and enough behind
	// it to go over the buffer's end again and again.
	want = append(want, gotFrame{'d', bytes.Repeat([]byte("0123456789"), readAhead/4)})
	for i := range 60 {
		want = append(want, gotFrame{'d', bytes.Repeat([]byte{byte(i)}, 100+i*997)})
	}
	for _, sizes := range [][]int{{1, 2, 3, 7000}, {5, 1, 4096}, {readAhead}, {readAhead - 3, 5}} {
		r := newFrameReader(&torn{rest: wire(want), sizes: sizes, timeouts: os.ErrDeadlineExceeded})
		got, err := readFrames(r)
		if err != io.EOF {
			t.Errorf("reads of %d: %v, want EOF", sizes, err)
		}
		if err := sameFrames(got, want); err != nil {
			t.Errorf("reads of %d: %v", sizes, err)
		}
	}
}

// together gives bytes and an error in one read.
type together struct {
	bytes []byte
	err   error
}

func (r *together) Read(p []byte) (int, error) {
	n := copy(p, r.bytes)
	r.bytes = r.bytes[n:]
	if len(r.bytes) > 0 {
		return n, nil
	}
	return n, r.err
}

func TestFrameThatCameWithAnErrorIsHandedOn(t *testing.T) {
	t.Parallel()
	f := newFrameReader(&together{frame('d', []byte("last")), io.EOF})
	if kind, body, err := f.next(); kind != 'd' || string(body) != "last" || err != nil {
		t.Errorf("%q %q %v", kind, body, err)
	}
	if _, _, err := f.next(); err != io.EOF {
		t.Errorf("then %v, want EOF", err)
	}
}

func TestEndOfStreamInMidFrameIsToldFromTheEndBetweenFrames(t *testing.T) {
	t.Parallel()
	stream := frame('d', []byte("abc"))
	for cut := 0; cut <= len(stream); cut++ {
		want := io.ErrUnexpectedEOF
		if cut == 0 || cut == len(stream) {
			want = io.EOF
		}
		if _, err := readFrames(newFrameReader(bytes.NewReader(stream[:cut]))); err != want {
			t.Errorf("stream of %d bytes: %v, want %v", cut, err, want)
		}
	}
}

func TestFrameLengthsAreCheckedBeforeAnythingIsAllocated(t *testing.T) {
	t.Parallel()
	for _, length := range []uint32{0, 1, 2, 3, maxFrame + 1, 1 << 31, 1<<32 - 1} {
		stream := append(frame('d', []byte("ok")), 'd')
		stream = binary.BigEndian.AppendUint32(stream, length)
		f := newFrameReader(bytes.NewReader(append(stream, make([]byte, 100)...)))
		if _, _, err := f.next(); err != nil {
			t.Fatal(err)
		}
		_, _, err := f.next()
		if !errors.Is(err, ErrMalformed) || !strings.Contains(fmt.Sprint(err), "offset 7") {
			t.Errorf("length %d: %v", length, err)
		}
		if len(f.buf) != readAhead {
			t.Errorf("length %d: buffer of %d bytes", length, len(f.buf))
		}
	}
	for _, length := range []uint32{4, 5, readAhead - 1, readAhead, readAhead + 1, maxFrame} {
		body := make([]byte, length-4)
		f := newFrameReader(bytes.NewReader(frame('d', body)))
		if _, got, err := f.next(); err != nil || len(got) != len(body) {
			t.Errorf("length %d: %d bytes, %v", length, len(got), err)
		}
	}
}

func TestBodyCannotBeAppendedToIntoTheNextFrame(t *testing.T) {
	t.Parallel()
	f := newFrameReader(bytes.NewReader(append(frame('d', []byte("a")), frame('d', []byte("b"))...)))
	_, body, _ := f.next()
	_ = append(body, "overwritten"...)
	if kind, body, err := f.next(); kind != 'd' || string(body) != "b" || err != nil {
		t.Errorf("%q %q %v", kind, body, err)
	}
}

func TestBufferedIsTrueForAWholeAnswerOnly(t *testing.T) {
	t.Parallel()
	data := frame('d', []byte("data"))
	notice := frame('N', []byte{0})
	status := frame('S', []byte("a\x00b\x00"))
	for _, test := range []struct {
		name  string
		bytes []byte
		want  bool
	}{
		{"nothing", nil, false},
		{"part of a header", data[:4], false},
		{"header", data[:5], false},
		{"all but a byte", data[:len(data)-1], false},
		{"a frame", data, true},
		{"a frame and a part", append(bytes.Clone(data), 'd'), true},
		{"a notice", notice, false},
		{"notice, parameter, part of a frame", append(append(bytes.Clone(notice), status...), data[:6]...), false},
		{"notice, parameter, frame", append(append(bytes.Clone(notice), status...), data...), true},
		{"malformed length", []byte{'N', 0, 0, 0, 0}, true},
		{"length of 4 GB", []byte{'N', 0xff, 0xff, 0xff, 0xff}, false},
	} {
		c := reading(append(frame('d', nil), test.bytes...))
		if c.Buffered() {
			t.Errorf("%s: something is buffered before the first read", test.name)
		}
		if _, _, err := c.Receive(); err != nil {
			t.Fatal(err)
		}
		if got := c.Buffered(); got != test.want {
			t.Errorf("%s: %t, want %t", test.name, got, test.want)
		}
	}
}

func TestFramesAreReadWithoutAllocating(t *testing.T) {
	var stream []byte
	for _, n := range []int{0, 18, 32<<10 + 25, 128<<10 + 25, 1} {
		stream = append(stream, frame(CopyData, make([]byte, n))...)
	}
	f := newFrameReader(&endless{stream: stream})
	if n := testing.AllocsPerRun(2000, func() {
		if _, _, err := f.next(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("next allocates %v times a frame", n)
	}
	c := over(&memoryConn{Reader: &endless{stream: stream}})
	if n := testing.AllocsPerRun(2000, func() {
		if kind, _, err := c.Receive(); kind != CopyData || err != nil {
			t.Fatal(kind, err)
		}
	}); n != 0 {
		t.Errorf("Receive allocates %v times a message", n)
	}
}

func BenchmarkFrames(b *testing.B) {
	stream := frame(CopyData, make([]byte, 32<<10))
	f := newFrameReader(&endless{stream: bytes.Repeat(stream, 31)})
	b.SetBytes(int64(len(stream)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := f.next(); err != nil {
			b.Fatal(err)
		}
	}
}
