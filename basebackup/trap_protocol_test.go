package basebackup_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pgbraid/pgbraid/basebackup"
	"github.com/pgbraid/pgbraid/internal/pgtest/walsender"
	"github.com/pgbraid/pgbraid/internal/replconn"
)

// trapSteps are the steps of the answer, as far as the server's release has
// them.
func (p *trap) steps() []walsender.Step {
	all := []walsender.Step{walsender.StepStart, walsender.StepTablespaces}
	if p.framed() {
		all = append(all, walsender.StepCopyOut)
	}
	all = append(all, walsender.Archive("16385.tar"), walsender.Archive("base.tar"))
	if p.server.Major() >= 13 {
		all = append(all, walsender.StepManifest)
	}
	if p.framed() {
		all = append(all, walsender.StepCopyDone)
	}
	return append(all, walsender.StepEnd, walsender.StepComplete)
}

func TestServerThatFailsInEachStep(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		hook walsender.Hook
		want string
	}{
		"closes":     {walsender.Cut, "server closed the connection"},
		"resets":     {walsender.Reset, ""},
		"error":      {walsender.Failing("XX000", "the disk is gone"), "the disk is gone"},
		"fatal":      {func(c *walsender.Conn) error { c.Fatal("57P01", "terminating"); return walsender.Stop }, "terminating"},
		"no sense":   {func(c *walsender.Conn) error { c.Frame('~', 4, nil); c.Hang(); return walsender.Stop }, "malformed message"},
		"4 GB":       {func(c *walsender.Conn) error { c.Frame('d', 0xFFFFFFFF, []byte("d")); c.Hang(); return walsender.Stop }, "malformed message"},
		"2 GB":       {func(c *walsender.Conn) error { c.Frame('D', 0x7FFFFFFF, []byte("d")); c.Hang(); return walsender.Stop }, "malformed message"},
		"length 3":   {func(c *walsender.Conn) error { c.Frame('d', 3, nil); c.Hang(); return walsender.Stop }, "malformed message"},
		"length 0":   {func(c *walsender.Conn) error { c.Frame('C', 0, nil); c.Hang(); return walsender.Stop }, "malformed message"},
		"truncated":  {func(c *walsender.Conn) error { c.Frame('d', 1000, []byte("dxx")); c.Close(); return walsender.Stop }, "server closed the connection"},
		"bad error":  {func(c *walsender.Conn) error { c.Frame('E', 6, []byte("SX")); c.Hang(); return walsender.Stop }, "malformed message"},
		"bad notice": {func(c *walsender.Conn) error { c.Frame('N', 6, []byte("SX")); c.Hang(); return walsender.Stop }, "malformed message"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachRelease(t, 0, func(p *trap) {
				for _, step := range p.steps() {
					t.Run(string(step), func(t *testing.T) {
						p := newTrap(t, map[int]string{18: "18.4", 14: "14.20", 12: "12.22"}[p.server.Major()])
						p.backup.Before[step] = test.hook
						p.options.Slot, p.options.CreateSlot = "trap", true
						err := p.fails(test.want)
						var pg *pgconn.PgError
						if is := errors.As(err, &pg); is != (name == "error" || name == "fatal") {
							t.Errorf("error is %T: %v", err, err)
						}
						if slots := p.server.Slots(); len(slots) != 0 {
							t.Errorf("slots left: %v", slots)
						}
					})
				}
			})
		})
	}
}

