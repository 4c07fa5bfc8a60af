package pgpage

import (
	"encoding/binary"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// never is a window that no page was changed in.
var never = Window{Start: math.MaxUint64, End: math.MaxUint64}

// pageOf is a page as a server writes it, with a checksum.
func pageOf(block uint32, lsn uint64, size int) []byte {
	page := make([]byte, size)
	order := binary.NativeEndian
	order.PutUint32(page, uint32(lsn>>32))
	order.PutUint32(page[4:], uint32(lsn))
	order.PutUint16(page[offLower:], 28)
	order.PutUint16(page[offUpper:], uint16(size-64))
	order.PutUint16(page[offSpecial:], uint16(size))
	for i := size - 64; i < size; i++ {
		page[i] = byte(i * 7)
	}
	order.PutUint16(page[offChecksum:], Checksum(page, block))
	return page
}

// TestPagesOfAServerAreGood reads all that a server wrote, and finds each bit
// that is changed in one of its pages.
func TestPagesOfAServerAreGood(t *testing.T) {
	t.Parallel()
	c := pgtest.Newest(t).Init(t)
	c.Start(t)
	c.Fill(t, "filler", 2)
	c.SQL(t, "VACUUM")
	c.Stop(t, pgtest.Fast)
	var checker Checker
	var all Tally
	forks := map[string]bool{}
	err := filepath.WalkDir(c.DataDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(c.DataDir, path)
		if err != nil {
			return err
		}
		relation, ok := ParsePath(filepath.ToSlash(name))
		if !ok {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		checker.Begin(DefaultGeometry, never, relation)
		// In pieces that are no pages.
		for piece := range slices.Chunk(content, 10001) {
			checker.Write(piece)
		}
		tally := checker.End()
		if tally.Bad+tally.Torn > 0 || tally.Pages != int64(len(content)/8192) {
			t.Errorf("%s: %+v of %d bytes", name, tally, len(content))
		}
		all.Pages, all.New = all.Pages+tally.Pages, all.New+tally.New
		forks[filepath.Base(name)[max(0, len(filepath.Base(name))-4):]] = true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if all.Pages < 1000 || !forks["_fsm"] || !forks["1255"] {
		t.Errorf("%+v, %v", all, forks)
	}
	content, err := os.ReadFile(filepath.Join(c.DataDir, "base/1/1255"))
	if err != nil {
		t.Fatal(err)
	}
	page := content[3*8192 : 4*8192]
	missed := 0
	for bit := range 8 * 8192 {
		page[bit/8] ^= 1 << (bit % 8)
		if Check(page, 3, never) != Bad {
			missed++
		}
		page[bit/8] ^= 1 << (bit % 8)
	}
	// A checksum has 16 bits: one change in 65535 leaves it right by chance.
	if missed > 8 {
		t.Errorf("%d of %d changes were not found", missed, 8*8192)
	}
	if Check(page, 3, never) != Good || Check(page, 4, never) != Bad {
		t.Error("the number of the block does not count")
	}
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	window := Window{Start: 0x2000028, End: 0x3000000}
	change := func(page []byte, at int, to uint16) []byte {
		binary.NativeEndian.PutUint16(page[at:], to)
		return page
	}
	summed := func(page []byte) []byte { return change(page, offChecksum, Checksum(page, 7)) }
	for name, test := range map[string]struct {
		page []byte
		want Verdict
	}{
		"good":                           {pageOf(7, 0x1000000, 8192), Good},
		"of another block":               {pageOf(8, 0x1000000, 8192), Bad},
		"zeros":                          {make([]byte, 8192), New},
		"new, not zeros":                 {change(make([]byte, 8192), 8190, 1), Bad},
		"good and of this backup's time": {pageOf(7, 0x2000028, 8192), Good},
		"torn at the start":              {pageOf(8, 0x2000028, 8192), Torn},
		"torn at the end":                {pageOf(8, 0x3000000, 8192), Torn},
		"before the backup":              {pageOf(8, 0x2000027, 8192), Bad},
		"from after the backup":          {pageOf(8, 0x3000001, 8192), Bad},
		"unknown flag":                   {summed(change(pageOf(7, 1, 8192), offFlags, 8)), Bad},
		"free space behind itself":       {summed(change(pageOf(7, 1, 8192), offLower, 8190)), Bad},
		"special beyond the page":        {summed(change(pageOf(7, 1, 8192), offSpecial, 8200)), Bad},
		"special out of line":            {summed(change(pageOf(7, 1, 8192), offSpecial, 8188)), Bad},
		"small pages":                    {pageOf(7, 1, MinBlockSize), Good},
		"large pages":                    {pageOf(7, 1, MaxBlockSize), Good},
	} {
		if got := Check(test.page, 7, window); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}

func TestPaths(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]*Relation{
		"base/5/16384":                                 {},
		"base/5/16384.12":                              {Segment: 12},
		"base/5/16384_fsm":                             {},
		"base/5/16384_vm.1":                            {Segment: 1},
		"base/5/16384_init":                            {},
		"base/5/INCREMENTAL.16384.2":                   {Segment: 2, Incremental: true},
		"global/1262":                                  {},
		"global/INCREMENTAL.1262":                      {Incremental: true},
		"pg_tblspc/16400/PG_18_202506291/5/16401":      {},
		"pg_tblspc/16400/PG_18_202506291/5/16401_vm.1": {Segment: 1},
		"16384":                       nil,
		"base/16384":                  nil,
		"base/pgsql_tmp/1":            nil,
		"base/5/PG_VERSION":           nil,
		"base/5/pg_filenode.map":      nil,
		"base/5/pg_internal.init":     nil,
		"base/5/pg_internal.init.12":  nil,
		"base/5/t3_16384":             nil,
		"base/5/016384":               nil,
		"base/5/0":                    nil,
		"base/5/4294967296":           nil,
		"base/5/16384_xyz":            nil,
		"base/5/16384_":               nil,
		"base/5/16384.":               nil,
		"base/5/16384.0":              nil,
		"base/5/16384.01":             nil,
		"base/5/16384.1.1":            nil,
		"base/5/x/16384":              nil,
		"global/pg_control":           nil,
		"global/sub/1262":             nil,
		"pg_xact/0000":                nil,
		"pg_wal/16384":                nil,
		"pg_tblspc/16400/5/16401":     nil,
		"pg_tblspc/16400/18/5/16401":  nil,
		"pg_tblspc/16400/PG_18/16401": nil,
	} {
		got, ok := ParsePath(name)
		if ok != (want != nil) || ok && got != *want {
			t.Errorf("%s: %+v, %v", name, got, ok)
		}
	}
}

// incremental is a file of those pages.
func incremental(numbers []uint32, pages ...[]byte) []byte {
	order := binary.NativeEndian
	b := order.AppendUint32(nil, incrementalMagic)
	b = order.AppendUint32(b, uint32(len(numbers)))
	b = order.AppendUint32(b, 100)
	for _, n := range numbers {
		b = order.AppendUint32(b, n)
	}
	if len(numbers) > 0 {
		b = append(b, make([]byte, (8192-len(b)%8192)%8192)...)
	}
	for _, p := range pages {
		b = append(b, p...)
	}
	return b
}

// TestFilesOfChangedPages has pages that must be taken for those that the
// file's header says, in the second file of a relation.
func TestFilesOfChangedPages(t *testing.T) {
	t.Parallel()
	second := uint32(131072)
	good := incremental([]uint32{3, 9}, pageOf(second+3, 1, 8192), pageOf(second+9, 1, 8192))
	for name, test := range map[string]struct {
		content []byte
		want    Tally
	}{
		"good":              {good, Tally{Pages: 2}},
		"no pages":          {incremental(nil), Tally{}},
		"exchanged":         {incremental([]uint32{3, 9}, pageOf(second+9, 1, 8192), pageOf(second+3, 1, 8192)), Tally{Pages: 2, Bad: 2, Blocks: []uint32{second + 3, second + 9}}},
		"of the first file": {incremental([]uint32{3}, pageOf(3, 1, 8192)), Tally{Pages: 1, Bad: 1, Blocks: []uint32{second + 3}}},
		"one too few":       {good[:len(good)-8192], Tally{Pages: 1, Fault: "it does not have the pages that it lists"}},
		"one too many":      {append(slices.Clone(good), pageOf(second+10, 1, 8192)...), Tally{Pages: 2, Fault: "it does not have the pages that it lists"}},
		"cut short":         {good[:len(good)-1], Tally{Pages: 1, Fault: "it does not have the pages that it lists"}},
		"no header":         {good[:11], Tally{Fault: "it does not have the pages that it lists"}},
		"half header":       {good[:40], Tally{Fault: "it does not have the pages that it lists"}},
		"another file":      {pageOf(0, 1, 8192), Tally{Fault: "it is no incremental file"}},
		"huge":              {binary.NativeEndian.AppendUint64(binary.NativeEndian.AppendUint32(nil, incrementalMagic), 0xffffffff), Tally{Fault: "it lists more pages than a file can have"}},
	} {
		for _, size := range []int{1, 4096, 8192, 1 << 20} {
			var c Checker
			c.Begin(DefaultGeometry, never, Relation{Segment: 1, Incremental: true})
			for piece := range slices.Chunk(test.content, size) {
				c.Write(piece)
			}
			got := c.End()
			if got.Pages != test.want.Pages || got.Bad != test.want.Bad || got.Fault != test.want.Fault || !slices.Equal(got.Blocks, test.want.Blocks) {
				t.Errorf("%s in pieces of %d: %+v, want %+v", name, size, got, test.want)
			}
		}
	}
}

// TestManyBadPages keeps the numbers of the first.
func TestManyBadPages(t *testing.T) {
	t.Parallel()
	var c Checker
	for range 2 {
		c.Begin(DefaultGeometry, never, Relation{})
		for range 100 {
			c.Write(pageOf(200, 1, 8192))
		}
		c.Write(make([]byte, 8192+100)) // one more, and a part
		if got := c.End(); got.Pages != 101 || got.Bad != 100 || got.New != 1 || len(got.Blocks) != maxBlocks {
			t.Errorf("%+v", got)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	page := pageOf(7, 1, 8192)
	b.SetBytes(8192)
	for b.Loop() {
		if Check(page, 7, never) != Good {
			b.Fatal("not good")
		}
	}
}
