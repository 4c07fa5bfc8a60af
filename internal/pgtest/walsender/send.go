package walsender

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/jackc/pgproto3/v2"
)

// Send sends a message of any type.
func (c *Conn) Send(m pgproto3.BackendMessage) {
	buf, err := m.Encode(nil)
	if err != nil {
		c.fail(err)
		return
	}
	c.Raw(buf)
}

// Raw sends bytes as they are.
func (c *Conn) Raw(p []byte) {
	if c.before != nil && !c.inside && c.err == nil {
		c.inside = true
		c.before(c)
		c.inside = false
	}
	if c.err != nil {
		return
	}
	if _, err := c.out.Write(p); err != nil {
		c.fail(err)
	}
}

func (c *Conn) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

// Frame sends a message with any type byte and any length field, which in a
// proper message is the length of the body plus 4.
func (c *Conn) Frame(kind byte, length uint32, body []byte) {
	c.Raw(append(binary.BigEndian.AppendUint32([]byte{kind}, length), body...))
}

// BeforeEach runs do before each message that the connection sends from now
// on; nil ends that. What do sends itself is not preceded by more.
func (c *Conn) BeforeEach(do func(c *Conn)) { c.before = do }

// Type OIDs of the columns that a walsender sends.
var typeOIDs = map[string]uint32{"text": 25, "int8": 20, "int4": 23, "oid": 26, "bytea": 17}

// RowDescription begins a result set. A column is given as its name, or as
// name:type with one of text, int8, int4, oid, bytea; text is the default.
func (c *Conn) RowDescription(columns ...string) {
	m := &pgproto3.RowDescription{}
	for _, column := range columns {
		name, kind, found := strings.Cut(column, ":")
		if !found {
			kind = "text"
		}
		oid, ok := typeOIDs[kind]
		if !ok {
			c.fail(fmt.Errorf("unknown column type %q", column))
			return
		}
		m.Fields = append(m.Fields, pgproto3.FieldDescription{
			Name: []byte(name), DataTypeOID: oid, DataTypeSize: -1, TypeModifier: -1,
		})
	}
	c.Send(m)
}

// DataRow sends a row. nil is NULL, an LSN gets the text form of the release,
// and other values are printed.
func (c *Conn) DataRow(values ...any) {
	m := &pgproto3.DataRow{}
	for _, v := range values {
		switch v := v.(type) {
		case nil:
			m.Values = append(m.Values, nil)
		case []byte:
			m.Values = append(m.Values, append([]byte{}, v...))
		case LSN:
			m.Values = append(m.Values, []byte(c.server.lsn(v)))
		default:
			m.Values = append(m.Values, append([]byte{}, fmt.Sprint(v)...))
		}
	}
	c.Send(m)
}

// Columns names the columns of a result set; see RowDescription.
type Columns []string

// Row sends a result set of one row without its CommandComplete.
func (c *Conn) Row(columns Columns, values ...any) {
	c.RowDescription(columns...)
	c.DataRow(values...)
}

// Answer sends a result set of one row and everything behind it, so that the
// next command can come.
func (c *Conn) Answer(columns Columns, values ...any) {
	c.Row(columns, values...)
	c.Complete("SELECT")
}

// Complete sends CommandComplete and ReadyForQuery.
func (c *Conn) Complete(tag string) {
	c.CommandComplete(tag)
	c.ReadyForQuery()
}

// CommandComplete sends the end of a command or of one of its result sets.
func (c *Conn) CommandComplete(tag string) {
	c.Send(&pgproto3.CommandComplete{CommandTag: []byte(tag)})
}

// ReadyForQuery says that the next command can come.
func (c *Conn) ReadyForQuery() { c.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'}) }

// ParameterStatus reports a setting.
func (c *Conn) ParameterStatus(name, value string) {
	c.Send(&pgproto3.ParameterStatus{Name: name, Value: value})
}

// Error sends an ErrorResponse. more is a detail and a hint. As on a real
// server, the session's temporary slots are gone.
func (c *Conn) Error(sqlstate, message string, more ...string) {
	c.server.mu.Lock()
	c.server.dropTemporarySlots(c.id)
	c.server.mu.Unlock()
	c.Send(report("ERROR", sqlstate, message, more))
}

// Fail sends an ErrorResponse and ReadyForQuery.
func (c *Conn) Fail(sqlstate, message string, more ...string) {
	c.Error(sqlstate, message, more...)
	c.ReadyForQuery()
}

// Fatal sends an ErrorResponse of severity FATAL and closes the connection.
func (c *Conn) Fatal(sqlstate, message string, more ...string) {
	c.Send(report("FATAL", sqlstate, message, more))
	c.Close()
}

// Notice sends a NoticeResponse of severity NOTICE, WARNING, INFO, LOG or
// DEBUG. more is a detail and a hint.
func (c *Conn) Notice(severity, sqlstate, message string, more ...string) {
	c.Send((*pgproto3.NoticeResponse)(report(severity, sqlstate, message, more)))
}

func report(severity, sqlstate, message string, more []string) *pgproto3.ErrorResponse {
	m := &pgproto3.ErrorResponse{
		Severity: severity, SeverityUnlocalized: severity, Code: sqlstate, Message: message,
		File: "walsender.c", Line: 1, Routine: "script",
	}
	if len(more) > 0 {
		m.Detail = more[0]
	}
	if len(more) > 1 {
		m.Hint = more[1]
	}
	return m
}

// CopyOut begins a COPY to the client.
func (c *Conn) CopyOut() { c.Send(&pgproto3.CopyOutResponse{}) }

// CopyIn begins a COPY from the client.
func (c *Conn) CopyIn() { c.Send(&pgproto3.CopyInResponse{}) }

// CopyBoth begins a COPY in both directions, as START_REPLICATION does.
func (c *Conn) CopyBoth() { c.Send(&pgproto3.CopyBothResponse{}) }

// CopyData sends one CopyData message.
func (c *Conn) CopyData(p []byte) { c.Send(&pgproto3.CopyData{Data: p}) }

// CopyDone ends a COPY.
func (c *Conn) CopyDone() { c.Send(&pgproto3.CopyDone{}) }
