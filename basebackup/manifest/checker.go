package manifest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"sync"

	"github.com/pgbraid/pgbraid/logstream"
)

// ErrDuplicate says that a file was received twice.
var ErrDuplicate = errors.New("received twice")

// Checker compares the files that were received with the manifest that comes
// after them. It keeps neither names nor checksums but 16 bytes of hashes a
// file, 20 to 39 with the map around them. The hashes are seeded anew for each
// Checker, so nobody can make files for which they are equal; that a damaged
// file passes by chance has a probability of 2^-47.
//
// Its methods may be called from several goroutines, but Check only once,
// after the last Add.
type Checker struct {
	// Rescan may be set to name the files that were received and are not in
	// the manifest, by calling yield for the path of each file that was
	// received, until yield returns false. Check calls it only when there are
	// such files, and it must not call the Checker. Without it they are
	// counted, not named.
	Rescan func(yield func(path string) bool)

	algorithm Algorithm
	pathSeed  maphash.Seed
	sizeSeed  maphash.Seed
	tagSeed   maphash.Seed

	mu      sync.Mutex
	files   map[uint64]uint64 // hash of the path: tag
	scratch []byte
}

// A tag is, from the lowest bit on: whether the manifest has named the file,
// 16 bits of a hash of its size, and 47 bits of a hash of path, size and
// checksum. The middle part only tells what kind of difference there is.
const (
	tagMatched   = 1
	tagSizeMask  = 0xffff << 1
	tagCheckMask = ^uint64(tagMatched | tagSizeMask)
)

// NewChecker begins the check of a backup whose checksums are computed with
// a. With None only names and sizes are compared.
func NewChecker(a Algorithm) *Checker {
	return &Checker{
		algorithm: a,
		pathSeed:  maphash.MakeSeed(),
		sizeSeed:  maphash.MakeSeed(),
		tagSeed:   maphash.MakeSeed(),
		files:     make(map[uint64]uint64),
	}
}

// Algorithm is the one that the sums given to Add are computed with.
func (c *Checker) Algorithm() Algorithm { return c.algorithm }

// Add tells of a received file: its path as manifests have it, the size in
// bytes and the checksum, which is not kept and is nil for None. Regular
// files only are added, and neither the manifest itself nor WAL segments:
// servers list none of these. A path that was added before gives an error
// that is ErrDuplicate.
func (c *Checker) Add(path string, size int64, sum []byte) error {
	if len(sum) != c.algorithm.Size() {
		return fmt.Errorf("check %q: checksum of %d bytes, want %d for %s", path, len(sum), c.algorithm.Size(), c.algorithm)
	}
	key := maphash.String(c.pathSeed, path)
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, found := c.files[key]; found {
		return fmt.Errorf("check %q: %w", path, ErrDuplicate)
	}
	c.scratch = append(c.scratch[:0], path...)
	c.files[key] = c.tag(len(path), size, sum)
	return nil
}

// tag hashes the path, which is what scratch begins with, and the rest.
func (c *Checker) tag(pathLength int, size int64, sum []byte) uint64 {
	// The length of sum is given by the algorithm, so no two files run
	// together to the same bytes.
	b := binary.LittleEndian.AppendUint64(c.scratch[:pathLength], uint64(size))
	sizeHash := maphash.Bytes(c.sizeSeed, b[pathLength:])
	b = append(b, sum...)
	c.scratch = b
	return maphash.Bytes(c.tagSeed, b)&tagCheckMask | sizeHash&tagSizeMask
}

// Expect is what the server said of the backup before and after its data. A
// zero field is not known and not checked.
type Expect struct {
	// SystemIdentifier is compared with manifests of version 2.
	SystemIdentifier uint64
	// Timeline and Start are the start position of the backup: the oldest
	// WAL range must begin there.
	Timeline logstream.TimelineID
	Start    logstream.LSN
	// EndTimeline and End are the end position: the newest WAL range must
	// end there.
	EndTimeline logstream.TimelineID
	End         logstream.LSN
}

