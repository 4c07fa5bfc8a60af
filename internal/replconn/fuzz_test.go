package replconn

import (
	"bytes"
	"errors"
	"io"
	"testing"

	v2 "github.com/jackc/pgproto3/v2"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// splits makes sizes of reads from fuzzed bytes: mostly small, some long.
func splits(seed []byte) []int {
	sizes := make([]int, len(seed))
	for i, b := range seed {
		sizes[i] = int(b)
		if b > 200 {
			sizes[i] = int(b) << 9
		}
	}
	return sizes
}

// FuzzFrames gives any bytes: what is handed on is what came, in order, and
// the buffer does not grow over the longest frame that is allowed.
func FuzzFrames(f *testing.F) {
	f.Add(wire(someFrames()), []byte{1, 2, 3})
	f.Add([]byte{'d', 0, 0xff, 0xff, 0xff, 1, 2, 3}, []byte{5})
	f.Add([]byte{'d', 0xff, 0xff, 0xff, 0xff}, []byte{})
	f.Fuzz(func(t *testing.T, stream, sizes []byte) {
		r := newFrameReader(&torn{rest: stream, sizes: splits(sizes)})
		frames, err := readFrames(r)
		handedOn := wire(frames)
		if !bytes.HasPrefix(stream, handedOn) {
			t.Fatalf("%x was handed on as %x", stream, handedOn)
		}
		if int64(len(handedOn)) != r.offset {
			t.Fatalf("offset %d after %d bytes", r.offset, len(handedOn))
		}
		if len(r.buf) > maxFrame+1 {
			t.Fatalf("buffer of %d bytes", len(r.buf))
		}
		switch left := len(stream) - len(handedOn); {
		case err == io.EOF && left == 0:
		case err == io.ErrUnexpectedEOF && left > 0:
		case errors.Is(err, ErrMalformed) && left >= frameHeader:
		default:
			t.Fatalf("%v with %d bytes left", err, left)
		}
	})
}

// messagesOf makes well-formed messages of a server out of fuzzed bytes: two
// bytes say which and how long, the following are its content.
func messagesOf(program []byte) []v2.BackendMessage {
	var list []v2.BackendMessage
	for len(program) >= 2 {
		which, n := program[0], int(program[1])
		program = program[2:]
		content := program[:min(n, len(program))]
		program = program[len(content):]
		text := string(bytes.ReplaceAll(content, []byte{0}, []byte{'0'}))
		var m v2.BackendMessage
		switch which % 14 {
		case 0:
			m = &v2.CopyData{Data: content}
		case 1:
			m = &v2.CopyData{Data: bytes.Repeat(content, 2000)}
		case 2:
			m = &v2.DataRow{Values: [][]byte{content, nil, {}}}
		case 3:
			m = &v2.RowDescription{Fields: []v2.FieldDescription{{Name: []byte(text), DataTypeOID: 25, DataTypeSize: -1}}}
		case 4:
			m = &v2.CommandComplete{CommandTag: []byte(text)}
		case 5:
			m = &v2.ReadyForQuery{TxStatus: 'I'}
		case 6:
			m = &v2.ParameterStatus{Name: text, Value: "on"}
		case 7:
			m = &v2.NoticeResponse{Severity: "NOTICE", Message: text}
		case 8:
			m = &v2.ErrorResponse{Severity: "ERROR", Code: "58P01", Message: text}
		case 9:
			m = &v2.CopyBothResponse{ColumnFormatCodes: make([]uint16, len(content))}
		case 10:
			m = &v2.CopyOutResponse{ColumnFormatCodes: make([]uint16, len(content))}
		case 11:
			m = &v2.CopyDone{}
		case 12:
			m = &v2.NotificationResponse{PID: uint32(n), Channel: text, Payload: text}
		case 13:
			m = &v2.EmptyQueryResponse{}
		}
		list = append(list, m)
	}
	return list
}

// FuzzFramesAgainstPgproto3v2 compares with another implementation: on the
// same stream, torn in any way, both see the same messages.
func FuzzFramesAgainstPgproto3v2(f *testing.F) {
	f.Add([]byte("\x00\x05hello\x01\x04wal!\x02\x03row\x03\x03col\x04\x08COPY 0\x00\x00\x05\x00"), []byte{1, 3, 255})
	f.Add([]byte("\x06\x02ab\x07\x02cd\x08\x02ef\x09\x02gh\x0a\x01i\x0b\x00\x0c\x02jk\x0d\x00"), []byte{2})
	f.Fuzz(func(t *testing.T, program, sizes []byte) {
		if len(program) > 1<<12 {
			return // the streams get long, and slow, not more interesting
		}
		var stream []byte
		messages := messagesOf(program)
		for _, m := range messages {
			var err error
			if stream, err = m.Encode(stream); err != nil {
				t.Fatal(err)
			}
		}
		ours := newFrameReader(&torn{rest: stream, sizes: splits(sizes)})
		theirs := v2.NewFrontend(v2.NewChunkReader(&torn{rest: stream, sizes: splits(sizes)}), nil)
		for i := range messages {
			m, err := theirs.Receive()
			if err != nil {
				t.Fatalf("message %d: the other implementation: %v", i, err)
			}
			want, err := m.Encode(nil)
			if err != nil {
				t.Fatal(err)
			}
			kind, body, err := ours.next()
			if err != nil {
				t.Fatalf("message %d: %v", i, err)
			}
			if got := frame(kind, body); !bytes.Equal(got, want) {
				t.Fatalf("message %d is %x, the other implementation has %x", i, got, want)
			}
		}
		if _, _, err := ours.next(); err != io.EOF {
			t.Fatalf("%v behind the last message", err)
		}
	})
}

// FuzzMessages gives any bytes as the answers of a server: everything that
// reads them ends, with a result or one of the errors that callers know.
func FuzzMessages(f *testing.F) {
	row := encode(f,
		&pgproto3.NoticeResponse{Severity: "WARNING", Message: "w"},
		&pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{{Name: []byte("a")}, {Name: []byte("b")}}},
		&pgproto3.DataRow{Values: [][]byte{nil, []byte("x")}},
		&pgproto3.ParameterStatus{Name: "n", Value: "v"},
		&pgproto3.CommandComplete{CommandTag: []byte("SELECT")},
		&pgproto3.ReadyForQuery{TxStatus: 'I'})
	failure := encode(f, &pgproto3.ErrorResponse{Severity: "ERROR", Code: "42704", Message: "no"}, &pgproto3.ReadyForQuery{TxStatus: 'I'})
	f.Add(append(bytes.Clone(row), failure...), []byte{0, 1, 2, 0})
	f.Add(append(bytes.Clone(failure), row...), []byte{1, 1})
	f.Add(frame('T', []byte{0xff, 0xff}), []byte{0})
	f.Add(append(frame('T', []byte{0, 0}), frame('D', []byte{0, 1, 0xff, 0xff, 0xff, 0xfe})...), []byte{0})
	f.Add(frame('E', []byte("SERROR")), []byte{1})
	f.Fuzz(func(t *testing.T, stream, calls []byte) {
		c := reading(stream)
		c.OnNotice = func(n *pgconn.Notice) { _ = n.Message }
		for i := range len(stream) + 1 {
			var err error
			call := byte(0)
			if len(calls) > 0 {
				call = calls[i%len(calls)]
			}
			switch call % 3 {
			case 0:
				var result *Result
				if result, err = c.ReadResult(); err == nil {
					for _, row := range result.Rows {
						if len(row) != len(result.Columns) {
							t.Fatalf("row of %d, %d columns", len(row), len(result.Columns))
						}
					}
				}
			case 1:
				err = c.Drain()
			case 2:
				_, _, err = c.Receive()
			}
			var pg *pgconn.PgError
			switch {
			case errors.Is(err, ErrClosedByServer):
				return
			case err == nil, errors.Is(err, ErrMalformed), errors.As(err, &pg):
			default:
				t.Fatalf("unknown error: %v", err)
			}
		}
		// Each call takes a frame at least, unless a length is malformed,
		// which stays in the way.
		if _, _, err := c.frames.next(); !errors.Is(err, ErrMalformed) {
			t.Fatalf("the stream does not end: %v", err)
		}
	})
}
