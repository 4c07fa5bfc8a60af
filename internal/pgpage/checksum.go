package pgpage

import "encoding/binary"

// The checksum is FNV-1a made wide: 32 sums at a time, each over every 32nd
// word of the page, which are then folded into one
// (src/include/storage/checksum_impl.h).
const (
	lanes    = 32
	rowBytes = 4 * lanes
	prime    = 16777619
)

// offsets are what the sums begin with.
var offsets = [lanes]uint32{
	0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C,
	0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB,
	0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4,
	0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756,
}

// Checksum is what pd_checksum of the page must be, as the block of that
// number in its relation. Its present pd_checksum does not count. The page has
// a multiple of 128 bytes, and words in the byte order of this machine, as the
// server that wrote it.
func Checksum(page []byte, block uint32) uint16 {
	// The first row, without the checksum that is in it.
	first := [rowBytes]byte(page)
	first[offChecksum], first[offChecksum+1] = 0, 0
	sum := uint32(0)
	// Eight sums fit into the registers.
	for lane := 0; lane < lanes; lane += 8 {
		sum ^= eight(page, &first, lane)
	}
	// Never 0, which is what a page without a checksum has.
	return uint16((sum^block)%65535 + 1)
}

// eight computes eight sums beginning with that one, and folds them.
func eight(page []byte, first *[rowBytes]byte, lane int) uint32 {
	o := (*[8]uint32)(offsets[lane:])
	s0, s1, s2, s3, s4, s5, s6, s7 := o[0], o[1], o[2], o[3], o[4], o[5], o[6], o[7]
	row := (*[32]byte)(first[4*lane:])
	for at := 4 * lane; ; {
		s0 = mix(s0, binary.NativeEndian.Uint32(row[0:]))
		s1 = mix(s1, binary.NativeEndian.Uint32(row[4:]))
		s2 = mix(s2, binary.NativeEndian.Uint32(row[8:]))
		s3 = mix(s3, binary.NativeEndian.Uint32(row[12:]))
		s4 = mix(s4, binary.NativeEndian.Uint32(row[16:]))
		s5 = mix(s5, binary.NativeEndian.Uint32(row[20:]))
		s6 = mix(s6, binary.NativeEndian.Uint32(row[24:]))
		s7 = mix(s7, binary.NativeEndian.Uint32(row[28:]))
		if at += rowBytes; at+32 > len(page) {
			break
		}
		row = (*[32]byte)(page[at:])
	}
	// Two rounds of zeros, so that the last words count in every bit.
	for range 2 {
		s0, s1, s2, s3 = mix(s0, 0), mix(s1, 0), mix(s2, 0), mix(s3, 0)
		s4, s5, s6, s7 = mix(s4, 0), mix(s5, 0), mix(s6, 0), mix(s7, 0)
	}
	return s0 ^ s1 ^ s2 ^ s3 ^ s4 ^ s5 ^ s6 ^ s7
}

func mix(sum, word uint32) uint32 {
	sum ^= word
	return sum*prime ^ sum>>17
}
