package combine

import (
	"fmt"
	"hash"

	"github.com/pgbraid/pgbraid/internal/pgpage"
)

// sums are what is computed of a file of the result while it is made: its
// checksum for the manifest, and all that its source is held against if it is
// a copy of one.
type sums struct {
	// known is the checksum for the manifest if it need not be computed,
	// else made computes it. Both are nil if there is to be none.
	known []byte
	made  hash.Hash
	// source is nil if the file is put together from several.
	source *source
	pages  *pgpage.Checker // nil: its pages are not checked
}

// wanted tells whether the bytes are needed.
func (s *sums) wanted() bool {
	return s.made != nil || s.pages != nil || s.source != nil && s.source.sum != nil
}

func (s *sums) write(p []byte) {
	if s.made != nil {
		s.made.Write(p) // never fails
	}
	if s.pages != nil {
		s.pages.Write(p)
	}
	if s.source != nil {
		s.source.checked(p)
	}
}

// check compares a copy with what is known of its source, when all of it was
// written to the sums. What the manifest says comes first: a page that is bad
// there too was so on the server.
func (s *sums) check() error {
	if s.source.sum != nil && (s.source.at != s.source.size || string(s.source.sum.Sum(nil)) != s.source.want) {
		return &DamageError{Path: s.source.path, Kind: ChecksumDiffers}
	}
	if s.pages != nil {
		if tally := s.pages.End(); tally.Bad > 0 {
			return &DamageError{Path: s.source.path, Kind: BadPage, Block: tally.Blocks[0]}
		}
	}
	return nil
}

func (s *sums) result() []byte {
	if s.made != nil {
		return s.made.Sum(nil)
	}
	return s.known
}

// sums decides what is to be computed of a file that is complete in an input.
func (w *worker) sums(f *file, src *source) *sums {
	s := &sums{source: src}
	in := w.chain.inputs[src.input]
	l, ok := in.manifest.find(f.name)
	if !ok && in.manifest != nil && f.incremental {
		w.log.Warn(fmt.Sprintf("manifest file \"%s\" contains no entry for file \"%s\"", in.path(manifestFile), f.name))
	}
	switch {
	case !f.listed:
	case ok && l.sum != "" && l.algorithm == w.options.checksums && !changesLater(f.name):
		s.known = []byte(l.sum)
	default:
		s.made = w.options.checksums.New()
	}
	if relation, ok := w.pagesOf(src); ok {
		w.pages.Begin(w.pageGeometry(), in.window(), relation)
		s.pages = &w.pages
	}
	return s
}
