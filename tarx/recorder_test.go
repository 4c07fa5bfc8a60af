package tarx

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"
)

// recorder is a Handler that keeps what it was told, with content joined so
// that two runs over differently split input compare equal.
type recorder struct {
	members []recorded
	open    bool
	misuse  error
	fail    string // the method that fails with errHandler
}

type recorded struct {
	header  Header
	content string
	ended   bool
}

var errHandler = errors.New("handler failed")

func (r *recorder) BeginMember(h *Header) error {
	if r.open {
		r.misuse = errors.New("BeginMember within a member")
	}
	r.open = true
	r.members = append(r.members, recorded{header: *h})
	return r.failed("begin")
}

func (r *recorder) Content(p []byte) error {
	m := &r.members[len(r.members)-1]
	switch {
	case !r.open:
		r.misuse = errors.New("Content outside of a member")
	case len(p) == 0:
		r.misuse = errors.New("empty Content")
	case cap(p) != len(p):
		r.misuse = errors.New("Content has spare capacity")
	case int64(len(m.content)+len(p)) > m.header.Size:
		r.misuse = errors.New("more Content than Size")
	}
	m.content += string(p)
	return r.failed("content")
}

func (r *recorder) EndMember() error {
	m := &r.members[len(r.members)-1]
	if !r.open {
		r.misuse = errors.New("EndMember outside of a member")
	}
	if int64(len(m.content)) != m.header.Size {
		r.misuse = fmt.Errorf("%d bytes of Content, Size is %d", len(m.content), m.header.Size)
	}
	r.open, m.ended = false, true
	return r.failed("end")
}

func (r *recorder) failed(method string) error {
	if r.fail == method {
		return errHandler
	}
	return nil
}

// parseIn feeds stream in pieces of the lengths that next gives, then closes.
func parseIn(t testing.TB, stream []byte, next func() int) (*recorder, *Parser, error) {
	t.Helper()
	r := &recorder{}
	p := NewParser(r)
	for rest := stream; len(rest) > 0; {
		n := min(max(next(), 0), len(rest))
		piece := bytes.Clone(rest[:n])
		wrote, err := p.Write(piece)
		if !bytes.Equal(piece, rest[:n]) {
			t.Fatal("Write changed its input")
		}
		clear(piece) // nothing may be kept
		if err == nil && wrote != n {
			t.Fatalf("Write of %d bytes: %d, nil", n, wrote)
		}
		if err != nil {
			if again, same := p.Write([]byte{0}); again != 0 || same != err {
				t.Fatalf("Write after error %v: %d, %v", err, again, same)
			}
			break
		}
		rest = rest[n:]
	}
	err := p.Close()
	if r.misuse != nil {
		t.Fatalf("handler was misused: %v", r.misuse)
	}
	return r, p, err
}

func parseWhole(t testing.TB, stream []byte) (*recorder, *Parser, error) {
	t.Helper()
	return parseIn(t, stream, func() int { return len(stream) })
}

func parseSplit(t testing.TB, stream []byte, n int) (*recorder, *Parser, error) {
	t.Helper()
	return parseIn(t, stream, func() int { return n })
}

func file(name string, size int64) *Header {
	return &Header{Name: name, Type: TypeFile, Mode: 0o600, Size: size, ModTime: time.Unix(1700000000, 0), UID: 26, GID: 27}
}

func directory(name string) *Header {
	return &Header{Name: name, Type: TypeDirectory, Mode: 0o700, ModTime: time.Unix(1700000000, 0)}
}

func symlink(name, target string) *Header {
	return &Header{Name: name, Linkname: target, Type: TypeSymlink, Mode: 0o777, ModTime: time.Unix(1700000000, 0)}
}

func mustHeader(t testing.TB, h *Header) []byte {
	t.Helper()
	b, err := AppendHeader(nil, h)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// edited is a header with some bytes replaced and the checksum made good.
func edited(t testing.TB, h *Header, offset int, text string) []byte {
	t.Helper()
	b := mustHeader(t, h)
	copy(b[offset:], text)
	fixChecksum(b)
	return b
}

func fixChecksum(header []byte) {
	b := (*block)(header)
	sum, _ := b.sums()
	putNumber(b.checksum(), uint64(sum))
}

// withContent is a member with its padding.
func withContent(t testing.TB, name, content string) []byte {
	t.Helper()
	b := append(mustHeader(t, file(name, int64(len(content)))), content...)
	return append(b, Trailer[:Padding(int64(len(content)))]...)
}

func concat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
