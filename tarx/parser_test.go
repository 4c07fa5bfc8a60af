package tarx

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"reflect"
	"strings"
	"testing"
	"time"
)

// sample has every kind of member that a server sends.
func sample(t testing.TB) []byte {
	return concat(
		withContent(t, "backup_label", "START WAL LOCATION: 0/2000028\n"),
		mustHeader(t, directory("pg_wal")),
		mustHeader(t, directory("./pg_wal/archive_status")),
		withContent(t, "postgresql.auto.conf", ""),
		mustHeader(t, symlink("pg_tblspc/16384", "/srv/space")),
		withContent(t, "base/1/1259", strings.Repeat("page", 2048)),
		withContent(t, "one", "1"),
		withContent(t, "most", strings.Repeat("x", 511)),
		withContent(t, "over", strings.Repeat("x", 513)),
	)
}

func TestSameEventsHoweverTheStreamIsSplit(t *testing.T) {
	t.Parallel()
	stream := concat(sample(t), Trailer)
	want, _, err := parseWhole(t, stream)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, m := range want.members {
		names = append(names, fmt.Sprintf("%s %s %d", m.header.Type, m.header.Name, len(m.content)))
	}
	wantNames := []string{
		"file backup_label 30", "directory pg_wal 0", "directory pg_wal/archive_status 0",
		"file postgresql.auto.conf 0", "symbolic link pg_tblspc/16384 0", "file base/1/1259 8192",
		"file one 1", "file most 511", "file over 513",
	}
	if !reflect.DeepEqual(names, wantNames) {
		t.Errorf("members are %q, want %q", names, wantNames)
	}
	for n := 1; n < 1100; n++ {
		got, p, err := parseSplit(t, stream, n)
		if err != nil || !reflect.DeepEqual(got, want) || p.Offset() != int64(len(stream)) {
			t.Fatalf("pieces of %d bytes: error %v, offset %d, %+v", n, err, p.Offset(), got)
		}
	}
}

func TestStreamMayEndAtMemberBoundaryOrAfterTwoZeroBlocksOnly(t *testing.T) {
	t.Parallel()
	body := withContent(t, "a", "content")
	tests := []struct {
		name   string
		stream []byte
		ok     bool
	}{
		{"nothing at all", nil, true},
		{"trailer only", Trailer, true},
		{"no trailer", body, true},
		{"trailer", concat(body, Trailer), true},
		{"longer trailer", concat(body, Trailer, Trailer, Trailer[:7]), true},
		{"one zero block", concat(body, Trailer[:512]), false},
		{"part of the second zero block", concat(body, Trailer[:1023]), false},
		{"part of the first zero block", concat(body, Trailer[:511]), false},
		{"part of a header", body[:511], false},
		{"header without content", body[:512], false},
		{"part of the content", body[:518], false},
		{"content without padding", body[:519], false},
		{"part of the padding", body[:1023], false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, p, err := parseWhole(t, test.stream)
			if test.ok {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var format *FormatError
			if !errors.Is(err, ErrTruncated) || !errors.Is(err, io.ErrUnexpectedEOF) || !errors.As(err, &format) {
				t.Fatalf("error is %v, want ErrTruncated", err)
			}
			if format.Offset != int64(len(test.stream)) {
				t.Errorf("offset is %d, want %d", format.Offset, len(test.stream))
			}
			if again := p.Close(); again != err {
				t.Errorf("second Close: %v", again)
			}
		})
	}
}

func TestOnlyZerosMayFollowTheEnd(t *testing.T) {
	t.Parallel()
	body := withContent(t, "a", "content")
	for name, stream := range map[string][]byte{
		"a byte":                         concat(body, Trailer, []byte{0, 0, 1}),
		"a member":                       concat(body, Trailer, body),
		"a member behind one zero block": concat(body, Trailer[:512], body),
	} {
		r, _, err := parseWhole(t, stream)
		var format *FormatError
		if !errors.As(err, &format) || errors.Is(err, ErrTruncated) {
			t.Errorf("%s: error is %v", name, err)
			continue
		}
		if stream[format.Offset] == 0 || len(r.members) != 1 {
			t.Errorf("%s: offset %d, %d members", name, format.Offset, len(r.members))
		}
	}
}

