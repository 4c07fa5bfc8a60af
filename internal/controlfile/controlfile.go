// Package controlfile reads pg_control, the file that says which cluster a
// data directory belongs to and how it was last left.
//
//	control, err := controlfile.Read(filepath.Join(dir, "global/pg_control"))
//
// It reads the files of releases 10 to 19, and those of later releases that
// keep to the same plan: the fields at the beginning never moved, those that
// follow the checkpoint are found by a number that every server writes before
// them, and the checksum by its value.
package controlfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"time"
)

// Control is what is read of a pg_control. Nothing in it is certain but for
// its checksum, which was right.
type Control struct {
	// SystemIdentifier is the cluster's, as in IDENTIFY_SYSTEM.
	SystemIdentifier uint64
	// Version is that of the file's layout, such as 1700. It changes with a
	// release or stays: 13 to 16 all have 1300.
	Version uint32
	// CatalogVersion tells releases apart, such as 202406281 for 17.
	CatalogVersion uint32
	State          State
	// ModTime is when the server last wrote the file.
	ModTime time.Time
	// Checkpoint is where in the log the latest checkpoint record begins, Redo
	// where replaying from it begins (both LSNs), and Timeline the timeline
	// that they are on.
	Checkpoint, Redo uint64
	Timeline         uint32
	// BlockSize is that of a data page, in bytes, and SegmentBlocks how many
	// pages a file of a relation has at most.
	BlockSize, SegmentBlocks uint32
	// WALSegmentSize is in bytes.
	WALSegmentSize uint32
	// ChecksumVersion is 0 where pages have no checksums.
	ChecksumVersion uint32
}

// State is how the server was when it last wrote the file.
type State uint32

// The states, in the order of the server's numbers.
const (
	StartingUp State = iota
	ShutDown
	ShutDownInRecovery
	ShuttingDown
	InCrashRecovery
	InArchiveRecovery
	InProduction
)

var stateNames = [...]string{
	"starting up", "shut down", "shut down in recovery", "shutting down",
	"in crash recovery", "in archive recovery", "in production",
}

// String is the text that pg_controldata shows.
func (s State) String() string {
	if int64(s) >= int64(len(stateNames)) {
		return fmt.Sprintf("unrecognized state %d", uint32(s))
	}
	return stateNames[s]
}

// ErrCRC says that the file is damaged, is no pg_control at all, or comes from
// a machine of another byte order.
var ErrCRC = errors.New("CRC is incorrect")

// ErrTooShort says that bytes are missing at the end.
var ErrTooShort = errors.New("file is too short")

// The layout, in the byte order of the machine that the server runs on, which
// is that of the machine that can use the files:
//
//	  0  system identifier                uint64
//	  8  version of the layout            uint32
//	 12  catalog version                  uint32
//	 16  state                            uint32, 4 bytes of padding
//	 24  time of writing                  int64, seconds since 1970
//	 32  latest checkpoint record         uint64 (LSN)
//	 40  before release 11: the checkpoint before that
//	 40  copy of the checkpoint record (48 before release 11):
//	       0 redo uint64 (LSN), 8 timeline uint32, …
//	  …
//	  A  the number 1234567.0             float64
//	 +8  block size, +12 blocks of a relation's file, +16 block size of the log,
//	+20  size of a log segment, …, +44 version of the page checksums: uint32
//	     (from release 19 on, the last three are 4 bytes later)
//	  …
//	  C  CRC-32C of everything before     uint32
const (
	offSystemIdentifier = 0
	offVersion          = 8
	offCatalogVersion   = 12
	offState            = 16
	offTime             = 24
	offCheckpoint       = 32
	offCheckpointCopy   = 40
	offCopyTimeline     = 8 // in the copy

	offBlockSize       = 8 // these after the anchor
	offSegmentBlocks   = 12
	offWALSegmentSize  = 20
	offChecksumVersion = 44

	// version11 is the first without the checkpoint before the latest.
	version11 = 1100
	// version19 is the first with the pages of an SLRU segment after the blocks
	// of a relation's file.
	version19 = 1900

	// anchor is the number with which a server makes sure of its machine's
	// floating-point format.
	anchor = 1234567.0

	// A server keeps all of the data in one disk sector of 512 bytes. The
	// releases so far have the CRC at 280 to 308.
	firstCRC, maxData = 256, 512
	minAnchor         = 128
)

// fileSize is how many bytes are read: the file has 8192, of which all after
// the CRC are zeros.
const fileSize = 8192

// Read reads the file and verifies its checksum. An error other than of the
// file system wraps ErrCRC or ErrTooShort, or says what cannot be understood.
func Read(path string) (Control, error) {
	f, err := os.Open(path)
	if err != nil {
		return Control{}, err
	}
	defer func() { _ = f.Close() }() // only read from
	content, err := io.ReadAll(io.LimitReader(f, fileSize))
	if err != nil {
		return Control{}, err
	}
	c, err := Parse(content)
	if err != nil {
		return Control{}, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// Parse reads the content of a file. It never keeps b.
func Parse(b []byte) (Control, error) {
	if len(b) < maxData {
		return Control{}, ErrTooShort
	}
	b = b[:maxData]
	end, ok := findCRC(b)
	if !ok {
		return Control{}, ErrCRC
	}
	b = b[:end]
	order := binary.NativeEndian
	c := Control{
		SystemIdentifier: order.Uint64(b[offSystemIdentifier:]),
		Version:          order.Uint32(b[offVersion:]),
		CatalogVersion:   order.Uint32(b[offCatalogVersion:]),
		State:            State(order.Uint32(b[offState:])),
		ModTime:          time.Unix(int64(order.Uint64(b[offTime:])), 0).UTC(),
		Checkpoint:       order.Uint64(b[offCheckpoint:]),
	}
	record := offCheckpointCopy
	if c.Version < version11 {
		record += 8
	}
	c.Redo = order.Uint64(b[record:])
	c.Timeline = order.Uint32(b[record+offCopyTimeline:])
	at, ok := findAnchor(b)
	if !ok {
		return Control{}, fmt.Errorf("layout %d is not known", c.Version)
	}
	c.BlockSize = order.Uint32(b[at+offBlockSize:])
	c.SegmentBlocks = order.Uint32(b[at+offSegmentBlocks:])
	if c.Version >= version19 {
		at += 4
	}
	c.WALSegmentSize = order.Uint32(b[at+offWALSegmentSize:])
	c.ChecksumVersion = order.Uint32(b[at+offChecksumVersion:])
	return c, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// findCRC gives the place of the checksum: the first that is right for
// everything before it. That damage makes one right by chance is 1 to 2^26.
func findCRC(b []byte) (at int, ok bool) {
	sum := crc32.Update(0, castagnoli, b[:firstCRC])
	for at = firstCRC; at+crc32.Size <= len(b); at += 4 {
		if binary.NativeEndian.Uint32(b[at:]) == sum {
			return at, true
		}
		sum = crc32.Update(sum, castagnoli, b[at:at+4])
	}
	return 0, false
}

func findAnchor(b []byte) (at int, ok bool) {
	for at = minAnchor; at+offChecksumVersion+8 <= len(b); at += 8 {
		if binary.NativeEndian.Uint64(b[at:]) == math.Float64bits(anchor) {
			return at, true
		}
	}
	return 0, false
}
