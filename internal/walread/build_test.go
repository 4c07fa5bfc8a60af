package walread

import (
	"encoding/binary"
	"hash/crc32"
	"io"
)

const (
	testSegment = 1 << 20
	testBase    = 3 * testSegment
	testSystem  = 0x1122334455667788
)

// builder writes WAL as a server does, in memory.
type builder struct {
	base     uint64
	pageSize int
	magic    uint16
	timeline uint32
	onPage   uint32 // timeline of the current page
	flags    uint16 // for the next page header alone
	prev     uint64
	aborted  uint64
	buf      []byte
	recs     []Record
}

func newBuilder() *builder {
	return &builder{base: testBase, pageSize: 8192, magic: 0xD110, timeline: 1}
}

func (b *builder) pos() uint64 { return b.base + uint64(len(b.buf)) }

func (b *builder) left() int { return b.pageSize - len(b.buf)%b.pageSize }

// pageStart writes a page header if one is due.
func (b *builder) pageStart(remaining int) {
	if len(b.buf)%b.pageSize != 0 {
		return
	}
	le := binary.LittleEndian
	at, flags := b.pos(), b.flags
	b.flags, b.onPage = 0, b.timeline
	if remaining > 0 {
		flags |= FlagContinuation
	}
	if at%testSegment == 0 {
		flags |= FlagLongHeader
	}
	b.buf = le.AppendUint16(b.buf, b.magic)
	b.buf = le.AppendUint16(b.buf, flags)
	b.buf = le.AppendUint32(b.buf, b.timeline)
	b.buf = le.AppendUint64(b.buf, at)
	b.buf = le.AppendUint64(b.buf, uint64(remaining))
	if flags&FlagLongHeader != 0 {
		b.buf = le.AppendUint64(b.buf, testSystem)
		b.buf = le.AppendUint32(b.buf, testSegment)
		b.buf = le.AppendUint32(b.buf, uint32(b.pageSize))
	}
}

func (b *builder) encode(rmgr, info byte, length int) []byte {
	le := binary.LittleEndian
	raw := make([]byte, length)
	for i := recordHeaderSize; i < length; i++ {
		raw[i] = byte(i*7 + length + 1)
	}
	if length > recordHeaderSize {
		raw[length-1] = 0xEE // so that cutting the last byte shows
	}
	le.PutUint32(raw, uint32(length))
	le.PutUint32(raw[4:], uint32(len(b.recs)))
	le.PutUint64(raw[8:], b.prev)
	raw[16], raw[17] = info, rmgr
	table := crc32.MakeTable(crc32.Castagnoli)
	le.PutUint32(raw[20:], crc32.Update(crc32.Checksum(raw[24:], table), table, raw[:20]))
	return raw
}

// add appends a record of length bytes.
func (b *builder) add(rmgr, info byte, length int) *builder {
	raw := b.encode(rmgr, info, length)
	b.pageStart(0)
	rec := Record{
		LSN: b.pos(), Prev: b.prev, Aborted: b.aborted, Length: uint32(length),
		XID: uint32(len(b.recs)), Timeline: b.onPage, RmgrID: rmgr, Info: info,
	}
	for len(raw) > 0 {
		b.pageStart(len(raw))
		n := min(len(raw), b.left())
		b.buf = append(b.buf, raw[:n]...)
		raw = raw[n:]
	}
	b.buf = append(b.buf, make([]byte, -len(b.buf)&7)...)
	if rec.IsSwitch() {
		b.buf = append(b.buf, make([]byte, -len(b.buf)&(testSegment-1))...)
	}
	rec.End = b.pos()
	b.recs = append(b.recs, rec)
	b.prev, b.aborted = rec.LSN, 0
	return b
}

func (b *builder) many(n, length int) *builder {
	for range n {
		b.add(10, 0, length)
	}
	return b
}

// toPageEnd fills the current page but for left bytes.
func (b *builder) toPageEnd(left int) *builder {
	b.pageStart(0)
	return b.add(10, 0, b.left()-left)
}

// abort writes the start of a record up to the end of its page, and lets the
// next page say that it is given up.
func (b *builder) abort(length int) *builder {
	b.pageStart(0)
	b.aborted = b.pos()
	b.buf = append(b.buf, b.encode(10, 0, length)[:b.left()]...)
	b.flags = FlagOverwroteContinuation
	if b.magic > magic18 {
		b.flags = flagOverwroteContinuation19
	}
	return b
}

func (b *builder) zeros(n int) *builder {
	b.buf = append(b.buf, make([]byte, n)...)
	return b
}

func (b *builder) last() Record { return b.recs[len(b.recs)-1] }

// memory is WAL from base on.
type memory struct {
	base  uint64
	bytes []byte
	reads int
}

func (b *builder) source() *memory { return &memory{base: b.base, bytes: b.buf} }

func (m *memory) ReadWAL(p []byte, lsn uint64) (int, error) {
	m.reads++
	if lsn < m.base || lsn-m.base >= uint64(len(m.bytes)) {
		return 0, io.EOF
	}
	n := copy(p, m.bytes[lsn-m.base:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
