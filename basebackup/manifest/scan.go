package manifest

import (
	"io"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	scanBufferSize = 256 << 10

	// maxStringLength bounds a string as it stands in the text: a longest
	// path of nothing but \u escapes fits.
	maxStringLength = 6*MaxPathLength + 2

	// maxEmptyReads is how often in a row a reader may give nothing.
	maxEmptyReads = 100
)

// scanner takes JSON apart, as much of it as manifests have: objects, arrays,
// strings and whole numbers. It holds one buffer, and no value may be longer
// than a part of it. The grammar is fixed, so its callers do not recurse and
// no depth can be forced on them.
type scanner struct {
	src      io.Reader
	sum      *tailSum
	buf      []byte
	pos, end int   // the unread part of buf
	base     int64 // offset of buf[0] in the text
	readErr  error // what src ended with
	unquoted []byte
	key      []byte
}

func newScanner(src io.Reader) (*scanner, error) {
	sum, err := newTailSum()
	if err != nil {
		return nil, err
	}
	return &scanner{src: src, sum: sum, buf: make([]byte, scanBufferSize)}, nil
}

func (s *scanner) fail(cause string) error {
	return &SyntaxError{Offset: s.base + int64(s.pos), Cause: cause}
}

// more reads at least one byte behind the unread part, which may move to the
// front of the buffer. It fails with errEnd when the text is over.
func (s *scanner) more() error {
	if s.pos > 0 {
		copy(s.buf, s.buf[s.pos:s.end])
		s.base += int64(s.pos)
		s.end -= s.pos
		s.pos = 0
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

// need is more for when the text must go on.
func (s *scanner) need() error {
	err := s.more()
	if err == errEnd {
		return s.fail("unexpected end")
	}
	return err
}

// peek passes over white space and gives the byte after it. It fails with
// errEnd when there is none.
func (s *scanner) peek() (byte, error) {
	for {
		for s.pos < s.end {
			switch c := s.buf[s.pos]; c {
			case ' ', '\n', '\t', '\r':
				s.pos++
			default:
				return c, nil
			}
		}
		if err := s.more(); err != nil {
			return 0, err
		}
	}
}

// next passes over white space and takes the byte after it.
func (s *scanner) next() (byte, error) {
	c, err := s.peek()
	if err == errEnd {
		return 0, s.fail("unexpected end")
	}
	if err != nil {
		return 0, err
	}
	s.pos++
	return c, nil
}

// expect passes over white space and takes one given byte.
func (s *scanner) expect(want byte) error {
	c, err := s.next()
	if err == nil && c != want {
		s.pos--
		return s.fail("expected '" + string(want) + "'")
	}
	return err
}

// object reads an object. field is called for each key and must take the
// value; the key is valid only until it does.
func (s *scanner) object(field func(key []byte) error) error {
	if err := s.expect('{'); err != nil {
		return err
	}
	if c, err := s.next(); err != nil || c == '}' {
		return err
	}
	s.pos--
	for {
		name, err := s.str()
		if err != nil {
			return err
		}
		// Looking for the colon can move the buffer under the name.
		s.key = append(s.key[:0], name...)
		if err := s.expect(':'); err != nil {
			return err
		}
		if err := field(s.key); err != nil {
			return err
		}
		switch c, err := s.next(); {
		case err != nil:
			return err
		case c == '}':
			return nil
		case c != ',':
			s.pos--
			return s.fail("expected ',' or '}'")
		}
	}
}

// array reads an array. element must take one value each time.
func (s *scanner) array(element func() error) error {
	if err := s.expect('['); err != nil {
		return err
	}
	if c, err := s.next(); err != nil || c == ']' {
		return err
	}
	s.pos--
	for {
		if err := element(); err != nil {
			return err
		}
		switch c, err := s.next(); {
		case err != nil:
			return err
		case c == ']':
			return nil
		case c != ',':
			s.pos--
			return s.fail("expected ',' or ']'")
		}
	}
}

// str reads a string and resolves its escapes. The result is valid until the
// scanner is used again.
func (s *scanner) str() ([]byte, error) {
	if err := s.expect('"'); err != nil {
		return nil, err
	}
	escaped := false
	for i := 0; ; {
		text := s.buf[s.pos:s.end]
		for i < len(text) {
			c := text[i]
			switch {
			case c == '"':
				s.pos += i + 1
				if escaped {
					return s.unescape(text[:i])
				}
				return text[:i], nil
			case c < ' ':
				s.pos += i
				return nil, s.fail("control character in a string")
			case c == '\\':
				// The byte after it is passed over here, and is looked at
				// once the string's end is known.
				escaped = true
				i++
			}
			i++
		}
		if i > maxStringLength {
			return nil, s.fail("string too long")
		}
		if err := s.need(); err != nil {
			return nil, err
		}
	}
}

// unescape resolves the escapes of JSON. A surrogate must have its pair.
func (s *scanner) unescape(raw []byte) ([]byte, error) {
	out := s.unquoted[:0]
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if c != '\\' {
			if c < ' ' {
				return nil, s.fail("control character in a string")
			}
			out = append(out, c)
			continue
		}
		i++ // never the last byte: a string cannot end behind a backslash
		switch raw[i] {
		case '"', '\\', '/':
			out = append(out, raw[i])
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, ok := hex4(raw[i+1:])
			if !ok {
				return nil, s.fail("invalid \\u escape")
			}
			i += 4
			if utf16.IsSurrogate(r) {
				low := rune(-1)
				if i+2 < len(raw) && raw[i+1] == '\\' && raw[i+2] == 'u' {
					low, _ = hex4(raw[i+3:])
				}
				if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
					return nil, s.fail("unpaired surrogate")
				}
				i += 6
			}
			out = utf8.AppendRune(out, r)
		default:
			return nil, s.fail("invalid escape")
		}
	}
	s.unquoted = out
	return out, nil
}

// hex4 reads the first four bytes as hexadecimal digits.
func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return -1, false
	}
	var r rune
	for _, c := range b[:4] {
		d, ok := hexDigit(c)
		if !ok {
			return -1, false
		}
		r = r<<4 | rune(d)
	}
	return r, true
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// integer reads a whole number that is not negative, as a JSON number or as a
// string of digits: PostgreSQL's reader does not tell these apart.
func (s *scanner) integer(limit uint64) (uint64, error) {
	c, err := s.next()
	if err != nil {
		return 0, err
	}
	s.pos--
	if c == '"' {
		text, err := s.str()
		if err != nil {
			return 0, err
		}
		return s.digits(text, limit)
	}
	for i := 0; ; {
		text := s.buf[s.pos:s.end]
		for i < len(text) && '0' <= text[i] && text[i] <= '9' {
			i++
		}
		if i > maxDigits {
			return 0, s.fail("number too long")
		}
		if i < len(text) {
			if i > 1 && text[0] == '0' {
				return 0, s.fail("number with a leading zero")
			}
			s.pos += i
			return s.digits(text[:i], limit)
		}
		if err := s.need(); err != nil {
			return 0, err
		}
	}
}

// maxDigits is how many digits the largest uint64 has.
const maxDigits = 20

func (s *scanner) digits(text []byte, limit uint64) (uint64, error) {
	if len(text) == 0 || len(text) > maxDigits {
		return 0, s.fail("expected a whole number")
	}
	var n uint64
	for _, c := range text {
		d := uint64(c - '0')
		if d > 9 {
			return 0, s.fail("expected a whole number")
		}
		if n > (limit-d)/10 {
			return 0, s.fail("number out of range")
		}
		n = n*10 + d
	}
	return n, nil
}
