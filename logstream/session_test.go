package logstream_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgproto3/v2"
	"github.com/pgbraid/pgbraid/internal/pgtest/walsender"
	"github.com/pgbraid/pgbraid/logstream"
)

// walAt is a 'w' message of 100 bytes of 0xEE, which a server that behaves
// never sends.
func walAt(l logstream.LSN) []byte {
	m := make([]byte, 25, 125)
	m[0] = 'w'
	binary.BigEndian.PutUint64(m[1:], uint64(l))
	for range 100 {
		m = append(m, 0xEE)
	}
	return m
}

func TestMalformedStreamIsAnErrorAndWritesNothing(t *testing.T) {
	t.Parallel()
	const mid = origin + 40960
	data := func(p []byte) walsender.Hook {
		return func(c *walsender.Conn) error { c.CopyData(p); c.Hang(); return walsender.Stop }
	}
	for name, hook := range map[string]walsender.Hook{
		"empty CopyData":             data(nil),
		"w of one byte":              data([]byte{'w'}),
		"w of 24 bytes":              data(walAt(mid)[:24]),
		"k of one byte":              data([]byte{'k'}),
		"k of 17 bytes":              data(append([]byte{'k'}, make([]byte, 16)...)),
		"unknown header":             data(append([]byte{'z'}, walAt(mid)...)),
		"a client's message":         data(append([]byte{'r'}, make([]byte, 33)...)),
		"gap":                        data(walAt(mid + 1)),
		"gap of a segment":           data(walAt(mid + mb)),
		"repeated byte":              data(walAt(mid - 1)),
		"from the beginning":         data(walAt(0)),
		"at the end of the numbers":  data(walAt(^logstream.LSN(0) - 10)),
		"row in the stream":          func(c *walsender.Conn) error { c.DataRow("x"); return walsender.Hang(c) },
		"second CopyBoth":            func(c *walsender.Conn) error { c.CopyBoth(); return walsender.Hang(c) },
		"ReadyForQuery":              func(c *walsender.Conn) error { c.ReadyForQuery(); return walsender.Hang(c) },
		"unknown message":            func(c *walsender.Conn) error { c.Frame('?', 4, nil); return walsender.Hang(c) },
		"length 0":                   func(c *walsender.Conn) error { c.Frame('d', 0, nil); return walsender.Hang(c) },
		"length of 3 GB":             func(c *walsender.Conn) error { c.Frame('d', 3<<30, nil); return walsender.Hang(c) },
		"length of 4 GB":             func(c *walsender.Conn) error { c.Frame('d', 1<<32-1, nil); return walsender.Hang(c) },
		"broken error":               func(c *walsender.Conn) error { c.Frame('E', 8, []byte("XXXX")); return walsender.Hang(c) },
		"broken ParameterStatus":     func(c *walsender.Conn) error { c.Frame('S', 7, []byte("abc")); return walsender.Hang(c) },
		"error":                      func(c *walsender.Conn) error { c.Fail("XX000", "segment is unreadable"); return walsender.Stop },
		"end":                        walsender.Cut,
		"reset":                      walsender.Reset,
		"half a message and the end": func(c *walsender.Conn) error { c.CutAfter(60); c.CopyData(walAt(mid)); return walsender.Stop },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := script(t, 1, nil)
			b.wal.At(walsender.LSN(mid), hook)
			if err := b.receive(at(1, origin), at(1, origin+mb)); err == nil {
				t.Error("no error")
			} else {
				t.Log(err)
			}
			b.holds(1, origin, mid, false)
			if s := b.Status(); s.Written != at(1, mid) {
				t.Errorf("status: %+v", s)
			}
		})
	}
}

