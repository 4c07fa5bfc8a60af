package dropin

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/pgbraid/pgbraid/basebackup/verify"
	"github.com/pgbraid/pgbraid/internal/compress"
	"github.com/pgbraid/pgbraid/internal/controlfile"
	"github.com/pgbraid/pgbraid/tarx"
)

const (
	controlPath = "global/pg_control"

	// controlSize is how much of pg_control release 18 reads, in bytes
	// (sizeof(ControlFileData), src/include/catalog/pg_control.h).
	controlSize = 296
)

// control shows what is wrong with pg_control, which the tool compares with the
// manifest where that knows the system identifier (from release 17 on). It
// looks no further then. What the manifest says of the file's size, and in an
// archive of its checksum, is told before.
func (v *verification) control(p *program, r *verify.Report, b verify.Problem) (fatal, known bool) {
	name := filepath.Join(r.Directory, b.Path)
	if b.Archive != "" {
		name = b.Archive + ": " + b.Path
	}
	if r.ManifestVersion == 1 {
		if b.Kind != verify.Unreadable || r.ChecksumsSkipped {
			return false, false
		}
		p.Error("%s", unreadable(b))
		return false, true
	}
	size := int64(-1)
	for _, other := range r.Problems {
		if other.Path != b.Path {
			continue
		}
		switch {
		case other.Kind == verify.SizeMismatch && b.Archive != "":
			return false, false // it is not looked into
		case other.Kind == verify.SizeMismatch && other.Size >= controlSize && errors.Is(b.Err, controlfile.ErrTooShort):
			return false, false // enough of it is there
		case other.Kind == verify.SizeMismatch:
			size = other.Size
			v.line(p, r, other)
		case other.Kind == verify.ChecksumMismatch && b.Archive != "":
			v.line(p, r, other)
		}
		if size >= 0 && v.library.StopAtFirst {
			return true, true
		}
	}
	switch {
	case b.Kind == verify.Unreadable:
		p.Error("could not open file %q for reading: %s", quoted(name), reason(b.Err))
	case size >= 0 && size < controlSize && errors.Is(b.Err, controlfile.ErrTooShort):
		p.Error("could not read file %q: read %d of %d", quoted(name), size, controlSize)
	case b.Kind == verify.DamagedControlFile:
		p.Error("%s: CRC is incorrect", name)
	default:
		p.Error("%s: manifest system identifier is %d, but control file has %d", name, uint64(b.Want), uint64(b.Size))
	}
	return true, true
}

// archiveText is the tool's line on an archive that cannot be read to its end,
// and whether it looks no further.
func archiveText(b verify.Problem) (text string, fatal bool) {
	var (
		format  *tarx.FormatError
		refused *fs.PathError
	)
	switch err := b.Err; {
	case errors.As(err, &refused):
		return fmt.Sprintf("could not read file \"%s\": %s", b.Path, reason(err)), false
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "COPY stream ended before last file was finished", true
	case errors.Is(err, errors.ErrUnsupported):
		return "pax extensions to tar format are not supported", true
	case errors.As(err, &format):
		return "input file does not appear to be a valid tar archive", true
	case errors.Is(err, tarx.ErrUnsafeName):
		return "tar member has unsafe path name", true
	default:
		return "could not decompress data: " + compress.Reason(err), true
	}
}
