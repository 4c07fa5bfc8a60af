package pgpage

import "encoding/binary"

// maxBlocks is how many numbers of bad blocks a Tally keeps.
const maxBlocks = 8

// Tally is what was found in one file, or in several.
type Tally struct {
	// Pages is how many pages there were; New, Torn and Bad count those that
	// are not good.
	Pages, New, Torn, Bad int64
	// Blocks are the numbers, in the relation, of the first bad pages.
	Blocks []uint32
	// Fault says why the pages of an incremental file cannot be told from one
	// another; it is empty where they can.
	Fault string
}

// note counts a page.
func (t *Tally) note(v Verdict, block uint32) {
	t.Pages++
	switch v {
	case New:
		t.New++
	case Torn:
		t.Torn++
	case Bad:
		if t.Bad++; len(t.Blocks) < maxBlocks {
			t.Blocks = append(t.Blocks, block)
		}
	}
}

// Checker checks the pages of one file after another, and keeps its memory. It
// may not be used by several goroutines at a time.
type Checker struct {
	geometry Geometry
	window   Window
	first    uint32 // block number of the file's first
	tally    Tally
	next     uint32 // which page of the file comes next
	part     []byte // of a page that is not complete yet
	header   header
}

// Begin begins a file. The geometry must be one that a server can have.
func (c *Checker) Begin(g Geometry, w Window, r Relation) {
	c.geometry, c.window, c.first = g, w, r.Segment*g.SegmentBlocks
	c.tally, c.next, c.part = Tally{}, 0, c.part[:0]
	c.header.begin(r.Incremental)
}

// Write takes the file's next bytes, which it does not keep.
func (c *Checker) Write(p []byte) {
	p = c.header.write(p, c.geometry)
	size := c.geometry.BlockSize
	if len(c.part) > 0 {
		n := min(len(p), size-len(c.part))
		c.part = append(c.part, p[:n]...)
		p = p[n:]
		if len(c.part) < size {
			return
		}
		c.page(c.part)
		c.part = c.part[:0]
	}
	for ; len(p) >= size; p = p[size:] {
		c.page(p[:size:size])
	}
	c.part = append(c.part, p...)
}

func (c *Checker) page(page []byte) {
	block, ok := c.header.block(c.next)
	c.next++
	if ok {
		block += c.first
		c.tally.note(Check(page, block, c.window), block)
	}
}

// End gives what was found. A page that is not complete at the end of a file
// does not count: a server adds to its files in pieces, and passes over it.
func (c *Checker) End() Tally {
	if fault := c.header.end(c.next, len(c.part)); fault != "" {
		c.tally.Fault = fault
	}
	return c.tally
}

// header gathers what an incremental file has before its pages, in the byte
// order of the server's machine: a number that all such files begin with, the
// number of pages, a length, and the pages' numbers, filled up with zeros to a
// multiple of a page (src/backend/backup/basebackup_incremental.c).
type header struct {
	present bool
	size    int // in bytes; 0: not known yet
	text    []byte
	blocks  int
	fault   string
}

const (
	incrementalMagic = 0xd3ae1f0d
	fixedHeader      = 12
)

func (h *header) begin(present bool) {
	*h = header{present: present, text: h.text[:0]}
}

// write takes what belongs to the header and gives back what does not.
func (h *header) write(p []byte, g Geometry) (rest []byte) {
	switch {
	case !h.present:
		return p
	case h.fault != "":
		return nil
	}
	if h.size == 0 {
		p = h.gather(p, fixedHeader)
		if len(h.text) < fixedHeader {
			return nil
		}
		magic, blocks := binary.NativeEndian.Uint32(h.text), binary.NativeEndian.Uint32(h.text[4:])
		if magic != incrementalMagic {
			h.fault = "it is no incremental file"
			return nil
		}
		if blocks > g.SegmentBlocks {
			h.fault = "it lists more pages than a file can have"
			return nil
		}
		h.blocks, h.size = int(blocks), fixedHeader+4*int(blocks)
		if blocks > 0 {
			h.size = (h.size + g.BlockSize - 1) / g.BlockSize * g.BlockSize
		}
	}
	return h.gather(p, h.size)
}

// gather takes bytes until there are so many.
func (h *header) gather(p []byte, size int) (rest []byte) {
	n := min(len(p), max(0, size-len(h.text)))
	h.text = append(h.text, p[:n]...)
	return p[n:]
}

// block is the number, in the file, of the page that comes after so many.
func (h *header) block(n uint32) (uint32, bool) {
	switch {
	case !h.present:
		return n, true
	case int64(n) >= int64(h.blocks):
		return 0, false
	}
	return binary.NativeEndian.Uint32(h.text[fixedHeader+4*n:]), true
}

// end tells what is wrong with an incremental file that has so many pages, and
// bytes after them.
func (h *header) end(pages uint32, bytes int) string {
	if h.present && h.fault == "" && (h.size == 0 || len(h.text) < h.size || int64(pages) != int64(h.blocks) || bytes > 0) {
		h.fault = "it does not have the pages that it lists"
	}
	return h.fault
}