func TestMalformedNextTimelineIsAnErrorAndWritesNothing(t *testing.T) {
	t.Parallel()
	const end = origin + 40960
	next := walsender.Columns{"next_tli:int8", "next_tli_startpos"}
	row := func(columns walsender.Columns, values ...any) walsender.Hook {
		return func(c *walsender.Conn) error {
			c.Row(columns, values...)
			c.CommandComplete("START_STREAMING")
			c.Complete("START_REPLICATION")
			return walsender.Stop
		}
	}
	for name, hook := range map[string]walsender.Hook{
		"same timeline":       row(next, 1, walsender.LSN(end)),
		"timeline 0":          row(next, 0, walsender.LSN(end)),
		"timeline -1":         row(next, -1, walsender.LSN(end)),
		"timeline of 33 bits": row(next, int64(1)<<32+2, walsender.LSN(end)),
		"next start beyond":   row(next, 2, walsender.LSN(end+1)),
		"no LSN":              row(next, 2, "soon"),
		"NULL":                row(next, nil, nil),
		"NULL start":          row(next, 2, nil),
		"one column":          row(walsender.Columns{"next_tli:int8"}, 2),
		"three columns":       row(walsender.Columns{"a", "b", "c"}, 2, walsender.LSN(end), 3),
		"no row": func(c *walsender.Conn) error {
			c.RowDescription(next...)
			c.Complete("START_REPLICATION")
			return walsender.Stop
		},
		"completion":         func(c *walsender.Conn) error { c.Complete("START_REPLICATION"); return walsender.Stop },
		"broken description": func(c *walsender.Conn) error { c.Frame('T', 6, []byte{255, 255}); return walsender.Cut(c) },
		"broken row": func(c *walsender.Conn) error {
			c.RowDescription(next...)
			c.Frame('D', 10, []byte{0, 2, 127, 255, 255, 255})
			return walsender.Cut(c)
		},
		"error": walsender.Failing("58P01", "no such file"),
		"end":   walsender.Cut,
	} {
		for _, direct := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				b := script(t, 1, nil)
				if direct {
					b.server.Handle("START_REPLICATION", func(c *walsender.Conn) error {
						if name == "next start beyond" {
							return row(next, 2, walsender.LSN(origin+1))(c)
						}
						return hook(c)
					})
				} else {
					b.wal.At(walsender.LSN(end), func(c *walsender.Conn) error {
						c.CopyDone()
						if _, err := c.WaitCopyDone(); err != nil {
							return err
						}
						return hook(c)
					})
				}
				if err := b.receive(at(1, origin), at(2, origin+mb)); err == nil {
					t.Error("no error")
				} else {
					t.Log(err)
				}
				b.none("00000002*")
				if s := b.Status(); s.Switches != 0 || s.Written.Timeline != 1 {
					t.Errorf("status: %+v", s)
				}
				if !direct {
					b.holds(1, origin, end, false)
				}
			})
		}
	}
}

func TestMalformedIdentityIsAnError(t *testing.T) {
	t.Parallel()
	columns := walsender.Columns{"systemid", "timeline:int8", "xlogpos", "dbname"}
	for name, values := range map[string][]any{
		"no number":       {"abc", 1, "0/3000000", nil},
		"negative system": {"-5", 1, "0/3000000", nil},
		"timeline 0":      {"5", 0, "0/3000000", nil},
		"no LSN":          {"5", 1, "3000000", nil},
		"NULL":            {nil, nil, nil, nil},
		"two columns":     {"5", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := script(t, 1, forEver)
			b.server.Handle("IDENTIFY_SYSTEM", func(c *walsender.Conn) error {
				c.Answer(columns[:len(values)], values...)
				return nil
			})
			if err := b.receive(at(1, origin), at(1, origin+mb)); err == nil || !strings.Contains(err.Error(), "identifying the system") {
				t.Errorf("got %v", err)
			}
			b.none("0*")
		})
	}
}

func TestNoticesAndSettingsBetweenAllMessagesArePassedOver(t *testing.T) {
	t.Parallel()
	b := script(t, 3, func(so *walsender.Options, _ *logstream.DirOptions, o *logstream.Options) {
		so.OnStartup = func(c *walsender.Conn) error {
			c.Welcome()
			c.BeforeEach(func(c *walsender.Conn) {
				if c.Query() == "" {
					return // still inside the start-up
				}
				c.ParameterStatus("in_hot_standby", "off")
				c.Send(&pgproto3.NoticeResponse{Severity: "WARNING", SeverityUnlocalized: "WARNING", Code: "01000", Message: "there is one more thing"})
			})
			return nil
		}
		o.Slot.Temporary = true
	})
	b.wal.ChunkSize, b.wal.KeepaliveEvery, b.wal.ReplyRequested = 40960, 2, true
	b.promote(origin+mb+5000, 2, origin+3*mb)
	b.mustReceive(at(1, origin), at(2, origin+3*mb))
	b.holds(1, origin, origin+mb+5000, false)
	b.holds(2, origin+mb, origin+3*mb, false)
	b.history(2)
	if n := len(b.server.Startups()); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

func TestMessagesInPiecesAreTheSame(t *testing.T) {
	t.Parallel()
	b := scriptRange(t, origin, origin+60_000, func(so *walsender.Options, _ *logstream.DirOptions, _ *logstream.Options) {
		so.OnStartup = func(c *walsender.Conn) error { c.Welcome(); c.Split(7, 0); return nil }
	})
	b.wal.KeepaliveEvery, b.wal.ReplyRequested, b.wal.ChunkSize = 1, true, 1000
	b.promote(origin+30_000, 2, origin+60_000)
	b.mustReceive(at(1, origin), at(2, origin+60_000))
	b.holds(1, origin, origin+30_000, false)
	b.holds(2, origin, origin+60_000, false)
}

func TestPaddedLSNsOfRelease19AreRead(t *testing.T) {
	t.Parallel()
	start := logstream.LSN(0x5_00000000) // the server prints 5/00000000
	b := scriptRange(t, start, start+mb+5000, func(so *walsender.Options, _ *logstream.DirOptions, o *logstream.Options) {
		so.Version, o.Slot.Temporary = "19devel", true
	})
	b.promote(start+5000, 2, start+2*mb)
	b.mustReceive(at(1, start), at(2, start+2*mb))
	b.holds(1, start, start+5000, false)
	b.holds(2, start, start+2*mb, false)
	if _, err := os.Stat(filepath.Join(b.dir, "00000002.history")); err != nil {
		t.Error(err)
	}
}
