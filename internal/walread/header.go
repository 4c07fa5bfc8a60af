package walread

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Flags of a page header (xlp_info; PostgreSQL's xlog_internal.h).
const (
	FlagContinuation          uint16 = 0x0001 // the page begins with the rest of a record
	FlagLongHeader            uint16 = 0x0002 // the header is the long one, as on each segment's first page
	FlagRemovable             uint16 = 0x0004 // backup blocks may be left out; of no meaning here
	FlagOverwroteContinuation uint16 = 0x0008 // the record that should have gone on here was given up
	knownFlags                       = FlagContinuation | FlagLongHeader | FlagRemovable | FlagOverwroteContinuation
)

// Sizes in bytes of the headers, and what every record starts aligned to.
const (
	shortHeaderSize  = 24
	longHeaderSize   = 40
	recordHeaderSize = 24
	recordCRCOffset  = 20
	recordAlignment  = 8
)

// Page sizes that configure --with-wal-blocksize allows, in bytes.
const (
	minPageSize = 1 << 10
	maxPageSize = 64 << 10
)

// Segment sizes that initdb --wal-segsize allows, in bytes.
const (
	minSegmentSize = 1 << 20
	maxSegmentSize = 1 << 30
)

// The page magics of the releases whose WAL this package reads. The layout
// has been the same since release 9.5, so that a magic which is newer than
// the newest known one is taken too; lastMagic only bounds that.
const (
	firstMagic = 0xD097
	lastMagic  = 0xD1FF
)

var majorOfMagic = map[uint16]int{
	0xD097: 10, 0xD098: 11, 0xD101: 12, 0xD106: 13, 0xD10D: 14,
	0xD110: 15, 0xD113: 16, 0xD116: 17, 0xD118: 18, 0xD121: 19,
}

// ErrByteOrder says that the WAL was written by a big-endian server. WAL is
// in the byte order of its machine; only little-endian WAL can be read here.
var ErrByteOrder = errors.New("WAL page header: byte order is big-endian, which is not supported")

// PageHeader is the header of a WAL page (XLogPageHeaderData and
// XLogLongPageHeaderData in PostgreSQL's xlog_internal.h), little-endian:
//
//	offset  0  uint16  magic
//	        2  uint16  flags
//	        4  uint32  timeline
//	        8  uint64  address
//	       16  uint32  remaining, then 4 bytes of padding
//	       24  uint64  system identifier   long header only, from here on
//	       32  uint32  segment size
//	       36  uint32  page size
type PageHeader struct {
	Magic     uint16
	Flags     uint16
	Timeline  uint32
	Address   uint64 // LSN of the page's first byte
	Remaining uint32 // bytes of the continued record from this page on; 0 without FlagContinuation

	// The rest is 0 unless Long is true.
	SystemID    uint64
	SegmentSize uint32 // bytes
	PageSize    uint32 // bytes
}

// ParsePageHeader reads the header at the start of a page, and checks of it
// the magic and that b holds all of it: 24 bytes, or 40 with FlagLongHeader.
// WAL of the other byte order gives ErrByteOrder. A tool that has a segment
// file and does not know the segment size finds it here.
func ParsePageHeader(b []byte) (PageHeader, error) {
	if len(b) < shortHeaderSize {
		return PageHeader{}, fmt.Errorf("WAL page header: %d bytes are too few", len(b))
	}
	h := decodeHeader(b)
	if !plausibleMagic(h.Magic) {
		if plausibleMagic(h.Magic<<8 | h.Magic>>8) {
			return PageHeader{}, ErrByteOrder
		}
		return PageHeader{}, fmt.Errorf("WAL page header: unknown magic %04X", h.Magic)
	}
	if h.Long() && len(b) < longHeaderSize {
		return PageHeader{}, fmt.Errorf("WAL page header: %d bytes are too few for a long one", len(b))
	}
	return h, nil
}

// decodeHeader takes the fields apart without judging them. b must have 24
// bytes; the fields of a long header are left 0 when b has fewer than 40.
func decodeHeader(b []byte) PageHeader {
	h := PageHeader{
		Magic:     binary.LittleEndian.Uint16(b[0:]),
		Flags:     binary.LittleEndian.Uint16(b[2:]),
		Timeline:  binary.LittleEndian.Uint32(b[4:]),
		Address:   binary.LittleEndian.Uint64(b[8:]),
		Remaining: binary.LittleEndian.Uint32(b[16:]),
	}
	if h.Long() && len(b) >= longHeaderSize {
		h.SystemID = binary.LittleEndian.Uint64(b[24:])
		h.SegmentSize = binary.LittleEndian.Uint32(b[32:])
		h.PageSize = binary.LittleEndian.Uint32(b[36:])
	}
	return h
}

// Long tells whether this is a segment's first header, with system
// identifier, segment size and page size.
func (h PageHeader) Long() bool { return h.Flags&FlagLongHeader != 0 }

// Size is the length of the header in bytes: 24 or 40.
func (h PageHeader) Size() int {
	if h.Long() {
		return longHeaderSize
	}
	return shortHeaderSize
}

// Major is the PostgreSQL release that writes this magic, such as 15, or 0
// for a magic that is not known.
func (h PageHeader) Major() int { return majorOfMagic[h.Magic] }

func plausibleMagic(m uint16) bool { return m >= firstMagic && m <= lastMagic }

func validPageSize(n uint32) bool {
	return n >= minPageSize && n <= maxPageSize && n&(n-1) == 0
}

func validSegmentSize(n uint32) bool {
	return n >= minSegmentSize && n <= maxSegmentSize && n&(n-1) == 0
}

func formatLSN(l uint64) string { return fmt.Sprintf("%X/%X", uint32(l>>32), uint32(l)) }