func TestHeaderFieldsAreRead(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		block  []byte
		modify func(h *Header) // from what was given to what must be seen
	}{
		{"plain", mustHeader(t, file("f", 0)), func(*Header) {}},
		{"type NUL is a file", edited(t, file("f", 0), 156, "\x00"), func(*Header) {}},
		{"octal ended by NUL", edited(t, file("f", 0), 124, "00000000000\x00"), func(*Header) {}},
		{"octal with leading spaces", edited(t, file("f", 0), 100, "   600 \x00"), func(*Header) {}},
		{"octal that fills the field", edited(t, file("f", 0), 136, "014524770400"), func(*Header) {}},
		{"mode with file type bits", edited(t, file("f", 0), 100, "0102700 "), func(h *Header) { h.Mode = 0o2700 }},
		{"junk behind the name's NUL", edited(t, file("f", 0), 2, "junk"), func(*Header) {}},
		{"name of 100 bytes", edited(t, file("f", 0), 0, strings.Repeat("n", 100)), func(h *Header) { h.Name = strings.Repeat("n", 100) }},
		{"prefix", edited(t, file("f", 0), 345, "some/where"), func(h *Header) { h.Name = "some/where/f" }},
		{"full prefix", edited(t, file("f", 0), 345, strings.Repeat("p", 155)), func(h *Header) { h.Name = strings.Repeat("p", 155) + "/f" }},
		{"base-256 owner", mustHeader(t, &Header{Name: "f", ModTime: time.Unix(0, 0), UID: 1<<32 - 1, GID: 1 << 21}), func(h *Header) {
			h.UID, h.GID, h.Mode, h.ModTime = 1<<32-1, 1<<21, 0, time.Unix(0, 0)
		}},
		{"time before 1970 as the server casts it", edited(t, file("f", 0), 136, "\x80\x00\x00\x00"+"\xff\xff\xff\xff\xff\xff\xff\xfe"), func(h *Header) { h.ModTime = time.Unix(-2, 0) }},
		{"time before 1970 with extended sign", edited(t, file("f", 0), 136, "\xff\xff\xff\xff"+"\xff\xff\xff\xff\xff\xff\xff\xfe"), func(h *Header) { h.ModTime = time.Unix(-2, 0) }},
		{"name with ./", edited(t, file("f", 0), 0, "././/f"), func(*Header) {}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			want := *file("f", 0)
			test.modify(&want)
			r, _, err := parseWhole(t, test.block)
			if err != nil {
				t.Fatal(err)
			}
			if len(r.members) != 1 || !reflect.DeepEqual(r.members[0].header, want) || !r.members[0].ended {
				t.Errorf("got %+v, want %+v", r.members, want)
			}
		})
	}
}

