// Package pgpage checks data pages: what the files of tables and indexes
// consist of.
//
//	relation, ok := pgpage.ParsePath("base/5/16384.1")
//	var checker pgpage.Checker
//	checker.Begin(geometry, window, relation)
//	checker.Write(content) // in pieces of any length
//	tally := checker.End()
//
// A page is good if a server with data checksums would take it from its disk.
// One that was written while the backup read it may be torn, and is none the
// worse for it: replaying the WAL of the backup begins with an image of it.
package pgpage

import (
	"bytes"
	"encoding/binary"
)

// The beginning of a page, in the byte order of the server's machine
// (src/include/storage/bufpage.h):
//
//	 0  LSN of its last change, upper half  uint32
//	 4  and lower half                      uint32
//	 8  checksum                            uint16
//	10  flags                               uint16
//	12  lower, upper: the free space is between them; special: what follows
//	    the rows                            uint16 each, offsets in bytes
const (
	offChecksum = 8
	offFlags    = 10
	offLower    = 12
	offUpper    = 14
	offSpecial  = 16

	validFlags = 0x0007
	alignment  = 8 // MAXALIGN
)

// MinBlockSize and MaxBlockSize bound the sizes that servers are built for, in
// bytes. All are powers of two.
const (
	MinBlockSize = 1 << 10
	MaxBlockSize = 32 << 10
)

// ChecksumsOn is what pg_control says of a cluster all of whose pages have
// checksums (PG_DATA_CHECKSUM_VERSION, src/include/storage/checksum.h). Other
// values but 0 are those of a cluster that is on its way to there or back.
const ChecksumsOn = 1

// Geometry is what pg_control says of the files of relations.
type Geometry struct {
	BlockSize     int    // in bytes
	SegmentBlocks uint32 // how many pages a file has at most
}

// DefaultGeometry is that of servers that were built without asking for
// another one.
var DefaultGeometry = Geometry{BlockSize: 8192, SegmentBlocks: 131072}

// Window is the stretch of WAL that a backup needs, from where replaying it
// begins to where it is consistent. Both are LSNs.
type Window struct{ Start, End uint64 }

// Verdict is what a page is.
type Verdict uint8

// The verdicts.
const (
	// Good says that the checksum is right, and the header makes sense.
	Good Verdict = iota
	// New says that the page is zeros: it was added and never written to.
	New
	// Torn says that the checksum is wrong, and that the page was changed
	// while the backup was taken: the WAL has it.
	Torn
	// Bad says that a server would refuse the page.
	Bad
)

// zeros is a page that was never written to.
var zeros [MaxBlockSize]byte

// Check judges a page, the block of that number in its relation. It takes a
// page for good that a server reads without complaint (PageIsVerified in
// src/backend/storage/page/bufpage.c). Of the others those are torn that were
// changed within the window, which a server does not look at when it sends a
// backup (verify_page_checksum in src/backend/backup/basebackup.c).
func Check(page []byte, block uint32, w Window) Verdict {
	order := binary.NativeEndian
	if order.Uint16(page[offUpper:]) == 0 {
		if bytes.Equal(page, zeros[:len(page)]) {
			return New
		}
	} else if Checksum(page, block) == order.Uint16(page[offChecksum:]) && sane(page) {
		return Good
	}
	if lsn := LSN(page); lsn >= w.Start && lsn <= w.End {
		return Torn
	}
	return Bad
}

// LSN is where the WAL record of the page's last change ends.
func LSN(page []byte) uint64 {
	return uint64(binary.NativeEndian.Uint32(page))<<32 | uint64(binary.NativeEndian.Uint32(page[4:]))
}

// sane tells whether the header can be that of a page.
func sane(page []byte) bool {
	field := func(at int) int { return int(binary.NativeEndian.Uint16(page[at:])) }
	lower, upper, special := field(offLower), field(offUpper), field(offSpecial)
	return field(offFlags)&^validFlags == 0 && lower <= upper && upper <= special && special <= len(page) && special%alignment == 0
}

// Valid tells whether a server can have files so.
func (g Geometry) Valid() bool {
	return g.BlockSize >= MinBlockSize && g.BlockSize <= MaxBlockSize && g.BlockSize&(g.BlockSize-1) == 0 && g.SegmentBlocks > 0
}
