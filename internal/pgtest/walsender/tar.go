package walsender

import (
	"fmt"
	"strings"
)

// Types of tar members that a server sends.
const (
	TypeFile    = '0'
	TypeSymlink = '2'
	TypeDir     = '5'
)

// Member is a member of an archive. Nothing in it is checked, so that it can be
// what no server would send.
type Member struct {
	Name     string
	Type     byte  // 0 means a directory if Name ends in a slash, a symlink if there is a Linkname, else a file
	Mode     int64 // 0600, or 0700 if it is no file, if 0
	Linkname string
	Content  []byte

	// Unlisted keeps a file out of the manifest.
	Unlisted bool
	// EditHeader, if set, changes the 512 bytes of the header before the
	// checksum is put in.
	EditHeader func(header []byte)
	// BadChecksum spoils the header's checksum.
	BadChecksum bool
}

const (
	tarBlock = 512
	// tarChunk is how much of a file a server reads and sends at once.
	tarChunk = 32 << 10
	// memberTime is the modification time of all members, 2026-01-01.
	memberTime = 1767225600
)

func (m *Member) kind() byte {
	switch {
	case m.Type != 0:
		return m.Type
	case strings.HasSuffix(m.Name, "/"):
		return TypeDir
	case m.Linkname != "":
		return TypeSymlink
	}
	return TypeFile
}

// header is the member's ustar header as a server writes it
// (src/port/tar.c). A name that is too long is cut.
func (m *Member) header() []byte {
	h := make([]byte, tarBlock)
	kind, name, mode, size := m.kind(), m.Name, m.Mode, int64(len(m.Content))
	if kind != TypeFile {
		if kind == TypeDir || kind == TypeSymlink {
			name = strings.TrimSuffix(name, "/") + "/"
		}
		setDefault(&mode, 0o700)
	}
	setDefault(&mode, 0o600)
	copy(h[:100], name)
	TarNumber(h[100:108], mode)
	TarNumber(h[108:116], 26)
	TarNumber(h[116:124], 26)
	TarNumber(h[124:136], size)
	TarNumber(h[136:148], memberTime)
	h[156] = kind
	copy(h[157:257], m.Linkname)
	copy(h[257:], "ustar\x0000")
	copy(h[265:297], "postgres")
	copy(h[297:329], "postgres")
	TarNumber(h[329:337], 0)
	TarNumber(h[337:345], 0)
	if m.EditHeader != nil {
		m.EditHeader(h)
	}
	copy(h[148:156], "        ")
	sum := int64(0)
	for _, b := range h {
		sum += int64(b)
	}
	if m.BadChecksum {
		sum++
	}
	TarNumber(h[148:156], sum)
	return h
}

// TarNumber writes a number into a header field, for EditHeader: octal digits
// and a blank, or base 256 where these do not fit.
func TarNumber(field []byte, n int64) {
	digits := len(field) - 1
	if n < 0 || digits*3 < 63 && n>>(digits*3) != 0 {
		for i := len(field) - 1; i > 0; i-- {
			field[i] = byte(n)
			n >>= 8
		}
		field[0] = 0x80
		return
	}
	copy(field, fmt.Sprintf("%0*o ", digits, n))
}

// tarPieces renders members the way a server sends them: header, content in
// chunks and padding are messages of their own. Only releases from 15 on send
// the two zero blocks at the end.
func tarPieces(members []Member, trailer bool) [][]byte {
	var pieces [][]byte
	for i := range members {
		m := &members[i]
		pieces = append(pieces, m.header())
		for rest := m.Content; len(rest) > 0; {
			n := min(len(rest), tarChunk)
			pieces = append(pieces, rest[:n:n])
			rest = rest[n:]
		}
		if odd := len(m.Content) % tarBlock; odd != 0 {
			pieces = append(pieces, make([]byte, tarBlock-odd))
		}
	}
	if trailer {
		pieces = append(pieces, make([]byte, 2*tarBlock))
	}
	return pieces
}
