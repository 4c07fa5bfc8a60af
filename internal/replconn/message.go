package replconn

import (
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// The types of the server's messages that a caller of Receive meets
// (PostgreSQL manual, "Message Formats").
const (
	CopyData         = 'd'
	CopyDone         = 'c'
	CopyOutResponse  = 'H'
	CopyInResponse   = 'G'
	CopyBothResponse = 'W'
	CommandComplete  = 'C'
	RowDescription   = 'T'
	DataRow          = 'D'
	ReadyForQuery    = 'Z'
	errorResponse    = 'E'
	noticeResponse   = 'N'
	parameterStatus  = 'S'
	notification     = 'A'
)

// Receive returns the next message that is an answer to the command. Notices,
// parameter changes and notifications, which may come anywhere, are dealt
// with inside and end nothing. body is valid until the next call.
//
// An error of the server is returned as a *pgconn.PgError; unless its severity
// is FATAL, ReadyForQuery follows and Drain reads up to it.
func (c *Conn) Receive() (kind byte, body []byte, err error) {
	for {
		kind, body, err := c.frames.next()
		if err != nil {
			return 0, nil, c.cause(err)
		}
		switch kind {
		case noticeResponse:
			if err := c.notice(body); err != nil {
				return 0, nil, err
			}
		case parameterStatus:
			var m pgproto3.ParameterStatus
			if err := m.Decode(body); err != nil {
				return 0, nil, fmt.Errorf("%w: parameter status: %w", ErrMalformed, err)
			}
			// A server reports a dozen of settings; one that goes on
			// inventing names must not fill the memory.
			if _, known := c.params[m.Name]; known || len(c.params) < 1000 {
				c.params[m.Name] = m.Value
			}
		case notification:
		case errorResponse:
			var m pgproto3.ErrorResponse
			if err := m.Decode(body); err != nil {
				return 0, nil, fmt.Errorf("%w: error response: %w", ErrMalformed, err)
			}
			return 0, nil, pgconn.ErrorResponseToPgError(&m)
		default:
			return kind, body, nil
		}
	}
}

// Buffered tells whether Receive would find a message without waiting for the
// server. A notice or a parameter change alone is none: Receive would deal with
// it and wait.
func (c *Conn) Buffered() bool { return c.frames.buffered(asynchronous) }

// asynchronous tells whether a message is one of those that Receive deals with
// inside.
func asynchronous(kind byte) bool {
	return kind == noticeResponse || kind == parameterStatus || kind == notification
}

func (c *Conn) notice(body []byte) error {
	var m pgproto3.NoticeResponse
	if err := m.Decode(body); err != nil {
		return fmt.Errorf("%w: notice: %w", ErrMalformed, err)
	}
	if c.OnNotice != nil {
		e := pgproto3.ErrorResponse(m)
		c.OnNotice((*pgconn.Notice)(pgconn.ErrorResponseToPgError(&e)))
	}
	return nil
}

// Unexpected is the error for a message that has no place in the protocol
// here.
func Unexpected(kind byte, while string) error {
	return fmt.Errorf("%w: unexpected message type %q while %s", ErrMalformed, kind, while)
}
