package walsender

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/jackc/pgproto3/v2"
)

// The columns that a walsender answers its small commands with
// (PostgreSQL manual, "Streaming Replication Protocol").
var (
	identifyColumns = Columns{"systemid", "timeline:int8", "xlogpos", "dbname"}
	createColumns   = Columns{"slot_name", "consistent_point", "snapshot_name", "output_plugin"}
	readColumns     = Columns{"slot_type", "restart_lsn", "restart_tli:int8"}
	historyColumns  = Columns{"filename", "content"}
)

// addDefaults sets up what every server can answer.
func (s *Server) addDefaults() {
	s.Handle("SHOW", func(c *Conn) error {
		name := word(c.query, 1)
		value, ok := map[string]string{
			"wal_segment_size":    s.options.SegmentSize,
			"data_directory_mode": s.options.DataDirectoryMode,
			"server_version":      s.options.Version,
			"server_version_num":  fmt.Sprint(s.versionNum()),
			"wal_sender_timeout":  s.options.WALSenderTimeout,
		}[strings.ToLower(name)]
		if !ok || strings.EqualFold(name, "data_directory_mode") && s.Major() < 11 {
			c.Fail("42704", fmt.Sprintf("unrecognized configuration parameter %q", name))
			return nil
		}
		c.RowDescription(name)
		c.DataRow(value)
		c.Complete("SHOW")
		return nil
	})
	s.Handle("IDENTIFY_SYSTEM", func(c *Conn) error {
		c.IdentifySystem(s.position())
		return nil
	})
	s.Handle("TIMELINE_HISTORY", func(c *Conn) error {
		c.noHistory(word(c.query, 1))
		return nil
	})
	s.Handle("CREATE_REPLICATION_SLOT", func(c *Conn) error { return s.createSlot(c) })
	s.Handle("DROP_REPLICATION_SLOT", func(c *Conn) error { return s.dropSlot(c) })
	s.HandleFunc(func(q string) bool { return s.Major() >= 15 && beginsWith("READ_REPLICATION_SLOT")(q) },
		func(c *Conn) error { return s.readSlot(c) })
	s.HandleFunc(func(q string) bool { return s.Major() >= 17 && beginsWith("UPLOAD_MANIFEST")(q) },
		func(c *Conn) error { return s.takeManifest(c) })
}

// IdentifySystem answers IDENTIFY_SYSTEM with a position; a test that wants
// other values can answer with Conn.Answer.
func (c *Conn) IdentifySystem(p Position) {
	c.Answer(identifyColumns, c.server.options.SystemID, p.Timeline, p.LSN, nil)
}

// TimelineHistory answers TIMELINE_HISTORY with a file.
func (c *Conn) TimelineHistory(name string, content []byte) {
	c.Answer(historyColumns, name, content)
}

func (c *Conn) noHistory(timeline string) {
	var n uint32
	_, _ = fmt.Sscan(timeline, &n)
	c.Fail("58P01", fmt.Sprintf(`could not open file "pg_wal/%08X.history": No such file or directory`, n))
}

// takeManifest plays UPLOAD_MANIFEST (PostgreSQL manual, "Streaming Replication Protocol").
func (s *Server) takeManifest(c *Conn) error {
	c.CopyIn()
	var manifest bytes.Buffer
	for {
		m, err := c.Receive()
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *pgproto3.CopyData:
			manifest.Write(m.Data)
		case *pgproto3.CopyDone:
			s.record(func() { s.uploads = append(s.uploads, manifest.Bytes()) })
			c.Complete("UPLOAD_MANIFEST")
			return nil
		case *pgproto3.CopyFail:
			c.Fail("57014", "COPY from stdin failed: "+m.Message)
			return nil
		default:
			return fmt.Errorf("client sent %T in the manifest", m)
		}
	}
}

// word is a command's n-th word, without quotes and the semicolon.
func word(query string, n int) string {
	fields := strings.Fields(strings.TrimRight(query, "; "))
	if n >= len(fields) {
		return ""
	}
	w := fields[n]
	if len(w) >= 2 && w[0] == '"' && w[len(w)-1] == '"' {
		return strings.ReplaceAll(w[1:len(w)-1], `""`, `"`)
	}
	return w
}