// However far the answer came, its end is an error and never a whole backup.
func TestConnectionThatEndsAnywhere(t *testing.T) {
	t.Parallel()
	eachRelease(t, 0, func(p *trap) {
		var start, whole atomic.Int64
		p.backup.Before[walsender.StepStart] = func(c *walsender.Conn) error { start.Store(c.Written()); return nil }
		p.backup.After[walsender.StepComplete] = func(c *walsender.Conn) error { whole.Store(c.Written()); return nil }
		p.succeeds()
		length := whole.Load() - start.Load()
		cuts := []int64{0, 1, 5, length - 1, length - 7, length - 20, length - 60, length - 100}
		for n := int64(100); n < length; n += length / 15 {
			cuts = append(cuts, n)
		}
		for i, n := range cuts {
			q := newTrap(p.t, map[int]string{18: "18.4", 14: "14.20", 12: "12.22"}[p.server.Major()])
			q.backup.Before[walsender.StepStart] = func(c *walsender.Conn) error {
				if i%2 == 0 {
					c.CutAfter(n)
				} else {
					c.ResetAfter(n)
				}
				return nil
			}
			if q.fails(""); q.t.Failed() {
				q.t.Fatalf("cut after %d of %d bytes", n, length)
			}
		}
	})
}

// The server reports damaged pages when all data was sent (trap 12).
func TestChecksumFailureIsTheLastWord(t *testing.T) {
	t.Parallel()
	eachRelease(t, 0, func(p *trap) {
		p.backup.Instead[walsender.StepComplete] = walsender.Failing("XX001", "checksum verification failure during base backup")
		err := p.fails("checksum verification failure")
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || pg.Code != "XX001" {
			t.Errorf("error is %v", err)
		}
	})
}

// Notices and settings may come anywhere (trap 11), and end nothing.
func TestNoticesComeAnywhere(t *testing.T) {
	t.Parallel()
	eachRelease(t, 0, func(p *trap) {
		p.backup.Before[walsender.StepStart] = func(c *walsender.Conn) error {
			c.BeforeEach(func(c *walsender.Conn) {
				c.Notice("WARNING", "01000", "page verification failed \x1b[2J")
				c.ParameterStatus("TimeZone", "UTC")
				c.Frame('A', 12, []byte("\x00\x00\x00\x01ch\x00\x00"))
			})
			return nil
		}
		p.succeeds()
		if !strings.Contains(p.log.String(), "page verification failed") {
			t.Error("nobody was told")
		}
	})
}

// A server that changes its release in the middle must bring nothing down.
func TestReleaseThatChangesOnTheWay(t *testing.T) {
	t.Parallel()
	for _, to := range []string{"9.6", "10.1", "13.1", "14.1", "15.1", "18.1", "none"} {
		eachRelease(t, 0, func(p *trap) {
			p.backup.Before[walsender.StepTablespaces] = func(c *walsender.Conn) error {
				c.ParameterStatus("server_version", to)
				return nil
			}
			// The form was agreed on when the command was sent.
			p.succeeds()
		})
	}
}

func TestDataDirectoryMayComeFirst(t *testing.T) {
	t.Parallel()
	eachRelease(t, 0, func(p *trap) {
		slices.Reverse(p.backup.Tablespaces)
		p.succeeds()
	})
}

