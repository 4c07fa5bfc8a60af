package manifest

import "unicode/utf8"

// quoted reads a string and resolves its escapes.
func (s *scanner) quoted() error {
	escaped := false
	for i := 1; ; {
		text := s.buf[s.start:s.end]
		for i < len(text) {
			c := text[i]
			switch {
			case c == '"':
				s.pos = s.start + i + 1
				if s.text = text[1:i]; escaped {
					return s.unescape(s.text, false)
				}
				return nil
			case c < ' ':
				if escaped { // a fault in front of it is found first
					if err := s.unescape(text[1:i], false); err != nil {
						return err
					}
				}
				return s.fail("Character with value 0x%02x must be escaped.", c)
			case c == '\\':
				// The byte after it is passed over here, and is looked at
				// once the string's end is known.
				escaped = true
				i++
			}
			i++
		}
		if i > maxStringLength {
			return s.fail("string too long")
		}
		if err := s.more(); err == errEnd {
			s.pos = s.end
			if text := s.buf[s.start:s.end]; escaped {
				if err := s.unescape(text[1:], true); err != nil {
					return err
				}
			}
			return s.invalid()
		} else if err != nil {
			return err
		}
	}
}

// unescape resolves the escapes of JSON. A surrogate must have its pair. cut
// says that the text ends with raw: what begins there and has no end is no
// fault of its own then.
func (s *scanner) unescape(raw []byte, cut bool) error {
	const lowAlone = "Unicode low surrogate must follow a high surrogate."
	out := s.unquoted[:0]
	high := rune(-1)
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if c != '\\' || i+1 < len(raw) && raw[i+1] != 'u' {
			if high >= 0 {
				return s.fail(lowAlone)
			}
		}
		if c != '\\' {
			out = append(out, c)
			continue
		}
		if i++; i == len(raw) {
			return nil
		}
		switch c := raw[i]; c {
		case '"', '\\', '/':
			out = append(out, c)
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
			r, digits := hex4(raw[i+1:])
			if digits < 4 {
				if cut && i+1+digits == len(raw) {
					return nil
				}
				return s.fail("\"\\u\" must be followed by four hexadecimal digits.")
			}
			i += 4
			switch {
			case 0xd800 <= r && r < 0xdc00:
				if high >= 0 {
					return s.fail("Unicode high surrogate must not follow a high surrogate.")
				}
				high = r
				continue
			case 0xdc00 <= r && r < 0xe000:
				if high < 0 {
					return s.fail(lowAlone)
				}
				r = 0x10000 + (high-0xd800)<<10 + r - 0xdc00
				high = -1
			case high >= 0:
				return s.fail(lowAlone)
			case r == 0:
				return s.fail("\\u0000 cannot be converted to text.")
			}
			out = utf8.AppendRune(out, r)
		default:
			_, n := utf8.DecodeRune(raw[i:])
			return s.fail("Escape sequence \"\\%s\" is invalid.", raw[i:i+n])
		}
	}
	s.unquoted = out
	if s.text = out; high >= 0 && !cut {
		return s.fail(lowAlone)
	}
	return nil
}

// hex4 reads up to four hexadecimal digits from the beginning of b.
func hex4(b []byte) (r rune, digits int) {
	for _, c := range b[:min(4, len(b))] {
		d, ok := hexDigit(c)
		if !ok {
			break
		}
		r = r<<4 | rune(d)
		digits++
	}
	return r, digits
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
