package manifest

// The grammar of JSON, as much of it as manifests have. Where a value stands
// is known beforehand, so nothing here recurses and no depth can be forced on
// it. As in PostgreSQL's reader, the token after a value is read before the
// value is judged: a fault in that token is told first (src/common/jsonapi.c).

// smallManifest is the largest manifest, in bytes, that pg_verifybackup reads
// in one piece (READ_CHUNK_SIZE in src/bin/pg_verifybackup/pg_verifybackup.c).
// For larger ones it has another parser, which differs in one message.
const smallManifest = 128 << 10

// object reads an object, whose brace is the present token. field is called
// for each key when the present token is the first one of the value, and must
// take the value; the key is valid only until it does. end is called when the
// token after the object is there.
func (r *reader) object(field func(key []byte) error, end func() error) error {
	if err := r.next(); err != nil {
		return err
	}
	switch r.kind {
	case isString:
		for {
			if r.kind != isString {
				return r.expected("string")
			}
			r.key = append(r.key[:0], r.text...)
			if err := r.next(); err != nil {
				return err
			}
			if r.kind != ':' {
				return r.expected("\":\"")
			}
			if err := r.next(); err != nil {
				return err
			}
			if err := field(r.key); err != nil {
				return err
			}
			if r.kind != ',' {
				break
			}
			if err := r.next(); err != nil {
				return err
			}
		}
		if r.kind != '}' {
			return r.expected("\",\" or \"}\"")
		}
	case '}':
	default:
		return r.expected("string or \"}\"")
	}
	if err := r.next(); err != nil {
		return err
	}
	return end()
}

// array reads an array of objects. element is called when the present token is
// the brace of one, and must take it.
func (r *reader) array(element func() error) error {
	switch r.kind {
	case '[':
	case '{':
		return r.fail("unexpected object start")
	default:
		return r.noScalar()
	}
	if err := r.next(); err != nil {
		return err
	}
	for first := true; first && r.kind != ']' || !first; first = false {
		switch {
		case r.kind == '{':
		case r.kind == '[':
			return r.fail("unexpected array start")
		case first && r.kind != isString && r.kind != isWord:
			// What was found is put down before the text is read further.
			if err, other := r.expected("JSON value"), r.expected("array element or \"]\""); !r.longerThan(smallManifest) {
				return err
			} else {
				return other
			}
		default:
			return r.noScalar()
		}
		if err := element(); err != nil {
			return err
		}
		if r.kind != ',' {
			break
		}
		if err := r.next(); err != nil {
			return err
		}
	}
	if r.kind != ']' {
		return r.expected("\",\" or \"]\"")
	}
	return r.next()
}

// str is scalar for a value that is a string. PostgreSQL's reader does not
// tell it from a word.
func (r *reader) str(use func(text []byte)) error {
	if r.kind == isWord {
		r.refuse("value is not a string")
	}
	return r.scalar(use)
}

// scalar reads a string or word. use gets its text, which it must not keep,
// before the next token is read; what it finds wrong is told after that.
func (r *reader) scalar(use func(text []byte)) error {
	switch r.kind {
	case isString, isWord:
		use(r.text)
		return r.next()
	case '{':
		return r.fail("unexpected object start")
	case '[':
		return r.fail("unexpected array start")
	}
	return r.expected("JSON value")
}

// noScalar says what is wrong where neither a scalar nor any other token but
// one may stand.
func (r *reader) noScalar() error {
	if err := r.scalar(func([]byte) {}); err != nil {
		return err
	}
	return r.fail("unexpected scalar")
}

// integer is a number as the C library's strtoul reads it.
type integer struct {
	value uint64
	// whole says that the text is a number and nothing else. An empty text is
	// 0, as it is there.
	whole bool
	// odd says that no server writes the number so: it has a sign or white
	// space, or is too large, or there are no digits.
	odd bool
}

// parseInteger reads a number of up to limit. White space and a sign may stand
// in front of it.
func parseInteger(text []byte, limit uint64) integer {
	if len(text) == 0 {
		return integer{whole: true, odd: true}
	}
	i := 0
	for i < len(text) && (text[i] == ' ' || '\t' <= text[i] && text[i] <= '\r') {
		i++
	}
	var n integer
	if i < len(text) && (text[i] == '-' || text[i] == '+') {
		i++
	}
	first := i
	n.odd = first > 0
	for ; i < len(text) && '0' <= text[i] && text[i] <= '9'; i++ {
		d := uint64(text[i] - '0')
		if n.value > (limit-d)/10 {
			n.odd = true
		}
		n.value = n.value*10 + d
	}
	n.whole = i == len(text) && i > first
	return n
}
