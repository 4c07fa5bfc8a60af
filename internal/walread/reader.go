// Package walread walks write-ahead log record by record, checking what
// PostgreSQL's own reader checks: page headers, record lengths, links to the
// previous record, continuations over pages and segments, and CRCs.
//
//	src, err := walread.NewDirSource(dir, timeline, segmentSize)
//	...
//	defer src.Close()
//	reach, err := walread.EndOfWAL(src, from, walread.Options{SegmentSize: segmentSize})
//	// reach.End is how far the WAL in dir goes, reach.Stop says why no further.
//
// A Reader gives the records one by one; whether a complete record lies at an
// LSN is whether the first Next of a Reader that starts there succeeds.
//
// What is read is not trusted: no bytes make a Reader panic, allocate more
// than its one buffer of 1 MiB, or read any page more than a few times.
// The format is described in PostgreSQL's xlogrecord.h, xlog_internal.h and
// xlogreader.c.
package walread

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// maxRecordLength is the longest record that PostgreSQL can read back, in
// bytes. Servers from release 16 on write at most 1020 MiB, older ones have
// no limit of their own.
const maxRecordLength = 1<<30 - 1

// maxLSN bounds the positions that are looked at, so that no sum of them can
// overflow.
const maxLSN = 1 << 63

// The record that ends a segment early (RM_XLOG_ID and XLOG_SWITCH). The low
// four bits of the info byte do not belong to the record's kind.
const (
	rmgrXLOG       = 0
	infoSwitch     = 0x40
	infoRecordMask = 0xF0
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Record is what the log says of one record, without its data.
type Record struct {
	LSN  uint64 // where its header begins
	End  uint64 // where the next record may begin; after a segment switch, the next segment's start
	Prev uint64 // LSN of the record before it, 0 for a cluster's first
	// Aborted is the LSN of an unfinished record that the server gave up
	// after a crash and that lies just before this one; else 0.
	Aborted  uint64
	Length   uint32 // bytes with the header, without padding and page headers
	XID      uint32 // transaction, 0 for none
	Timeline uint32 // of the page where the record begins
	RmgrID   byte   // resource manager (rmgrlist.h)
	Info     byte   // what kind of record it is to that resource manager
}

// IsSwitch tells whether this is the record that ends its segment early, as
// pg_switch_wal and archive_timeout write it.
func (r Record) IsSwitch() bool {
	return r.RmgrID == rmgrXLOG && r.Info&infoRecordMask == infoSwitch
}

// Options say what WAL to expect.
type Options struct {
	SegmentSize uint32 // bytes; required, a power of two from 1 MiB to 1 GiB
	SystemID    uint64 // the cluster's system identifier; 0 takes that of the first page
	// Timeline is the highest timeline that a page may be of, 0 for any. The
	// pages of a timeline's first segment can be of its parent: the segment is
	// a copy up to the fork. So lower ones are always taken, as long as they
	// do not decrease on the way.
	Timeline uint32
}

// Reader walks the log from one position on. It must not be used by several
// goroutines at once.
type Reader struct {
	src         Source
	segmentSize uint64
	pageSize    uint64 // 0 until begin has succeeded
	systemID    uint64
	maxTimeline uint32
	magic       uint16

	pos        uint64 // where the next record begins, maybe a page's start
	prev       uint64 // LSN of the record before, if linked
	linked     bool
	timeline   uint32 // highest so far, of the page at timelineAt
	timelineAt uint64

	buffer     []byte // WAL from bufferLSN on
	bufferLSN  uint64
	bufferSpan uint64 // bytes that were asked for, not fewer than len(buffer)

	page       []byte // the current page, within buffer; nil for none
	pageLSN    uint64
	header     PageHeader
	headerSize uint64

	head [recordHeaderSize]byte // header of a record that crosses pages
}

// NewReader makes a Reader whose first record begins at start: the LSN of a
// record, or a page's first byte when the record follows its header. To start
// elsewhere, ask FirstRecord. An error means that the segment size or start
// cannot be; nothing is read yet.
func NewReader(src Source, start uint64, opts Options) (*Reader, error) {
	if !validSegmentSize(opts.SegmentSize) {
		return nil, fmt.Errorf("WAL segment size %d: want a power of two from 1 MiB to 1 GiB", opts.SegmentSize)
	}
	if start%recordAlignment != 0 || start >= maxLSN {
		return nil, fmt.Errorf("WAL position %s: no record can begin here", formatLSN(start))
	}
	return &Reader{
		src: src, pos: start, segmentSize: uint64(opts.SegmentSize),
		systemID: opts.SystemID, maxTimeline: opts.Timeline,
	}, nil
}

// Position is where the next record begins or would begin: the End of the
// last one that Next gave.
func (r *Reader) Position() uint64 { return r.pos }

// Next gives the next record after checking all of it. Where valid WAL ends
// it gives an *EndError; then it may be called again, and goes on if the
// source has got more meanwhile. Any other error is ErrByteOrder or the
// source's, wrapped.
func (r *Reader) Next() (Record, error) {
	timeline, timelineAt := r.timeline, r.timelineAt
	rec, err := r.next()
	if err != nil {
		// A page that is replaced later must not be held against that one.
		r.timeline, r.timelineAt = timeline, timelineAt
		r.drop()
		return Record{}, err
	}
	if rec.IsSwitch() {
		rec.End = (rec.End + r.segmentSize - 1) &^ (r.segmentSize - 1)
	}
	r.pos, r.prev, r.linked = rec.End, rec.LSN, true
	return rec, nil
}

func (r *Reader) next() (Record, error) {
	if r.pos >= maxLSN {
		return Record{}, r.end(faultf(BadPage, r.pos, "position is out of range"), Invalid)
	}
	if f, err := r.begin(); f != nil || err != nil {
		return Record{}, r.stop(f, err, Clean)
	}
	aborted := uint64(0)
	for {
		rec, again, err := r.record()
		if !again {
			rec.Aborted = aborted
			return rec, err
		}
		// Each turn begins on a later page, so this ends.
		aborted, r.pos = rec.LSN, r.pageLSN
	}
}

// record reads the record at r.pos. again is true when it was given up: then
// the current page is where the log goes on, and the result has only the LSN.
func (r *Reader) record() (rec Record, again bool, err error) {
	at := r.pos &^ (r.pageSize - 1)
	if f, err := r.load(at); f != nil || err != nil {
		return rec, false, r.stop(f, err, Clean)
	}
	offset := r.pos - at
	if offset == 0 {
		offset = r.headerSize
	} else if offset < r.headerSize {
		return rec, false, r.end(faultf(BadContinuation, r.pos, "position is inside a page header"), Invalid)
	}
	if offset == r.headerSize && r.header.Flags&FlagContinuation != 0 {
		return rec, false, r.end(faultf(BadContinuation, at, "%d bytes of another record come first", r.header.Remaining), Invalid)
	}
	rec.LSN, rec.Timeline = at+offset, r.header.Timeline
	b := r.page[min(offset, uint64(len(r.page))):]
	if len(b) < 4 {
		f := &fault{reason: SourceEnd, at: rec.LSN + uint64(len(b))}
		if allZero(b) {
			return rec, false, r.end(f, Clean)
		}
		return rec, false, r.end(f, Torn)
	}
	// A record begins aligned, so its length is never split over two pages.
	rec.Length = binary.LittleEndian.Uint32(b)
	if rec.Length == 0 && allZero(b) {
		return rec, false, r.end(&fault{reason: Zeros, at: rec.LSN}, Clean)
	}
	if rec.Length < recordHeaderSize || rec.Length > maxRecordLength {
		f := faultf(BadLength, rec.LSN, "%d bytes", rec.Length)
		return rec, false, r.cutOr(f, min(rec.LSN+recordHeaderSize, at+r.pageSize))
	}
	if uint64(rec.Length) > uint64(len(b)) {
		return r.continued(rec, b)
	}
	if err := r.takeHeader(&rec, b, rec.LSN+recordHeaderSize); err != nil {
		return rec, false, err
	}
	rec.End = rec.LSN + align(uint64(rec.Length))
	crc := crc32.Update(0, castagnoli, b[recordHeaderSize:rec.Length])
	return rec, false, r.checkCRC(rec, crc, b)
}

// continued reads a record that goes on after its first page, of which b is
// the rest.
func (r *Reader) continued(rec Record, b []byte) (Record, bool, error) {
	// What the source has of the header is judged first, so that garbage at
	// its end is not taken for a record that more WAL would complete.
	n := copy(r.head[:], b)
	crc := uint32(0)
	if n == recordHeaderSize {
		if err := r.takeHeader(&rec, r.head[:], rec.LSN+recordHeaderSize); err != nil {
			return rec, false, err
		}
		crc = crc32.Update(0, castagnoli, b[n:])
	}
	if uint64(len(r.page)) < r.pageSize {
		return rec, false, r.end(&fault{reason: SourceEnd, at: r.pageLSN + uint64(len(r.page))}, Torn)
	}
	for got := uint64(len(b)); got < uint64(rec.Length); {
		f, err := r.load(r.pageLSN + r.pageSize)
		if f != nil || err != nil {
			return rec, false, r.stop(f, err, Torn)
		}
		if r.header.Flags&FlagOverwroteContinuation != 0 {
			return rec, true, nil
		}
		left := uint64(r.header.Remaining)
		if r.header.Flags&FlagContinuation == 0 {
			return rec, false, r.end(faultf(BadContinuation, r.pageLSN, "the page does not go on with the record"), Invalid)
		}
		if left != uint64(rec.Length)-got {
			f := faultf(BadContinuation, r.pageLSN, "%d bytes left, want %d", left, uint64(rec.Length)-got)
			return rec, false, r.cutOr(f, r.pageLSN+shortHeaderSize)
		}
		take := min(left, r.pageSize-r.headerSize)
		if uint64(len(r.page)) < r.headerSize+take {
			return rec, false, r.end(&fault{reason: SourceEnd, at: r.pageLSN + uint64(len(r.page))}, Torn)
		}
		part := r.page[r.headerSize : r.headerSize+take]
		if n < recordHeaderSize {
			more := copy(r.head[n:], part)
			n, part = n+more, part[more:]
			if err := r.takeHeader(&rec, r.head[:], r.pageLSN+r.headerSize+uint64(more)); err != nil {
				return rec, false, err
			}
		}
		crc = crc32.Update(crc, castagnoli, part)
		got += take
		rec.End = r.pageLSN + r.headerSize + align(take)
	}
	return rec, false, r.checkCRC(rec, crc, r.head[:])
}

// takeHeader fills rec from its header b, which ends in the log at end, and
// checks the link to the previous record.
func (r *Reader) takeHeader(rec *Record, b []byte, end uint64) error {
	rec.XID = binary.LittleEndian.Uint32(b[4:])
	rec.Prev = binary.LittleEndian.Uint64(b[8:])
	rec.Info, rec.RmgrID = b[16], b[17]
	if r.linked && rec.Prev != r.prev {
		return r.cutOr(faultf(BadPrev, rec.LSN, "%s, want %s", formatLSN(rec.Prev), formatLSN(r.prev)), end)
	}
	if !r.linked && rec.Prev >= rec.LSN {
		return r.cutOr(faultf(BadPrev, rec.LSN, "%s, want an earlier one", formatLSN(rec.Prev)), end)
	}
	return nil
}

// checkCRC ends the CRC-32C, which is computed over the record's data and
// then over its header up to the checksum.
func (r *Reader) checkCRC(rec Record, crc uint32, header []byte) error {
	crc = crc32.Update(crc, castagnoli, header[:recordCRCOffset])
	if want := binary.LittleEndian.Uint32(header[recordCRCOffset:]); crc != want {
		return r.cutOr(faultf(BadChecksum, rec.LSN, "%08X, want %08X", crc, want), rec.End)
	}
	return nil
}

// cutOr ends the walk with Torn when nothing follows LSN after, which zeros in
// place of a record's last part show, and with Invalid when WAL follows.
func (r *Reader) cutOr(f *fault, after uint64) error {
	nothing, err := r.nothingFrom(after)
	if err != nil {
		return err
	}
	if nothing {
		return r.end(f, Torn)
	}
	return r.end(f, Invalid)
}

// stop ends the walk at a page that could not be loaded; absent is the ending
// if that page is just not there.
func (r *Reader) stop(f *fault, err error, absent Ending) error {
	if err != nil {
		return err
	}
	if f.absent() {
		return r.end(f, absent)
	}
	// A header that was cut is followed by zeros alone.
	if r.pageSize != 0 && f.reason == BadPage {
		return r.cutOr(f, f.at+shortHeaderSize)
	}
	return r.end(f, Invalid)
}

func (r *Reader) end(f *fault, e Ending) error {
	return &EndError{LSN: r.pos, Ending: e, Reason: f.reason, At: f.at, Detail: f.detail}
}

func align(n uint64) uint64 { return (n + recordAlignment - 1) &^ (recordAlignment - 1) }