func TestStartPositionThatIsNone(t *testing.T) {
	t.Parallel()
	columns := walsender.Columns{"recptr", "tli:int8"}
	row := func(values ...any) walsender.Hook {
		return func(c *walsender.Conn) error { c.Row(columns, values...); c.CommandComplete("SELECT"); return nil }
	}
	for name, hook := range map[string]walsender.Hook{
		"NULLs":         row(nil, nil),
		"text":          row("evil", "1"),
		"timeline 0":    row("0/2000028", "0"),
		"timeline 2^32": row("0/2000028", "4294967296"),
		"no row":        func(c *walsender.Conn) error { c.RowDescription(columns...); c.CommandComplete("SELECT"); return nil },
		"two rows": func(c *walsender.Conn) error {
			c.Row(columns, "0/2000028", 1)
			c.DataRow("0/2000028", 1)
			c.CommandComplete("SELECT")
			return nil
		},
		"no description": func(c *walsender.Conn) error { c.DataRow("0/2000028", 1); c.CommandComplete("SELECT"); return nil },
		"no result":      func(c *walsender.Conn) error { c.CommandComplete("SELECT"); return nil },
		"row too short":  func(c *walsender.Conn) error { c.RowDescription(columns...); c.DataRow("0/2000028"); return nil },
		"row that lies": func(c *walsender.Conn) error {
			c.RowDescription(columns...)
			c.Frame('D', 14, append(binary.BigEndian.AppendUint16(nil, 2), "\x7f\xff\xff\xff1234"...))
			return nil
		},
		"more columns than bytes": func(c *walsender.Conn) error { c.Frame('T', 6, []byte("\xff\xff")); return nil },
		"row of 65535 columns": func(c *walsender.Conn) error {
			c.RowDescription(columns...)
			c.Frame('D', 6, []byte("\xff\xff"))
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, step := range []walsender.Step{walsender.StepStart, walsender.StepEnd} {
				eachRelease(t, 0, func(p *trap) {
					p.backup.Instead[step] = hook
					if err := p.fails("malformed message"); err != nil && !errors.Is(err, replconn.ErrMalformed) {
						t.Errorf("%s: error is %v", step, err)
					}
				})
			}
		})
	}
	t.Run("end is missing", func(t *testing.T) {
		t.Parallel()
		eachRelease(t, 0, func(p *trap) {
			p.backup.Instead[walsender.StepEnd] = func(*walsender.Conn) error { return nil }
			p.fails("end position")
		})
	})
	t.Run("end before the start", func(t *testing.T) {
		t.Parallel()
		eachRelease(t, 0, func(p *trap) {
			p.backup.End.LSN = 0x2000000
			p.fails("before its start")
		})
	})
}

func TestListOfTablespacesThatIsNone(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		rows [][]any
		want string
	}{
		"no row":                {nil, "no data directory"},
		"no data directory":     {[][]any{{16385, "$/space", 1}}, "no data directory"},
		"two data directories":  {[][]any{{nil, nil, 1}, {nil, nil, 1}}, "listed twice"},
		"OID twice":             {[][]any{{16385, "$/space", 1}, {16385, "$/b", 1}, {nil, nil, 1}}, "listed twice"},
		"OID 0":                 {[][]any{{0, "$/space", 1}, {nil, nil, 1}}, "OID"},
		"OID with a path":       {[][]any{{"../evil", "$/space", 1}, {nil, nil, 1}}, "OID"},
		"relative location":     {[][]any{{16385, "../beside", 1}, {nil, nil, 1}}, "lies at"},
		"location with dots":    {[][]any{{16385, "pg_tblspc/16385/../../../..", 1}, {nil, nil, 1}}, "lies at"},
		"negative size":         {[][]any{{16385, "$/space", "-8"}, {nil, nil, 1}}, "size"},
		"huge size":             {[][]any{{16385, "$/space", "9223372036854775807"}, {nil, nil, 1}}, "size"},
		"in the data directory": {[][]any{{16385, "$/made/data", 1}, {nil, nil, 1}}, "would both be put"},
		"above it":              {[][]any{{16385, "$/made", 1}, {nil, nil, 1}}, "lies in"},
		"over its WAL":          {[][]any{{16385, "$/made/data/pg_wal", 1}, {nil, nil, 1}}, "lies in"},
		"somebody's directory":  {[][]any{{16385, "$/beside", 1}, {nil, nil, 1}}, "not empty"},
		"somebody's file":       {[][]any{{16385, "$/evil", 1}, {nil, nil, 1}}, "evil"},
		"below a file":          {[][]any{{16385, "$/evil/below", 1}, {nil, nil, 1}}, "directory of tablespace 16385: not a directory"},
		"root":                  {[][]any{{16385, "/", 1}, {nil, nil, 1}}, "lies in"},
		"two in one place":      {[][]any{{16385, "$/space", 1}, {16386, "$/space/", 1}, {nil, nil, 1}}, "would both be put"},
		"one in another":        {[][]any{{16385, "$/space", 1}, {16386, "$/space/in", 1}, {nil, nil, 1}}, ""},
		"three, one comes":      {[][]any{{16385, "$/space", 1}, {16386, "$/b", 1}, {nil, nil, 1}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachRelease(t, 0, func(p *trap) {
				p.backup.Instead[walsender.StepTablespaces] = func(c *walsender.Conn) error {
					c.RowDescription("spcoid:oid", "spclocation", "size:int8")
					for _, row := range test.rows {
						row = slices.Clone(row)
						if text, ok := row[1].(string); ok {
							row[1] = strings.Replace(text, "$", p.root, 1)
						}
						c.DataRow(row...)
					}
					c.CommandComplete("SELECT")
					return nil
				}
				p.fails(test.want)
			})
		})
	}
}