func TestDirectoriesAndLinksLoseTheirSlash(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("d", 99) // with its slash the field is full
	r, _, err := parseWhole(t, concat(
		mustHeader(t, directory("d")),
		edited(t, directory("d"), 0, "e\x00"),
		edited(t, directory("d"), 0, "./\x00"),
		edited(t, directory("d"), 0, "/\x00"),
		mustHeader(t, directory(long)),
		mustHeader(t, symlink("l", "../to/")),
		edited(t, symlink("l", "to"), 0, "m\x00"),
	))
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, m := range r.members {
		got += m.header.Name + ">" + m.header.Linkname + " "
	}
	if want := "d> e> .> /> " + long + "> l>../to/ m>to "; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSignedChecksumIsAccepted(t *testing.T) {
	t.Parallel()
	b := mustHeader(t, file("é", 0))
	_, signed := (*block)(b).sums()
	putNumber((*block)(b).checksum(), uint64(signed))
	if _, _, err := parseWhole(t, b); err != nil {
		t.Error(err)
	}
}

func TestSizesOverEightGiBAreReadFromBase256(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{8<<30 - 1, 8 << 30, 1<<63 - 1} {
		r := &recorder{}
		if _, err := NewParser(r).Write(mustHeader(t, file("big", size))); err != nil || r.members[0].header.Size != size {
			t.Errorf("size %d: error %v, %+v", size, err, r.members)
		}
	}
}

func TestHeadersThatNoBackupHasAreRefused(t *testing.T) {
	t.Parallel()
	typed := func(flag string) []byte { return edited(t, file("f", 0), 156, flag) }
	sized := func(field string) []byte { return edited(t, file("f", 0), 124, field) }
	broken := mustHeader(t, file("f", 0))
	broken[0]++
	gnuLong := edited(t, file("././@LongLink", 120), 156, "L")
	copy(gnuLong[257:], magicGNU)
	fixChecksum(gnuLong)
	tests := []struct {
		name        string
		block       []byte
		reason      string
		unsupported bool
	}{
		{"pax", typed("x"), "pax extensions", true},
		{"pax global", typed("g"), "pax extensions", true},
		{"GNU long name", gnuLong, "GNU long names", true},
		{"GNU long link", typed("K"), "GNU long names", true},
		{"hard link", typed("1"), "hard links", true},
		{"character device", typed("3"), "device files", true},
		{"block device", typed("4"), "device files", true},
		{"fifo", typed("6"), "fifos", true},
		{"sparse", typed("S"), "member type 'S'", true},
		{"GNU magic", edited(t, file("f", 0), 257, magicGNU), "GNU format", true},
		{"star", edited(t, file("f", 0), 508, magicStar), "star format", true},
		{"no magic", edited(t, file("f", 0), 257, strings.Repeat("\x00", 8)), "ustar magic", false},
		{"other version", edited(t, file("f", 0), 263, "01"), "ustar magic", false},
		{"checksum", broken, "checksum", false},
		{"empty checksum", append(append(mustHeader(t, file("f", 0))[:148:148], "        "...), mustHeader(t, file("f", 0))[156:]...), "checksum", false},
		{"directory with content", edited(t, directory("d"), 124, "00000000001 "), "size of 1 bytes", false},
		{"link with content", edited(t, symlink("l", "t"), 124, "00000000001 "), "size of 1 bytes", false},
		{"negative octal size", sized("-0000000001 "), "size of member", false},
		{"negative base-256 size", sized(strings.Repeat("\xff", 12)), "size of member", false},
		{"size of 2^63", sized("\x80\x00\x00\x00\x80\x00\x00\x00\x00\x00\x00\x00"), "size of member", false},
		{"size of 2^64", sized("\x80\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00"), "size of member", false},
		{"size in the flag byte", sized("\x81\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), "size of member", false},
		{"size with a digit 8", sized("00000000008 "), "size of member", false},
		{"size with junk behind", sized("0000000000 1"), "size of member", false},
		{"empty size", sized(strings.Repeat("\x00", 12)), "size of member", false},
		{"blank size", sized(strings.Repeat(" ", 12)), "size of member", false},
		{"bad mode", edited(t, file("f", 0), 100, "rw-r----"), "mode of member", false},
		{"bad owner", edited(t, file("f", 0), 108, "postgres"), "owner of member", false},
		{"owner over 32 bits", edited(t, file("f", 0), 108, "\x80\x00\x00\x01\x00\x00\x00\x00"), "owner of member", false},
		{"group over 32 bits", edited(t, file("f", 0), 116, "\x80\x00\x00\x01\x00\x00\x00\x00"), "owner of member", false},
		{"bad time", edited(t, file("f", 0), 136, "yesterday   "), "modification time", false},
		{"positive time with extended sign", edited(t, file("f", 0), 136, "\xff\xff\xff\xff\x00"), "modification time", false},
		{"empty name", edited(t, file("f", 0), 0, "\x00"), "empty name", false},
		{"NUL before the name", edited(t, file("f", 0), 0, "\x00name"), "empty name", false},
		{"file with a slash", edited(t, file("f", 0), 0, "f/"), "ends in a slash", false},
		{"link without target", edited(t, symlink("l", "t"), 157, "\x00"), "no target", false},
	}
	first := withContent(t, "first", "x")
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, n := range []int{1, 100, 1 << 20} {
				r, _, err := parseSplit(t, concat(first, test.block, Trailer), n)
				var format *FormatError
				if !errors.As(err, &format) || errors.Is(err, ErrTruncated) {
					t.Fatalf("error is %v", err)
				}
				if !strings.Contains(format.Reason, test.reason) || format.Offset != 1024 {
					t.Errorf("offset %d, reason %q, want 1024, %q", format.Offset, format.Reason, test.reason)
				}
				if errors.Is(err, errors.ErrUnsupported) != test.unsupported {
					t.Errorf("errors.ErrUnsupported in the chain: %v", !test.unsupported)
				}
				if len(r.members) != 1 {
					t.Errorf("%d members", len(r.members))
				}
			}
		})
	}
}

