package walsender

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgproto3/v2"
)

// Feedback is a standby status update (PostgreSQL manual, "Streaming Replication Protocol"):
//
//	'r'  int64 written, int64 flushed, int64 applied,
//	     int64 client time, byte reply requested
type Feedback struct {
	Conn                      int // number of the connection
	Written, Flushed, Applied LSN
	Time                      time.Time
	ReplyRequested            bool
}

const feedbackLength = 34

// epoch is where the protocol's times, in microseconds, count from.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func now() uint64 { return uint64(time.Since(epoch).Microseconds()) }

func parseFeedback(p []byte) (Feedback, error) {
	if len(p) != feedbackLength || p[0] != 'r' || p[33] > 1 {
		return Feedback{}, fmt.Errorf("invalid status message %q of %d bytes", head(p), len(p))
	}
	at := func(i int) uint64 { return binary.BigEndian.Uint64(p[i:]) }
	return Feedback{
		Written: LSN(at(1)), Flushed: LSN(at(9)), Applied: LSN(at(17)),
		Time:           epoch.Add(time.Duration(at(25)) * time.Microsecond),
		ReplyRequested: p[33] == 1,
	}, nil
}

// Receive waits for the client's next message. It returns ErrClientGone if
// none will come.
func (c *Conn) Receive() (pgproto3.FrontendMessage, error) {
	timeout := c.server.options.Timeout
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	m, err := c.inbox.next(timer.C)
	if err == nil && m == nil {
		return nil, fmt.Errorf("client sent nothing for %v", timeout)
	}
	return m, err
}

// ReceiveCopyData waits for CopyData and returns what it holds. CopyDone is
// io.EOF.
func (c *Conn) ReceiveCopyData() ([]byte, error) {
	m, err := c.Receive()
	if err != nil {
		return nil, err
	}
	switch m := m.(type) {
	case *pgproto3.CopyData:
		return m.Data, nil
	case *pgproto3.CopyDone:
		return nil, io.EOF
	}
	return nil, fmt.Errorf("client sent %T, want CopyData or CopyDone", m)
}

// ReceiveFeedback waits for the next status message. CopyDone is io.EOF. A
// hot standby feedback message is skipped; the stock tools never send one.
func (c *Conn) ReceiveFeedback() (Feedback, error) {
	for {
		p, err := c.ReceiveCopyData()
		if err != nil {
			return Feedback{}, err
		}
		if len(p) == 25 && p[0] == 'h' {
			continue
		}
		f, err := parseFeedback(p)
		f.Conn = c.id
		return f, err
	}
}

// WaitCopyDone waits for the client's CopyDone, over status messages, and
// returns these.
func (c *Conn) WaitCopyDone() ([]Feedback, error) {
	var list []Feedback
	for {
		f, err := c.ReceiveFeedback()
		if err == io.EOF {
			return list, nil
		}
		if err != nil {
			return list, err
		}
		list = append(list, f)
	}
}