// From release 15 on the first byte of a message tells what it is.
func TestFramesThatNoServerSends(t *testing.T) {
	t.Parallel()
	send := func(messages ...string) walsender.Hook {
		return func(c *walsender.Conn) error {
			for _, m := range messages {
				c.CopyData([]byte(m))
			}
			return nil
		}
	}
	space, base := walsender.Archive("16385.tar"), walsender.Archive("base.tar")
	for name, test := range map[string]struct {
		when  map[walsender.Step]walsender.Hook // Before
		where map[walsender.Step]walsender.Hook // Instead
		want  string
	}{
		"data before an archive":   {when: map[walsender.Step]walsender.Hook{space: send("dxyz")}, want: "archive data before any archive"},
		"empty message":            {when: map[walsender.Step]walsender.Hook{base: send("")}, want: "empty COPY message"},
		"unknown type":             {when: map[walsender.Step]walsender.Hook{base: send("z")}, want: "COPY message of type 'z'"},
		"progress too short":       {when: map[walsender.Step]walsender.Hook{base: send("p1234567")}, want: "type 'p'"},
		"progress below zero":      {when: map[walsender.Step]walsender.Hook{base: send("p\xff2345678")}, want: "type 'p'"},
		"progress too long":        {when: map[walsender.Step]walsender.Hook{base: send("p123456789")}, want: "type 'p'"},
		"name with dots":           {when: map[walsender.Step]walsender.Hook{base: send("n../evil.tar\x00\x00")}, want: `unexpected archive "../evil.tar"`},
		"absolute name":            {when: map[walsender.Step]walsender.Hook{base: send("n/tmp/evil.tar\x00\x00")}, want: "unexpected archive"},
		"name of no tablespace":    {when: map[walsender.Step]walsender.Hook{base: send("n16386.tar\x00/x\x00")}, want: `unexpected archive "16386.tar"`},
		"name without an end":      {when: map[walsender.Step]walsender.Hook{base: send("nbase.tar")}, want: "type 'n'"},
		"location without an end":  {when: map[walsender.Step]walsender.Hook{base: send("nbase.tar\x00/x")}, want: "type 'n'"},
		"more behind the location": {when: map[walsender.Step]walsender.Hook{base: send("nbase.tar\x00\x00x")}, want: "type 'n'"},
		"empty name":               {when: map[walsender.Step]walsender.Hook{base: send("n\x00\x00")}, want: "unexpected archive"},
		"archive twice":            {when: map[walsender.Step]walsender.Hook{base: send("n16385.tar\x00/x\x00")}, want: `unexpected archive "16385.tar"`},
		"archive missing":          {where: map[walsender.Step]walsender.Hook{space: send()}, want: "archive 16385.tar did not come"},
		"base missing":             {where: map[walsender.Step]walsender.Hook{base: send()}, want: "archive base.tar did not come"},
		"archive behind manifest":  {when: map[walsender.Step]walsender.Hook{base: send("m")}, want: "archives must precede the manifest"},
		"manifest twice":           {when: map[walsender.Step]walsender.Hook{walsender.StepManifest: send("m")}, want: "type 'm'"},
		"manifest with payload":    {where: map[walsender.Step]walsender.Hook{walsender.StepManifest: send("m{}")}, want: "type 'm'"},
		"manifest empty":           {where: map[walsender.Step]walsender.Hook{walsender.StepManifest: send("m")}, want: "manifest"},
		"manifest missing":         {where: map[walsender.Step]walsender.Hook{walsender.StepManifest: send()}, want: "the manifest did not come"},
		"no COPY":                  {where: map[walsender.Step]walsender.Hook{walsender.StepCopyOut: send()}, want: "unexpected message type 'd'"},
		"two COPYs":                {when: map[walsender.Step]walsender.Hook{walsender.StepCopyDone: func(c *walsender.Conn) error { c.CopyDone(); c.CopyOut(); return nil }}, want: "unexpected message type"},
		"COPY both ways":           {where: map[walsender.Step]walsender.Hook{walsender.StepCopyOut: func(c *walsender.Conn) error { c.CopyBoth(); return nil }}, want: "unexpected message type 'W'"},
		"COPY without an end":      {where: map[walsender.Step]walsender.Hook{walsender.StepCopyDone: send()}, want: "unexpected message type"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newTrap(t, "18.4")
			for step, hook := range test.when {
				p.backup.Before[step] = hook
			}
			for step, hook := range test.where {
				p.backup.Instead[step] = hook
			}
			p.fails(test.want)
		})
	}
	t.Run("compressed", func(t *testing.T) {
		t.Parallel()
		p := newTrap(t, "18.4")
		p.backup.Suffix = ".gz"
		p.fails(`unexpected archive "16385.tar.gz"`)
	})
	t.Run("data of no bytes", func(t *testing.T) {
		t.Parallel()
		p := newTrap(t, "18.4")
		p.backup.After[space] = send("d")
		p.backup.Before[walsender.StepCopyDone] = send("d")
		p.succeeds()
	})
}

