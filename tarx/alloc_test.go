package tarx

import (
	"io"
	"testing"
)

// counter is a Handler that keeps nothing but numbers.
type counter struct{ members, bytes int64 }

func (c *counter) BeginMember(*Header) error { c.members++; return nil }
func (c *counter) Content(p []byte) error    { c.bytes += int64(len(p)); return nil }
func (c *counter) EndMember() error          { return nil }

func TestContentIsHandedOnWithoutAllocation(t *testing.T) {
	c := &counter{}
	p := NewParser(c)
	if _, err := p.Write(mustHeader(t, file("big", 1<<40))); err != nil {
		t.Fatal(err)
	}
	piece := make([]byte, 32<<10)
	if n := testing.AllocsPerRun(1000, func() { p.Write(piece) }); n != 0 {
		t.Errorf("%v allocations per Write of content", n)
	}
	if c.bytes != 1001*int64(len(piece)) {
		t.Errorf("%d bytes of content", c.bytes)
	}
}

func TestMembersCostOneAllocationForEachString(t *testing.T) {
	p := NewParser(&counter{})
	for _, test := range []struct {
		stream []byte
		want   float64
	}{
		{withContent(t, "./base/1/a file with a name that fits no small buffer", "content"), 1},
		{mustHeader(t, symlink("pg_tblspc/16384", "/srv/space")), 2},
	} {
		got := testing.AllocsPerRun(1000, func() {
			p.Write(test.stream[:100])
			p.Write(test.stream[100:])
		})
		if got > test.want {
			t.Errorf("%v allocations per member, want %v", got, test.want)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkParser feeds 1 MiB members as the server sends them: the header and
// each 32 KiB of content in messages of their own.
func BenchmarkParser(b *testing.B) {
	header := mustHeader(b, file("base/1/16384", 1<<20))
	piece := make([]byte, 32<<10)
	var w io.Writer = NewParser(&counter{})
	b.SetBytes(512 + 1<<20)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.Write(header); err != nil {
			b.Fatal(err)
		}
		for range 32 {
			if _, err := w.Write(piece); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkParserSmallMembers has the mix of a young cluster: pages of 8 KiB.
func BenchmarkParserSmallMembers(b *testing.B) {
	member := append(mustHeader(b, file("base/1/16384", 8<<10)), make([]byte, 8<<10)...)
	p := NewParser(&counter{})
	b.SetBytes(int64(len(member)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Write(member); err != nil {
			b.Fatal(err)
		}
	}
}
