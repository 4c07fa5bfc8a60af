package tarx

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strings"
	"time"
)

// blockSize is the unit of a tar stream: headers are one block, content is
// padded to whole blocks.
const blockSize = 512

// block is one header as it lies in the stream:
//
//	  0 name 100      136 mtime 12      265 uname 32
//	100 mode 8        148 checksum 8    297 gname 32
//	108 uid 8         156 typeflag 1    329 devmajor 8
//	116 gid 8         157 linkname 100  337 devminor 8
//	124 size 12       257 magic 6       345 prefix 155
//	                  263 version 2     500 unused 12
//
// A number is octal digits ended by a space or NUL. One that does not fit is
// the byte 0x80 and a big-endian integer in the rest of the field (a GNU
// extension that PostgreSQL uses for files of 8 GiB and more).
type block [blockSize]byte

func (b *block) name() []byte     { return b[0:100] }
func (b *block) mode() []byte     { return b[100:108] }
func (b *block) uid() []byte      { return b[108:116] }
func (b *block) gid() []byte      { return b[116:124] }
func (b *block) size() []byte     { return b[124:136] }
func (b *block) mtime() []byte    { return b[136:148] }
func (b *block) checksum() []byte { return b[148:156] }
func (b *block) typeflag() byte   { return b[156] }
func (b *block) linkname() []byte { return b[157:257] }
func (b *block) magic() []byte    { return b[257:265] } // with the version
func (b *block) uname() []byte    { return b[265:297] }
func (b *block) gname() []byte    { return b[297:329] }
func (b *block) devmajor() []byte { return b[329:337] }
func (b *block) devminor() []byte { return b[337:345] }
func (b *block) prefix() []byte   { return b[345:500] }

const (
	magicUstar = "ustar\x0000"
	magicGNU   = "ustar  \x00"
	magicStar  = "tar\x00" // in the last four bytes of the block
)

// Type is the kind of a member.
type Type uint8

// The kinds of members that a base backup has.
const (
	TypeFile Type = iota
	TypeDirectory
	TypeSymlink
)

// String names the type as in "symbolic link".
func (t Type) String() string {
	switch t {
	case TypeFile:
		return "file"
	case TypeDirectory:
		return "directory"
	case TypeSymlink:
		return "symbolic link"
	}
	return fmt.Sprintf("Type(%d)", uint8(t))
}

// Header describes one member of a tar stream.
type Header struct {
	// Name is the name as sent, without a leading "./" and a trailing slash.
	// It is not checked otherwise: see CleanName.
	Name string
	// Linkname is a symbolic link's target as sent, and empty for the other
	// types. It is not checked.
	Linkname string
	Type     Type
	// Mode holds the Unix permission bits with set-user-ID, set-group-ID and
	// sticky: mask 07777, not Go's layout. FileMode translates.
	Mode uint32
	// Size is the length of the content in bytes, 0 for directories and links.
	Size int64
	// ModTime has a resolution of one second.
	ModTime  time.Time
	UID, GID int
}

// FileMode is Mode in Go's layout, fit for os.Chmod, without type bits.
func (h *Header) FileMode() fs.FileMode {
	mode := fs.FileMode(h.Mode & 0o777)
	if h.Mode&0o4000 != 0 {
		mode |= fs.ModeSetuid
	}
	if h.Mode&0o2000 != 0 {
		mode |= fs.ModeSetgid
	}
	if h.Mode&0o1000 != 0 {
		mode |= fs.ModeSticky
	}
	return mode
}

// decode fills h from a header block. A refusal is told by the reason, with
// errors.ErrUnsupported as cause for what is valid tar but never in a backup.
func (h *Header) decode(b *block) (reason string, cause error) {
	if !b.checksumValid() {
		return "header checksum does not match", nil
	}
	t, reason := memberType(b.typeflag())
	if reason != "" {
		return reason, errors.ErrUnsupported
	}
	if string(b.magic()) == magicGNU {
		return "header is in the GNU format, want ustar", errors.ErrUnsupported
	}
	if string(b.magic()) != magicUstar {
		return "header has no ustar magic", nil
	}
	if string(b[blockSize-len(magicStar):]) == magicStar {
		return "header is in the star format, want ustar", errors.ErrUnsupported
	}

	*h = Header{Type: t}
	sent := joinName(b.prefix(), b.name())
	h.Name = trimName(sent)
	if h.Name == "" {
		return "member has an empty name", nil
	}
	if t == TypeFile && strings.HasSuffix(sent, "/") {
		return fmt.Sprintf("name of file %q ends in a slash", sent), nil
	}
	if t == TypeSymlink {
		h.Linkname = string(cutNUL(b.linkname()))
		if h.Linkname == "" {
			return fmt.Sprintf("symbolic link %q has no target", h.Name), nil
		}
	}
	return h.decodeNumbers(b), nil
}

