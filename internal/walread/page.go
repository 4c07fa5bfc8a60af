package walread

import (
	"errors"
	"fmt"
	"io"
)

// pieceSize is how much a Reader asks its Source for at once. It divides
// every segment size and is a multiple of every page size.
const pieceSize = 1 << 20

// firstPiece is how much it asks for first: many walks end after one record.
const firstPiece = maxPageSize

// begin learns the page size from the first page of the segment that holds
// the start of the walk. A recycled segment is found out here too, even when
// the walk starts far inside it.
func (r *Reader) begin() (*fault, error) {
	if r.pageSize != 0 {
		return nil, nil
	}
	at := r.pos &^ (r.segmentSize - 1)
	b, err := r.readInto(longHeaderSize, at)
	if err != nil {
		return nil, err
	}
	if len(b) >= shortHeaderSize && !allZero(b[:shortHeaderSize]) {
		if _, err := ParsePageHeader(b); errors.Is(err, ErrByteOrder) {
			return nil, err
		}
	}
	h, f := r.check(b, at)
	if f != nil {
		return f, nil
	}
	r.magic, r.systemID, r.pageSize = h.Magic, h.SystemID, uint64(h.PageSize)
	r.drop()
	return nil, nil
}

// load makes the page at LSN at the current one, with its header checked.
func (r *Reader) load(at uint64) (*fault, error) {
	if r.page != nil && r.pageLSN == at {
		return nil, nil
	}
	b, err := r.fetch(at)
	if err != nil {
		return nil, err
	}
	h, f := r.check(b, at)
	if f != nil {
		r.page = nil
		return f, nil
	}
	r.page, r.pageLSN, r.header, r.headerSize = b, at, h, uint64(h.Size())
	if at >= r.timelineAt {
		r.timeline, r.timelineAt = h.Timeline, at
	}
	return nil, nil
}

// fetch gives the bytes of the page at LSN at, fewer than a page where the
// source ends. They are valid until the next fetch.
func (r *Reader) fetch(at uint64) ([]byte, error) {
	if at < r.bufferLSN || at >= r.bufferLSN+r.bufferSpan {
		piece := uint64(pieceSize)
		if r.buffer == nil {
			piece = firstPiece
		}
		span := piece - at%piece
		r.drop()
		b, err := r.readInto(int(span), at)
		if err != nil {
			return nil, err
		}
		r.buffer, r.bufferLSN, r.bufferSpan = b, at, span
	}
	from := min(at-r.bufferLSN, uint64(len(r.buffer)))
	to := min(from+r.pageSize, uint64(len(r.buffer)))
	return r.buffer[from:to:to], nil
}

// readInto reads up to n bytes into the reader's buffer; the source's io.EOF
// only shows as fewer bytes.
func (r *Reader) readInto(n int, at uint64) ([]byte, error) {
	b := r.buffer[:0]
	if cap(b) < n {
		b = make([]byte, 0, n)
	}
	b = b[:n]
	got, err := r.src.ReadWAL(b, at)
	if got < 0 || got > n {
		return nil, fmt.Errorf("WAL source: gave %d bytes when asked for %d", got, n)
	}
	if got < n && err == nil {
		err = io.ErrNoProgress
	}
	if got < n && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("WAL source at %s: %w", formatLSN(at+uint64(got)), err)
	}
	return b[:got], nil
}

// drop forgets what was read, so that the next page is read anew.
func (r *Reader) drop() {
	r.page, r.bufferSpan = nil, 0
}

// check judges the header of the page at LSN at, of which b is as much as the
// source has. It changes nothing. The order of the checks follows
// XLogReaderValidatePageHeader in PostgreSQL's xlogreader.c, save that an old
// page of a recycled segment is told apart first.
func (r *Reader) check(b []byte, at uint64) (PageHeader, *fault) {
	head := b[:min(len(b), shortHeaderSize)]
	if allZero(head) && len(head) == shortHeaderSize {
		if allZero(b) {
			return PageHeader{}, &fault{reason: Zeros, at: at}
		}
		return PageHeader{}, faultf(BadPage, at, "header is zeros but the page is not")
	}
	if len(head) < shortHeaderSize {
		return PageHeader{}, &fault{reason: SourceEnd, at: at + uint64(len(b))}
	}
	h := decodeHeader(b)
	if r.magic == 0 && !plausibleMagic(h.Magic) {
		return h, faultf(BadPage, at, "unknown magic %04X", h.Magic)
	}
	if r.magic != 0 && h.Magic != r.magic {
		return h, faultf(BadPage, at, "magic %04X, want %04X", h.Magic, r.magic)
	}
	if h.Address < at && (at-h.Address)%r.segmentSize == 0 {
		return h, faultf(OldPage, at, "address %s", formatLSN(h.Address))
	}
	if h.Address != at {
		return h, faultf(BadPage, at, "address %s", formatLSN(h.Address))
	}
	if h.Flags&^knownFlags != 0 {
		return h, faultf(BadPage, at, "flags %04X", h.Flags)
	}
	if h.Long() {
		if f := r.checkLong(h, b, at); f != nil {
			return h, f
		}
	} else if at%r.segmentSize == 0 {
		return h, faultf(BadPage, at, "no long header at the start of a segment")
	}
	if at > r.timelineAt && h.Timeline < r.timeline {
		return h, faultf(BadPage, at, "timeline %d after %d", h.Timeline, r.timeline)
	}
	if r.maxTimeline != 0 && h.Timeline > r.maxTimeline {
		return h, faultf(BadPage, at, "timeline %d, want at most %d", h.Timeline, r.maxTimeline)
	}
	return h, nil
}

func (r *Reader) checkLong(h PageHeader, b []byte, at uint64) *fault {
	if len(b) < longHeaderSize {
		return &fault{reason: SourceEnd, at: at + uint64(len(b))}
	}
	return h.checkLong(at, r.systemID, r.segmentSize, r.pageSize)
}

// checkLong holds what only a long header has against what is known; 0 is not
// known.
func (h PageHeader) checkLong(at, systemID, segmentSize, pageSize uint64) *fault {
	switch {
	case systemID != 0 && h.SystemID != systemID:
		return faultf(BadPage, at, "system identifier %d, want %d", h.SystemID, systemID)
	case uint64(h.SegmentSize) != segmentSize:
		return faultf(BadPage, at, "segment size %d, want %d", h.SegmentSize, segmentSize)
	case !validPageSize(h.PageSize):
		return faultf(BadPage, at, "page size %d", h.PageSize)
	case pageSize != 0 && uint64(h.PageSize) != pageSize:
		return faultf(BadPage, at, "page size %d, want %d", h.PageSize, pageSize)
	}
	return nil
}

// nothingFrom tells whether no WAL lies at or after LSN at: the rest of its
// page is zeros, or not there, and so is the next page. It tells a record
// that was cut from one that was damaged.
func (r *Reader) nothingFrom(at uint64) (bool, error) {
	page := at &^ (r.pageSize - 1)
	if page != at {
		b, err := r.fetch(page)
		if err != nil {
			return false, err
		}
		if from := at - page; from < uint64(len(b)) && !allZero(b[from:]) {
			return false, nil
		}
		page += r.pageSize
	}
	b, err := r.fetch(page)
	if err != nil {
		return false, err
	}
	_, f := r.check(b, page)
	return f != nil && f.absent(), nil
}
