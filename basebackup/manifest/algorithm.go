package manifest

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc32"
	"strings"
)

// Algorithm is a checksum that a server can put beside each file of a backup
// manifest (PostgreSQL manual, BASE_BACKUP, MANIFEST_CHECKSUMS).
type Algorithm uint8

// The algorithms that servers know. A server that is asked for none in
// particular takes CRC32C.
const (
	None Algorithm = iota
	CRC32C
	SHA224
	SHA256
	SHA384
	SHA512
)

// maxChecksumSize is the length in bytes of the longest checksum, SHA-512.
const maxChecksumSize = sha512.Size

// algorithmTable holds each algorithm's name and the length of its checksum
// in bytes.
var algorithmTable = [...]struct {
	name string
	size int
}{
	None:   {"NONE", 0},
	CRC32C: {"CRC32C", crc32.Size},
	SHA224: {"SHA224", sha256.Size224},
	SHA256: {"SHA256", sha256.Size},
	SHA384: {"SHA384", sha512.Size384},
	SHA512: {"SHA512", sha512.Size},
}

// ParseAlgorithm reads an algorithm's name in upper or lower case, as
// --manifest-checksums takes it and as manifests hold it.
func ParseAlgorithm(s string) (Algorithm, error) {
	for a := range algorithmTable {
		if strings.EqualFold(s, algorithmTable[a].name) {
			return Algorithm(a), nil
		}
	}
	return None, fmt.Errorf("unrecognized checksum algorithm: %q", s)
}

// String gives the name that servers write, such as CRC32C.
func (a Algorithm) String() string {
	if int(a) >= len(algorithmTable) {
		return fmt.Sprintf("Algorithm(%d)", uint8(a))
	}
	return algorithmTable[a].name
}

// Size is the length of the checksum in bytes; 0 for None.
func (a Algorithm) Size() int {
	if int(a) >= len(algorithmTable) {
		return 0
	}
	return algorithmTable[a].size
}

// New begins a checksum; it is nil for None. What Sum appends is what a
// manifest holds in hexadecimal digits.
func (a Algorithm) New() hash.Hash {
	switch a {
	case CRC32C:
		return new(crc32c)
	case SHA224:
		return sha256.New224()
	case SHA256:
		return sha256.New()
	case SHA384:
		return sha512.New384()
	case SHA512:
		return sha512.New()
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crc32c sums as crc32.New does, save for the order of the result's bytes:
// a server prints its four bytes as they lie in memory, least significant
// first.
type crc32c uint32

func (c *crc32c) Write(p []byte) (int, error) {
	*c = crc32c(crc32.Update(uint32(*c), castagnoli, p))
	return len(p), nil
}

func (c *crc32c) Sum(b []byte) []byte { return binary.LittleEndian.AppendUint32(b, uint32(*c)) }
func (c *crc32c) Reset()              { *c = 0 }
func (c *crc32c) Size() int           { return crc32.Size }
func (c *crc32c) BlockSize() int      { return 1 }
