package logstream

import (
	"encoding/binary"
	"hash/crc32"
)

// MakeWAL makes sound WAL of n bytes from the start of a segment on, in pages of
// 8 kB, for tests inside and outside of the package. The records have a length
// of 24 bytes and more, and hold what salt gives for the LSN where each begins;
// prev is the record before, 0 for none.
func MakeWAL(size SegmentSize, start Position, n int, length int, salt func(LSN) byte, prev LSN) []byte {
	const page = 8192
	le := binary.LittleEndian
	buf := make([]byte, 0, n+length+page)
	pos := func() LSN { return start.LSN + LSN(len(buf)) }
	header := func(left int) {
		if len(buf)%page != 0 {
			return
		}
		flags := uint16(0)
		if left > 0 {
			flags |= 1
		}
		first := size.Offset(pos()) == 0
		if first {
			flags |= 2
		}
		at := pos()
		buf = le.AppendUint16(buf, 0xD110)
		buf = le.AppendUint16(buf, flags)
		buf = le.AppendUint32(buf, uint32(start.Timeline))
		buf = le.AppendUint64(buf, uint64(at))
		buf = le.AppendUint64(buf, uint64(left))
		if first {
			buf = le.AppendUint64(buf, MadeSystem)
			buf = le.AppendUint32(buf, uint32(size))
			buf = le.AppendUint32(buf, page)
		}
	}
	table := crc32.MakeTable(crc32.Castagnoli)
	record := make([]byte, length)
	for len(buf) < n {
		header(0)
		for i := range record {
			record[i] = byte(i) ^ salt(pos())
		}
		le.PutUint32(record, uint32(length))
		le.PutUint64(record[8:], uint64(prev))
		record[16], record[17] = 0x10, 10
		le.PutUint32(record[20:], crc32.Update(crc32.Checksum(record[24:], table), table, record[:20]))
		prev = pos()
		for left := record; len(left) > 0; {
			header(len(left))
			k := min(len(left), page-len(buf)%page)
			buf = append(buf, left[:k]...)
			left = left[k:]
		}
		buf = append(buf, make([]byte, -len(buf)&7)...)
	}
	return buf[:n]
}

// Salt gives always the same.
func Salt(b byte) func(LSN) byte { return func(LSN) byte { return b } }

// MadeSystem is the system identifier in what MakeWAL makes.
const MadeSystem = 7000000000000000001
