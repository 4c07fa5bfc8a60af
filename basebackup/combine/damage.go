package combine

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strings"

	"github.com/pgbraid/pgbraid/internal/pgpage"
)

// Damage says how a file of an input is not what it was when the backup was
// taken.
type Damage int

// The kinds of damage.
const (
	// SizeDiffers says that it has another size than in the manifest.
	SizeDiffers Damage = iota
	// ChecksumDiffers says that it has another checksum.
	ChecksumDiffers
	// NotListed says that the manifest does not have it.
	NotListed
	// Missing says that the manifest has it, and the backup does not.
	Missing
	// BadPage says that a page of it is none that a server would take.
	BadPage
)

// DamageError says that a file of an input is not as it was when the backup
// was taken.
type DamageError struct {
	// Path is the file's.
	Path string
	Kind Damage
	// Size and Want are what it has and should have, in bytes, if the sizes
	// differ.
	Size, Want int64
	// Block is the number of the page, in its relation, that is bad.
	Block uint32
}

func (e *DamageError) Error() string {
	text := ""
	switch e.Kind {
	case SizeDiffers:
		text = fmt.Sprintf("has %d bytes, but %d in the manifest", e.Size, e.Want)
	case ChecksumDiffers:
		text = "has another checksum in the manifest"
	case NotListed:
		text = "is not in the manifest"
	case Missing:
		text = "is present in the manifest but not on disk"
	case BadPage:
		text = fmt.Sprintf("has an invalid page, block %d of its relation", e.Block)
	}
	return fmt.Sprintf("file \"%s\" %s", e.Path, text)
}

// Hint is advice for the person who sees the error.
func (e *DamageError) Hint() string {
	if e.Kind == BadPage {
		return "The page was damaged since the backup was taken, or already was on the server. Combine the backups all the same with --no-verify-checksums."
	}
	return "The backup was changed or damaged since it was taken. Combine it all the same with --no-verify-checksums."
}

// verifies tells whether inputs are held against their manifests; strict,
// whether also by what pg_combinebackup does not ask for.
func (r *run) verifies() bool { return !r.options.NoVerify }
func (r *run) strict() bool   { return r.verifies() && !r.options.AsPgCombinebackup }

// changesLater tells of the files that may be written to after a backup was
// taken, by pg_basebackup -R for one.
func changesLater(name string) bool {
	return name == "postgresql.auto.conf" || name == "standby.signal" || name == "recovery.signal"
}

// inWAL tells of what servers do not list, save for what shows whether a
// segment was archived.
func inWAL(name string) bool { return strings.HasPrefix(name, "pg_wal/") }

// admit compares a source with what its manifest says, before the first byte
// of it is read, and has it checked while it is read.
func (r *run) admit(s *source) error {
	if !r.verifies() {
		return nil
	}
	in := r.chain.inputs[s.input]
	l, ok := in.manifest.find(s.name)
	switch {
	case changesLater(s.name), !ok && inWAL(s.name):
	case ok && l.size != s.size:
		return &DamageError{Path: s.path, Kind: SizeDiffers, Size: s.size, Want: l.size}
	case ok && l.sum != "":
		s.sum, s.want = l.algorithm.New(), l.sum
	case !ok && in.manifest != nil && r.strict():
		return &DamageError{Path: s.path, Kind: NotListed}
	default:
		in.unchecked.Add(1)
		if _, ok := r.pagesOf(s); ok {
			in.onlyPages.Add(1)
		}
	}
	return nil
}

// pagesOf tells whether the pages of a source have checksums that are to be
// looked at.
func (r *run) pagesOf(s *source) (pgpage.Relation, bool) {
	if !r.verifies() || s.sum != nil && !r.strict() || r.chain.inputs[s.input].control.ChecksumVersion != pgpage.ChecksumsOn {
		return pgpage.Relation{}, false
	}
	return pgpage.ParsePath(s.name)
}

// window is the WAL in which pages were changed while the backup was taken.
func (i *input) window() pgpage.Window {
	w := pgpage.Window{Start: uint64(i.label.Start.LSN), End: math.MaxUint64}
	if i.manifest != nil && len(i.manifest.summary.Ranges) > 0 {
		w.End = uint64(i.manifest.summary.Ranges[0].End) // the newest is the first
	}
	return w
}

// checkOwn compares what was read of an input in order to know it.
func (r *run) checkOwn() error {
	for n, in := range r.chain.inputs {
		for name, text := range in.own {
			s := &source{input: n, name: name, path: in.path(name), size: int64(len(text))}
			if err := r.admit(s); err != nil {
				return err
			}
			if s.sum == nil {
				continue
			}
			if s.sum.Write(text); string(s.sum.Sum(nil)) != s.want {
				return &DamageError{Path: s.path, Kind: ChecksumDiffers}
			}
		}
	}
	return nil
}

// checkListed makes sure that the last input has all that its manifest lists.
func (r *run) checkListed(t *tree) error {
	last := r.chain.last()
	if !r.strict() || last.manifest == nil || t.found == len(last.manifest.files) {
		return nil
	}
	for name := range last.manifest.files {
		if _, err := os.Lstat(last.path(name)); errors.Is(err, fs.ErrNotExist) {
			return &DamageError{Path: last.path(name), Kind: Missing}
		}
	}
	return nil
}

// tellUnchecked warns of what could not be held against anything.
func (r *run) tellUnchecked() {
	for _, in := range r.chain.inputs {
		if n := in.unchecked.Load(); n > 0 {
			r.log.Warn("the manifest of a backup has no checksums: it could not be checked whether these files are as they were", "backup", in.dir,
				"files", n, "of which the pages were checked", in.onlyPages.Load())
		}
	}
}
