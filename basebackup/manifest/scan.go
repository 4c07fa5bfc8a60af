package manifest

import (
	"bytes"
	"fmt"
	"io"
)

const (
	scanBufferSize = 256 << 10

	// maxStringLength bounds a token as it stands in the text: a longest path
	// of nothing but \u escapes fits.
	maxStringLength = 6*MaxPathLength + 2

	// maxEmptyReads is how often in a row a reader may give nothing.
	maxEmptyReads = 100
)

// kind is that of a token: one of the bytes {}[]:, for these, or one of those
// below.
type kind byte

const (
	atEnd    kind = 0   // the text is over
	isString kind = '"' // text has it without its escapes
	isWord   kind = 'w' // a number, true, false or null
)

// scanner takes JSON apart into tokens, as PostgreSQL's own does and with its
// words for what is no token (src/common/jsonapi.c). It holds one buffer, and
// no token may be longer than a part of it.
type scanner struct {
	src        io.Reader
	sum        *tailSum
	buf        []byte
	start, pos int   // the present token in buf
	end        int   // of what was read
	base       int64 // offset of buf[0] in the text
	readErr    error // what src ended with
	kind       kind
	text       []byte // of a string or word; valid until the next token is read
	unquoted   []byte
}

func newScanner(src io.Reader) (*scanner, error) {
	sum, err := newTailSum()
	if err != nil {
		return nil, err
	}
	return &scanner{src: src, sum: sum, buf: make([]byte, scanBufferSize)}, nil
}

func (s *scanner) fail(format string, args ...any) error {
	return &SyntaxError{Offset: s.base + int64(s.start), Cause: fmt.Sprintf(format, args...)}
}

// failValue is fail for what is wrong with a value in a text of the right form.
func (s *scanner) failValue(format string, args ...any) error {
	return &SyntaxError{Offset: s.base + int64(s.start), Cause: fmt.Sprintf(format, args...), Value: true}
}

// raw is the present token as it stands in the text, up to a zero byte, where
// PostgreSQL's printing ends.
func (s *scanner) raw() []byte {
	token, _, _ := bytes.Cut(s.buf[s.start:s.pos], []byte{0})
	return token
}

// expected says that the present token is not what must stand here.
func (s *scanner) expected(what string) error {
	if s.kind == atEnd {
		return s.fail("The input string ended unexpectedly.")
	}
	return s.fail("Expected %s, but found \"%s\".", what, s.raw())
}

// invalid says that the present token is none.
func (s *scanner) invalid() error { return s.fail("Token \"%s\" is invalid.", s.raw()) }

// more reads at least one byte after what was read. The present token may move
// to the front of the buffer. It fails with errEnd when the text is over.
func (s *scanner) more() error {
	if s.start > 0 {
		copy(s.buf, s.buf[s.start:s.end])
		s.base += int64(s.start)
		s.end -= s.start
		s.pos -= s.start
		s.start = 0
	}
	for range maxEmptyReads {
		if s.readErr != nil {
			if s.readErr == io.EOF {
				return errEnd
			}
			return s.readErr
		}
		n, err := s.src.Read(s.buf[s.end:])
		s.readErr = err
		if n > 0 {
			if err := s.sum.write(s.buf[s.end : s.end+n]); err != nil {
				return err
			}
			s.end += n
			return nil
		}
	}
	return io.ErrNoProgress
}

// next reads the next token.
func (s *scanner) next() error {
	for {
		for s.pos < s.end {
			switch c := s.buf[s.pos]; c {
			case ' ', '\n', '\t', '\r':
				s.pos++
			default:
				s.start = s.pos
				return s.token(c)
			}
		}
		s.start = s.pos
		if err := s.more(); err == errEnd {
			s.kind = atEnd
			return nil
		} else if err != nil {
			return err
		}
	}
}

// token reads the token that begins with c, at pos.
func (s *scanner) token(c byte) error {
	switch {
	case c == '{' || c == '}' || c == '[' || c == ']' || c == ',' || c == ':':
		s.pos++
		s.kind = kind(c)
		return nil
	case c == '"':
		s.kind = isString
		return s.quoted()
	case c == '-' || isWordByte(c):
		s.kind = isWord
		return s.word()
	}
	s.pos++
	return s.invalid()
}

// isWordByte tells whether PostgreSQL takes a byte for a part of a word.
func isWordByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c >= 0x80
}

// word reads true, false, null or a number.
func (s *scanner) word() error {
	number := s.buf[s.pos] == '-' || '0' <= s.buf[s.pos] && s.buf[s.pos] <= '9'
	length := 0
	for {
		text := s.buf[s.start:s.end]
		var whole bool
		if number {
			length, whole = numberLength(text)
		} else {
			length, whole = wordLength(text, 0), true
		}
		if length < len(text) || s.readErr == io.EOF {
			s.pos = s.start + length
			s.text = text[:length]
			if !whole || !number && string(s.text) != "true" && string(s.text) != "false" && string(s.text) != "null" {
				return s.invalid()
			}
			return nil
		}
		if length > maxStringLength {
			return s.fail("number or word too long")
		}
		if err := s.more(); err != nil && err != errEnd {
			return err
		}
	}
}

// wordLength is how many bytes from the given place on are those of a word,
// together with those before it.
func wordLength(text []byte, from int) int {
	for from < len(text) && isWordByte(text[from]) {
		from++
	}
	return from
}

// numberLength is how many bytes PostgreSQL takes for a number at the beginning
// of a text, and whether they are one.
func numberLength(text []byte) (length int, whole bool) {
	digits := func() bool {
		before := length
		for length < len(text) && '0' <= text[length] && text[length] <= '9' {
			length++
		}
		return length > before
	}
	at := func(set string) bool { return length < len(text) && bytes.IndexByte([]byte(set), text[length]) >= 0 }
	if at("-") {
		length++
	}
	whole = true
	if at("0") {
		length++
	} else {
		whole = digits()
	}
	if at(".") {
		length++
		whole = digits() && whole
	}
	if at("eE") {
		length++
		if at("+-") {
			length++
		}
		whole = digits() && whole
	}
	end := wordLength(text, length)
	return end, whole && end == length
}

// longerThan tells whether the text has more than n bytes, which must be fewer
// than the buffer holds. What is read for that is lost: it is for a text that
// was refused.
func (s *scanner) longerThan(n int64) bool {
	for s.base+int64(s.end) <= n {
		s.start, s.pos = s.end, s.end
		if s.more() != nil {
			return false
		}
	}
	return true
}