// decodeNumbers is the second half of decode, for the numeric fields.
func (h *Header) decodeNumbers(b *block) (reason string) {
	size, ok := parseNumber(b.size())
	if !ok || size > math.MaxInt64 {
		return fmt.Sprintf("size of member %q is not a number in range", h.Name)
	}
	if size != 0 && h.Type != TypeFile {
		return fmt.Sprintf("%s %q has a size of %d bytes, want 0", h.Type, h.Name, size)
	}
	mode, ok := parseNumber(b.mode())
	if !ok {
		return fmt.Sprintf("mode of member %q is not a number", h.Name)
	}
	uid, uidOK := parseNumber(b.uid())
	gid, gidOK := parseNumber(b.gid())
	if !uidOK || !gidOK || uid > math.MaxUint32 || gid > math.MaxUint32 {
		return fmt.Sprintf("owner of member %q is not a number in range", h.Name)
	}
	mtime, ok := parseTime(b.mtime())
	if !ok {
		return fmt.Sprintf("modification time of member %q is not a number", h.Name)
	}
	h.Size = int64(size)
	h.Mode = uint32(mode & 0o7777)
	h.UID, h.GID = int(uid), int(gid)
	h.ModTime = time.Unix(mtime, 0)
	return ""
}

// memberType translates a typeflag; reason says why one is refused.
func memberType(flag byte) (t Type, reason string) {
	switch flag {
	case '0', 0:
		return TypeFile, ""
	case '5':
		return TypeDirectory, ""
	case '2':
		return TypeSymlink, ""
	case 'x', 'g':
		return 0, "pax extensions are not supported"
	case 'L', 'K':
		return 0, "GNU long names are not supported"
	case '1':
		return 0, "hard links are not supported"
	case '3', '4':
		return 0, "device files are not supported"
	case '6':
		return 0, "fifos are not supported"
	}
	return 0, fmt.Sprintf("member type %q is not supported", flag)
}

// checksumValid compares the sum of the header's bytes, with the checksum
// field itself taken as blanks, to that field. Some old writers summed signed
// bytes, so that is accepted too.
func (b *block) checksumValid() bool {
	want, ok := parseNumber(b.checksum())
	if !ok {
		return false
	}
	unsigned, signed := b.sums()
	return want == uint64(unsigned) || signed >= 0 && want == uint64(signed)
}

// sums gives both checksums of the header.
func (b *block) sums() (unsigned, signed int64) {
	for _, c := range b {
		unsigned += int64(c)
		signed += int64(int8(c))
	}
	for _, c := range b.checksum() {
		unsigned += ' ' - int64(c)
		signed += ' ' - int64(int8(c))
	}
	return unsigned, signed
}

// parseNumber reads a numeric field: octal digits, or base-256 of a number
// from 0 to 2^64-1. An empty field is no number.
func parseNumber(field []byte) (n uint64, ok bool) {
	if field[0] == 0x80 {
		return parseBinary(field[1:], 0)
	}
	digits := bytes.TrimLeft(field, " ")
	i := 0
	for ; i < len(digits) && '0' <= digits[i] && digits[i] <= '7'; i++ {
		n = n<<3 | uint64(digits[i]-'0') // 12 digits are 36 bits: no overflow
	}
	for _, c := range digits[i:] {
		if c != ' ' && c != 0 {
			return 0, false
		}
	}
	return n, i > 0
}

// parseTime reads the modification time. Unlike other numbers it may lie below
// zero: the server casts a time before 1970 to an unsigned 64-bit integer,
// other writers extend the sign over the whole field.
func parseTime(field []byte) (seconds int64, ok bool) {
	if field[0] == 0xff {
		n, ok := parseBinary(field[1:], 0xff)
		return int64(n), ok && int64(n) < 0
	}
	n, ok := parseNumber(field)
	return int64(n), ok
}

// parseBinary reads a big-endian integer of which all bytes above the lowest
// eight must equal extension. In a shorter field those are filled with it.
func parseBinary(field []byte, extension byte) (n uint64, ok bool) {
	var last [8]byte
	if len(field) < len(last) {
		for i := range last {
			last[i] = extension
		}
	}
	high := max(len(field)-len(last), 0)
	for _, c := range field[:high] {
		if c != extension {
			return 0, false
		}
	}
	copy(last[len(last)-(len(field)-high):], field[high:])
	return binary.BigEndian.Uint64(last[:]), true
}

// cutNUL ends a text field at its first NUL. A field may also be full.
func cutNUL(field []byte) []byte {
	if i := bytes.IndexByte(field, 0); i >= 0 {
		return field[:i]
	}
	return field
}

// joinName puts the two name fields together, the prefix first (POSIX ustar).
func joinName(prefix, name []byte) string {
	prefix, name = cutNUL(prefix), cutNUL(name)
	if len(prefix) == 0 {
		return string(name)
	}
	var full [155 + 1 + 100]byte
	n := copy(full[:], prefix)
	full[n] = '/'
	n++
	n += copy(full[n:], name)
	return string(full[:n])
}