// Check reads the manifest from r and compares it with the files added and
// with want. Differences are a *MismatchError; a manifest that cannot be
// believed gives the errors of [Read]. The Summary is nil only with the
// latter.
func (c *Checker) Check(r io.Reader, want Expect) (*Summary, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := new(MismatchError)
	matched := 0
	summary, err := readEntries(r, func(e *entry) error {
		key := maphash.Bytes(c.pathSeed, e.path)
		tag, received := c.files[key]
		switch {
		case !received:
			found.add(Problem{Path: string(e.path), Kind: MissingFile})
			return nil
		case tag&tagMatched != 0:
			found.add(Problem{Path: string(e.path), Kind: DuplicateFile})
			return nil
		}
		matched++
		c.files[key] = tag | tagMatched
		if p, ok := c.compare(e, tag); !ok {
			found.add(p)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	c.findExtra(found, len(c.files)-matched)
	if want.SystemIdentifier != 0 && summary.Version > 1 && summary.SystemIdentifier != want.SystemIdentifier {
		found.add(Problem{Kind: SystemIdentifierMismatch, Detail: fmt.Sprintf("manifest has %d, server is %d", summary.SystemIdentifier, want.SystemIdentifier)})
	}
	checkRanges(found, summary.Ranges, want)
	if found.Total > 0 {
		return summary, found
	}
	return summary, nil
}

// compare tells whether a file of the manifest is the one that was received,
// and otherwise what differs.
func (c *Checker) compare(e *entry, tag uint64) (Problem, bool) {
	c.scratch = append(c.scratch[:0], e.path...)
	listed := c.tag(len(e.path), e.size, e.checksum)
	if listed == tag && e.algorithm == c.algorithm {
		return Problem{}, true
	}
	p := Problem{Path: string(e.path)}
	switch {
	case listed&tagSizeMask != tag&tagSizeMask:
		p.Kind, p.Detail = SizeMismatch, fmt.Sprintf("manifest has %d bytes", e.size)
	case e.algorithm != c.algorithm:
		p.Kind, p.Detail = AlgorithmMismatch, fmt.Sprintf("manifest has %s, computed %s", e.algorithm, c.algorithm)
	case c.algorithm == None: // sizes that differ and whose short hashes do not
		p.Kind, p.Detail = SizeMismatch, fmt.Sprintf("manifest has %d bytes", e.size)
	case e.checksum == nil:
		p.Kind, p.Detail = ChecksumMismatch, "manifest has none"
	default:
		p.Kind, p.Detail = ChecksumMismatch, fmt.Sprintf("manifest has %s %x", e.algorithm, e.checksum)
	}
	return p, false
}

// findExtra reports count files that the manifest did not name, by their
// names where Rescan tells them.
func (c *Checker) findExtra(found *MismatchError, count int) {
	if count > 0 && c.Rescan != nil {
		c.Rescan(func(path string) bool {
			key := maphash.String(c.pathSeed, path)
			if tag, received := c.files[key]; received && tag&tagMatched == 0 {
				c.files[key] = tag | tagMatched
				found.add(Problem{Path: path, Kind: ExtraFile})
				count--
			}
			return count > 0
		})
	}
	if count > 0 {
		found.add(Problem{Kind: ExtraFile, Detail: fmt.Sprintf("%d files without a name", count)})
		found.Total += count - 1
	}
}

// checkRanges holds the WAL ranges against the backup's positions. They go
// from the newest timeline to the oldest, and each begins where the log of
// the one before it in time ends.
func checkRanges(found *MismatchError, ranges []WALRange, want Expect) {
	wrong := func(format string, args ...any) {
		found.add(Problem{Kind: WALRangeMismatch, Detail: fmt.Sprintf(format, args...)})
	}
	if len(ranges) == 0 {
		wrong("manifest has none")
		return
	}
	for i, r := range ranges {
		if r.End < r.Start {
			wrong("timeline %d: end %s is before start %s", r.Timeline, r.End, r.Start)
		}
		if i == 0 {
			continue
		}
		if newer := ranges[i-1]; newer.Timeline <= r.Timeline || newer.Start != r.End {
			wrong("timeline %d from %s does not follow timeline %d up to %s", newer.Timeline, newer.Start, r.Timeline, r.End)
		}
	}
	newest, oldest := ranges[0], ranges[len(ranges)-1]
	if want.Timeline != 0 && oldest.Timeline != want.Timeline {
		wrong("manifest starts on timeline %d, backup on %d", oldest.Timeline, want.Timeline)
	}
	if want.Start != 0 && oldest.Start != want.Start {
		wrong("manifest starts at %s, backup at %s", oldest.Start, want.Start)
	}
	if want.EndTimeline != 0 && newest.Timeline != want.EndTimeline {
		wrong("manifest ends on timeline %d, backup on %d", newest.Timeline, want.EndTimeline)
	}
	if want.End != 0 && newest.End != want.End {
		wrong("manifest ends at %s, backup at %s", newest.End, want.End)
	}
}
