package tarx

import "fmt"

// Handler takes the members of a tar stream, one after the other, from the
// Parser's Write. An error that a method returns ends the parsing: Write
// returns it unchanged, and no method is called again.
//
// The methods must not call Write, Close or Reset of the Parser that calls
// them. Offset is allowed.
type Handler interface {
	// BeginMember starts a member. h belongs to the Parser and is valid only
	// during the call; its strings may be kept.
	BeginMember(h *Header) error

	// Content brings the next bytes of the member. p belongs to whoever calls
	// Write and is valid only during the call; it must not be changed. It is
	// never empty. The lengths of all calls add up to Header.Size.
	Content(p []byte) error

	// EndMember ends the member after its last byte and its padding. It comes
	// once for each BeginMember that succeeded, for directories, links and
	// empty files too, unless an error or the stream's end comes first.
	EndMember() error
}

// state is what the next byte of the stream belongs to.
type state uint8

const (
	inHeader state = iota
	inContent
	inPadding
	inTrailer
)

// Parser splits a tar stream that is pushed into it with Write. It is not safe
// for use by several goroutines at once.
type Parser struct {
	handler Handler
	state   state
	left    int64 // bytes of content or of padding to come
	pad     int64 // length of the padding after the content
	zeros   int64 // bytes of trailer seen
	offset  int64
	err     error
	closed  bool

	header Header
	filled int // bytes of a split header gathered in buf
	buf    block
}

var zeroBlock block

// NewParser makes a Parser that hands the members of one stream to h.
func NewParser(h Handler) *Parser {
	return &Parser{handler: h}
}

// Reset forgets the old stream and any error, and makes p ready for a new one
// that goes to h.
func (p *Parser) Reset(h Handler) {
	*p = Parser{handler: h}
}

// Offset is how many bytes of the stream have been consumed. Seen from the
// Handler's methods it is the end of the header in BeginMember, the place of
// the slice's first byte in Content, and the end of the padding, where the next
// header begins, in EndMember.
func (p *Parser) Offset() int64 { return p.offset }

// Write parses the next piece of the stream, which may be cut anywhere, and
// calls the Handler for what is in it. b is not kept.
//
// It returns a *FormatError for what is no tar stream of a base backup, else
// the Handler's error. After an error each further Write returns that same
// error; after Close the error wraps fs.ErrClosed.
func (p *Parser) Write(b []byte) (int, error) {
	if p.err != nil {
		return 0, p.err
	}
	if p.closed {
		return 0, errClosed
	}
	done := 0
	for done < len(b) {
		n, err := p.step(b[done:])
		done += n
		if err != nil {
			p.err = err
			return done, err
		}
	}
	return done, nil
}

// Close tells that the stream has ended. The end is legal before the first
// header and after any member, either at once (servers up to release 14 send no
// trailer) or after at least two blocks of zeros; elsewhere the error is a
// *FormatError with ErrTruncated in its chain. After an error of Write, Close
// returns that error. Further calls return the same as the first.
func (p *Parser) Close() error {
	if p.err == nil && !p.closed {
		p.err = p.checkEnd()
	}
	p.closed = true
	return p.err
}

// Terminated tells whether the two blocks of zeros were seen that end an
// archive. Without them it may have been cut after any member, which Close
// cannot tell.
func (p *Parser) Terminated() bool { return p.state == inTrailer && p.zeros >= trailerSize }

// InTrailer tells whether what ends an archive has begun: all its members were
// handed on.
func (p *Parser) InTrailer() bool { return p.state == inTrailer }

// checkEnd tells whether the stream may end here.
func (p *Parser) checkEnd() error {
	var reason string
	switch {
	case p.state == inHeader && p.filled > 0:
		reason = fmt.Sprintf("truncated after %d bytes of a header", p.filled)
	case p.state == inContent:
		reason = fmt.Sprintf("truncated in member %q, %d bytes of content are missing", p.header.Name, p.left)
	case p.state == inPadding:
		reason = fmt.Sprintf("truncated in the padding of member %q", p.header.Name)
	case p.state == inTrailer && p.zeros < trailerSize:
		reason = fmt.Sprintf("truncated after %d bytes of the trailer", p.zeros)
	default:
		return nil
	}
	return &FormatError{Offset: p.offset, Reason: reason, cause: ErrTruncated}
}

// step consumes a first part of b, which is not empty.
func (p *Parser) step(b []byte) (int, error) {
	switch p.state {
	case inContent:
		return p.content(b)
	case inPadding:
		n := min(int64(len(b)), p.left)
		p.offset += n
		p.left -= n
		if p.left > 0 {
			return int(n), nil
		}
		return int(n), p.endMember()
	case inTrailer:
		return p.trailer(b)
	}
	if p.filled == 0 && len(b) >= blockSize {
		p.offset += blockSize
		return blockSize, p.beginMember((*block)(b))
	}
	n := copy(p.buf[p.filled:], b)
	p.filled += n
	p.offset += int64(n)
	if p.filled < blockSize {
		return n, nil
	}
	p.filled = 0
	return n, p.beginMember(&p.buf)
}

// beginMember takes a whole header, which ends at p.offset.
func (p *Parser) beginMember(b *block) error {
	if *b == zeroBlock {
		p.state, p.zeros = inTrailer, blockSize
		return nil
	}
	if reason, cause := p.header.decode(b); reason != "" {
		return &FormatError{Offset: p.offset - blockSize, Reason: reason, cause: cause}
	}
	// The size is taken before the handler sees the header: whatever that does
	// to it must not move the parser's place in the stream.
	p.left, p.pad = p.header.Size, int64(Padding(p.header.Size))
	if err := p.handler.BeginMember(&p.header); err != nil {
		return err
	}
	if p.left == 0 {
		return p.endMember()
	}
	p.state = inContent
	return nil
}

// content hands on what b has of the member.
func (p *Parser) content(b []byte) (int, error) {
	n := int(min(int64(len(b)), p.left))
	// The capacity is cut too, so that an append cannot reach what follows.
	if err := p.handler.Content(b[:n:n]); err != nil {
		return 0, err
	}
	p.offset += int64(n)
	p.left -= int64(n)
	if p.left > 0 {
		return n, nil
	}
	if p.pad > 0 {
		p.state, p.left = inPadding, p.pad
		return n, nil
	}
	return n, p.endMember()
}

func (p *Parser) endMember() error {
	p.state = inHeader
	return p.handler.EndMember()
}

// trailer takes what follows the last member: zeros only, as many as there are.
func (p *Parser) trailer(b []byte) (int, error) {
	for i, c := range b {
		if c != 0 {
			p.offset += int64(i)
			return i, &FormatError{Offset: p.offset, Reason: "data follows the end of the archive"}
		}
	}
	p.zeros += int64(len(b))
	p.offset += int64(len(b))
	return len(b), nil
}
