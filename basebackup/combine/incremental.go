package combine

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"

	"github.com/pgbraid/pgbraid/basebackup/lineage"
	"golang.org/x/sys/unix"
)

const incrementalPrefix = lineage.IncrementalPrefix

func hasIncrementals(dir string) bool { return lineage.HasIncrementals(dir) }

// The layout of an incremental file, in the byte order of the server's
// machine (src/backend/backup/basebackup_incremental.c):
//
//	 0  magic                     uint32
//	 4  number of blocks, n       uint32
//	 8  truncation block length   uint32
//	12  block numbers             n × uint32, ascending, from the file's first
//	    zeros, if n > 0, up to a multiple of the block size
//	    n blocks
const (
	incrementalMagic = 0xd3ae1f0d
	fixedHeader      = 12

	// maxSegmentBlocks bounds what a pg_control may say: files of 128 GB,
	// which no server makes.
	maxSegmentBlocks = 1 << 24
)

// geometry is what the cluster's pg_control says of relation files.
type geometry struct {
	blockSize     int64 // in bytes
	segmentBlocks uint32
}

// header is the beginning of an incremental file.
type header struct {
	// blocks are the numbers of the blocks that the file holds.
	blocks []uint32
	// truncation is the number of blocks that the relation's file had at
	// least: those below that are not in this file come from older backups.
	truncation uint32
	// data is where the first block stands, in bytes.
	data int64
}

// length is the number of blocks of the file that is rebuilt.
func (h *header) length() uint32 {
	if n := len(h.blocks); n > 0 {
		return max(h.truncation, h.blocks[n-1]+1)
	}
	return h.truncation
}

// headerError says what is wrong with an incremental file.
type headerError string

func (e headerError) Error() string { return string(e) }

func headerFault(format string, args ...any) error { return headerError(fmt.Sprintf(format, args...)) }

// readCounts reads the fixed beginning of an incremental file of size bytes,
// and makes sure that it can be true.
func readCounts(r io.ReaderAt, size int64, g geometry) (blocks, truncation uint32, err error) {
	var fixed [fixedHeader]byte
	if size < fixedHeader {
		return 0, 0, headerFault("has %d bytes, fewer than a header", size)
	}
	if err := readFull(r, fixed[:], 0); err != nil {
		return 0, 0, err
	}
	order := binary.NativeEndian
	if magic := order.Uint32(fixed[:]); magic != incrementalMagic {
		return 0, 0, headerFault("has bad incremental magic number (0x%x, expected 0x%x)", magic, uint32(incrementalMagic))
	}
	blocks, truncation = order.Uint32(fixed[4:]), order.Uint32(fixed[8:])
	if blocks > g.segmentBlocks {
		return 0, 0, headerFault("has block count %d in excess of segment size %d", blocks, g.segmentBlocks)
	}
	if truncation > g.segmentBlocks {
		return 0, 0, headerFault("has truncation block length %d in excess of segment size %d", truncation, g.segmentBlocks)
	}
	if want := g.dataStart(blocks) + int64(blocks)*g.blockSize; size != want {
		return 0, 0, headerFault("has %d bytes, expected %d for %d blocks", size, want, blocks)
	}
	return blocks, truncation, nil
}

// dataStart is where the first block stands behind n block numbers.
func (g geometry) dataStart(n uint32) int64 {
	end := fixedHeader + 4*int64(n)
	if n > 0 {
		end = (end + g.blockSize - 1) / g.blockSize * g.blockSize
	}
	return end
}

// readHeader reads the beginning of an incremental file of size bytes.
// Nothing is allocated for numbers that the file cannot hold.
func readHeader(r io.ReaderAt, size int64, g geometry) (*header, error) {
	n, truncation, err := readCounts(r, size, g)
	if err != nil {
		return nil, err
	}
	h := &header{truncation: truncation, data: g.dataStart(n), blocks: make([]uint32, n)}
	raw := make([]byte, 4*len(h.blocks))
	if err := readFull(r, raw, fixedHeader); err != nil {
		return nil, err
	}
	for i := range h.blocks {
		b := binary.NativeEndian.Uint32(raw[4*i:])
		if b >= g.segmentBlocks {
			return nil, headerFault("lists block %d, beyond segment size %d", b, g.segmentBlocks)
		}
		if i > 0 && b <= h.blocks[i-1] {
			return nil, headerFault("lists block %d after block %d", b, h.blocks[i-1])
		}
		h.blocks[i] = b
	}
	return h, nil
}

// readFull is ReadAt for bytes that must be there.
func readFull(r io.ReaderAt, p []byte, at int64) error {
	n, err := r.ReadAt(p, at)
	if n == len(p) {
		return nil
	}
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// openRegular opens a file of an input for reading. Whatever else stands
// there under its name is an error, and is not waited for.
func openRegular(path string) (*os.File, os.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("\"%s\" is not a regular file", path)
	}
	if err != nil {
		_ = f.Close() // nothing was done with it
		return nil, nil, err
	}
	return f, info, nil
}