func TestHandlerErrorEndsTheParsing(t *testing.T) {
	t.Parallel()
	stream := concat(withContent(t, "a", "content"), withContent(t, "b", "content"))
	for method, consumed := range map[string]int{"begin": 512, "content": 512, "end": 1024} {
		r := &recorder{fail: method}
		p := NewParser(r)
		n, err := p.Write(stream)
		if err != errHandler || n != consumed || p.Offset() != int64(consumed) {
			t.Errorf("%s: Write gives %d, %v, offset %d", method, n, err, p.Offset())
		}
		before := *r
		if n, err := p.Write(stream[consumed:]); n != 0 || err != errHandler {
			t.Errorf("%s: second Write gives %d, %v", method, n, err)
		}
		if !reflect.DeepEqual(before, *r) {
			t.Errorf("%s: handler was called after its error", method)
		}
		if err := p.Close(); err != errHandler {
			t.Errorf("%s: Close gives %v", method, err)
		}
	}
}

func TestWriteAfterCloseFailsUntilReset(t *testing.T) {
	t.Parallel()
	first, second := &recorder{}, &recorder{}
	p := NewParser(first)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := p.Write([]byte("x")); n != 0 || !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Write after Close: %d, %v", n, err)
	}
	if err := p.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	p.Reset(second)
	if _, err := p.Write(withContent(t, "a", "x")[:700]); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); !errors.Is(err, ErrTruncated) {
		t.Errorf("Close in the padding: %v", err)
	}
	p.Reset(second)
	if _, err := p.Write(withContent(t, "b", "x")); err != nil || p.Close() != nil || p.Offset() != 1024 {
		t.Errorf("after Reset: %v, offset %d", err, p.Offset())
	}
	if len(first.members) != 0 || len(second.members) != 2 {
		t.Errorf("members: %d, %d", len(first.members), len(second.members))
	}
}

// offsets notes where the parser stands in each call.
type offsets struct {
	p    *Parser
	seen []int64
}

func (o *offsets) note() error                 { o.seen = append(o.seen, o.p.Offset()); return nil }
func (o *offsets) BeginMember(h *Header) error { h.Size = 1; return o.note() } // scribbles
func (o *offsets) Content([]byte) error        { return o.note() }
func (o *offsets) EndMember() error            { return o.note() }

func TestOffsetSeenByTheHandlerIsExact(t *testing.T) {
	t.Parallel()
	o := &offsets{}
	o.p = NewParser(o)
	for _, b := range [][]byte{withContent(t, "a", "0123456789"), mustHeader(t, directory("d"))} {
		for len(b) > 0 {
			n := min(517, len(b))
			if _, err := o.p.Write(b[:n]); err != nil {
				t.Fatal(err)
			}
			b = b[n:]
		}
	}
	if want := []int64{512, 512, 517, 1024, 1536, 1536}; !reflect.DeepEqual(o.seen, want) {
		t.Errorf("offsets are %v, want %v", o.seen, want)
	}
}