// Up to release 14 the archives are told apart by their order alone.
func TestCOPYsThatNoOldServerSends(t *testing.T) {
	t.Parallel()
	nothing := func(*walsender.Conn) error { return nil }
	another := func(c *walsender.Conn) error { c.CopyOut(); c.CopyDone(); return nil }
	for name, edit := range map[string]func(p *trap){
		"one too few":      func(p *trap) { p.backup.Instead[walsender.Archive("16385.tar")] = nothing },
		"base missing":     func(p *trap) { p.backup.Instead[walsender.Archive("base.tar")] = nothing },
		"one too many":     func(p *trap) { p.backup.Before[walsender.StepEnd] = another },
		"manifest missing": func(p *trap) { p.backup.NoManifest = true },
		"manifest empty":   func(p *trap) { p.backup.Instead[walsender.StepManifest] = another },
		"end is missing":   func(p *trap) { p.backup.Instead[walsender.StepEnd] = nothing },
		"COPY without end": func(p *trap) {
			p.backup.Instead[walsender.StepManifest] = func(c *walsender.Conn) error { c.CopyOut(); return nil }
		},
		"empty in the middle": func(p *trap) { p.backup.Before[walsender.Archive("base.tar")] = another },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newTrap(t, "14.20")
			edit(p)
			p.fails("")
		})
	}
}

// A directory that holds something is found before the server is asked to
// begin, and the server is not even called for one given here.
func TestFullDirectoryAsksNothingOfTheServer(t *testing.T) {
	t.Parallel()
	for _, edit := range []func(o *basebackup.Options, full string){
		func(o *basebackup.Options, full string) { o.Directory = full },
		func(o *basebackup.Options, full string) { o.WALDirectory = full },
	} {
		p := newTrap(t, "18.4")
		edit(&p.options, filepath.Join(p.root, "beside"))
		err := p.fails("exists but is not empty")
		var full *basebackup.NotEmptyError
		if !errors.As(err, &full) {
			t.Errorf("error is %T", err)
		}
		if n := len(p.server.Startups()); n != 0 {
			t.Error(fmt.Sprint(n, " connections"))
		}
	}
}
