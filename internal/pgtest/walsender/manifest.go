package walsender

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"strings"
	"unicode/utf8"
)

// WALRange is what a manifest says about the WAL that a backup needs.
type WALRange struct {
	Timeline   uint32
	Start, End LSN
}

// fileChecksum gives the text of a file's checksum in a manifest. CRC32C
// stands there in the order that the bytes have in memory.
func fileChecksum(algorithm string, content []byte) (string, error) {
	var sum []byte
	switch algorithm {
	case "CRC32C":
		sum = binary.LittleEndian.AppendUint32(nil, crc32.Checksum(content, crc32.MakeTable(crc32.Castagnoli)))
	case "SHA224":
		s := sha256.Sum224(content)
		sum = s[:]
	case "SHA256":
		s := sha256.Sum256(content)
		sum = s[:]
	case "SHA384":
		s := sha512.Sum384(content)
		sum = s[:]
	case "SHA512":
		s := sha512.Sum512(content)
		sum = s[:]
	default:
		return "", fmt.Errorf("unknown checksum algorithm %q", algorithm)
	}
	return hex.EncodeToString(sum), nil
}

type manifestFile struct {
	path    string
	content []byte
}

// buildManifest writes a manifest (PostgreSQL manual, "Backup Manifest Format"). algorithm
// NONE leaves the files' checksums out.
func buildManifest(version int, systemID, algorithm string, files []manifestFile, ranges []WALRange, lsn func(LSN) string) ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "{ \"PostgreSQL-Backup-Manifest-Version\": %d,\n", version)
	if version >= 2 {
		fmt.Fprintf(&b, "\"System-Identifier\": %s,\n", systemID)
	}
	b.WriteString(`"Files": [`)
	for i, f := range files {
		if i > 0 {
			b.WriteByte(',')
		}
		key, path := "Path", jsonText(f.path)
		if !utf8.ValidString(f.path) {
			key, path = "Encoded-Path", `"`+hex.EncodeToString([]byte(f.path))+`"`
		}
		fmt.Fprintf(&b, "\n{ %q: %s, \"Size\": %d, \"Last-Modified\": \"2026-01-01 00:00:00 GMT\"", key, path, len(f.content))
		if algorithm != "NONE" {
			sum, err := fileChecksum(algorithm, f.content)
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(&b, ", \"Checksum-Algorithm\": %q, \"Checksum\": %q", algorithm, sum)
		}
		b.WriteString(" }")
	}
	b.WriteString("\n],\n\"WAL-Ranges\": [")
	for i, r := range ranges {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "\n{ \"Timeline\": %d, \"Start-LSN\": %q, \"End-LSN\": %q }", r.Timeline, lsn(r.Start), lsn(r.End))
	}
	b.WriteString("\n],\n")
	return SealManifest(b.Bytes()), nil
}

// SealManifest puts the line with the manifest's own checksum behind text,
// which must end in a newline. A test uses it to make a manifest of its own.
func SealManifest(text []byte) []byte {
	sum := sha256.Sum256(text)
	return fmt.Appendf(bytes.Clone(text), "\"Manifest-Checksum\": \"%x\"}\n", sum)
}

func jsonText(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string can always be encoded
	return strings.TrimSuffix(b.String(), "\n")
}
