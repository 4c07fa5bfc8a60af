package manifest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math"
)

// Read reads a manifest to the end of r and calls visit for each file, in the
// manifest's order. It holds one file at a time: visit must not keep
// File.Checksum, which is overwritten after the call. Since the manifest's
// own checksum stands at its end, nothing that visit was told is certain
// before Read returns without an error. visit may be nil.
//
// The errors are a *SyntaxError for what is no manifest of version 1 or 2,
// ErrChecksum when its own checksum is wrong, and those of r and visit as
// they come. Faults are found in the order in which PostgreSQL's own reader
// finds them, and have its words (src/common/parse_manifest.c). It takes more
// than is taken here: repeated keys, sizes and timelines that nothing can have,
// manifests without files or WAL ranges. These are refused last of all, so
// that what both refuse has the same cause. Keys may stand in any order save
// for the version, which is first, and the checksum, which is last. That a path
// is listed twice is not noticed here: [Checker] does.
func Read(r io.Reader, visit func(File) error) (*Summary, error) {
	if visit == nil {
		return readEntries(r, func(*entry) error { return nil })
	}
	return readEntries(r, func(e *entry) error {
		return visit(File{
			Path:      string(e.path),
			Size:      e.size,
			ModTime:   parseTime(e.modified),
			Algorithm: e.algorithm,
			Checksum:  e.checksum,
		})
	})
}

// keySet remembers which keys of one object were seen.
type keySet uint8

func (k *keySet) add(bit keySet) (repeated bool) {
	repeated = *k&bit != 0
	*k |= bit
	return repeated
}

func (k keySet) has(bit keySet) bool { return k&bit != 0 }

const (
	sawVersion keySet = 1 << iota
	sawSystemIdentifier
	sawFiles
	sawWALRanges
	sawManifestChecksum
)

// reader is the grammar of manifests on top of a scanner.
type reader struct {
	*scanner
	visit   func(*entry) error
	summary Summary
	seen    keySet
	key     []byte
	refusal error  // the first one that PostgreSQL's reader does not know
	sum     []byte // the manifest's checksum as it stands there

	file      entry
	fileSeen  keySet
	fileFault fileFault
	fileSum   [maxChecksumSize]byte
	// Bound methods, made once.
	fileField func(key []byte) error
	fileEnd   func() error

	wal       WALRange
	rangeSeen keySet
	rangeBad  keySet // keys whose values cannot be read
}

func readEntries(src io.Reader, visit func(*entry) error) (*Summary, error) {
	s, err := newScanner(src)
	if err != nil {
		return nil, err
	}
	r := &reader{scanner: s, visit: visit}
	r.fileField, r.fileEnd = r.readFileField, r.endFile
	if err := r.read(); err != nil {
		if err == s.readErr || err == io.ErrNoProgress {
			return nil, fmt.Errorf("read backup manifest: %w", err)
		}
		return nil, err
	}
	return r.finish()
}

// refuse notes what is refused here and not by PostgreSQL's reader.
func (r *reader) refuse(cause string) {
	if r.refusal == nil {
		r.refusal = r.fail("%s", cause)
	}
}

func (r *reader) read() error {
	if err := r.next(); err != nil {
		return err
	}
	switch r.kind {
	case '{':
	case '[':
		return r.fail("unexpected array start")
	case isString, isWord:
		if err := r.next(); err != nil {
			return err
		}
		return r.fail("unexpected scalar")
	default:
		return r.expected("JSON value")
	}
	if err := r.object(r.readField, r.end); err != nil {
		return err
	}
	if r.kind != atEnd {
		return r.expected("end of input")
	}
	return nil
}

func (r *reader) end() error {
	if !r.seen.has(sawManifestChecksum) {
		return r.fail("unexpected object end")
	}
	return nil
}

// finish verifies the manifest's checksum of itself.
func (r *reader) finish() (*Summary, error) {
	tail := r.scanner.sum
	if tail.previous == nil {
		return nil, r.fail("expected at least 2 lines")
	}
	if !tail.terminated {
		return nil, r.fail("last line not newline-terminated")
	}
	var want, sum [sha256.Size]byte
	text := r.sum
	if len(text) != hex.EncodedLen(sha256.Size) {
		return nil, r.failValue("invalid manifest checksum: \"%s\"", text)
	}
	if _, err := hex.Decode(want[:], text); err != nil {
		return nil, r.failValue("invalid manifest checksum: \"%s\"", text)
	}
	if !bytes.Equal(tail.previous.Sum(sum[:0]), want[:]) {
		return nil, ErrChecksum
	}
	switch {
	case !r.seen.has(sawSystemIdentifier) && r.summary.Version > 1:
		r.refuse("missing system identifier")
	case !r.seen.has(sawFiles):
		r.refuse("missing files")
	case !r.seen.has(sawWALRanges):
		r.refuse("missing WAL ranges")
	}
	if r.refusal != nil {
		return nil, r.refusal
	}
	return &r.summary, nil
}

func (r *reader) readField(key []byte) error {
	if r.seen.has(sawManifestChecksum) {
		return r.fail("unexpected object field")
	}
	if !r.seen.has(sawVersion) {
		if string(key) != keyVersion {
			return r.fail("expected version indicator")
		}
		return r.readVersion()
	}
	var bit keySet
	var read func() error
	switch string(key) {
	case keySystemIdentifier:
		if r.summary.Version == 1 {
			r.refuse("system identifier in a manifest of version 1")
		}
		bit, read = sawSystemIdentifier, r.readSystemIdentifier
	case keyFiles:
		bit, read = sawFiles, func() error { return r.array(r.readFile) }
	case keyWALRanges:
		bit, read = sawWALRanges, func() error { return r.array(r.readRange) }
	case keyManifestChecksum:
		bit, read = sawManifestChecksum, r.readManifestChecksum
	default:
		return r.fail("unrecognized top-level field")
	}
	if r.seen.add(bit) {
		r.refuse("repeated top-level field")
	}
	return read()
}

func (r *reader) readVersion() error {
	r.seen.add(sawVersion)
	var n integer
	if err := r.scalar(func(text []byte) { n = parseInteger(text, math.MaxInt32) }); err != nil {
		return err
	}
	switch {
	case !n.whole:
		return r.fail("manifest version not an integer")
	case n.odd || n.value != 1 && n.value != 2:
		return r.fail("unexpected manifest version")
	}
	r.summary.Version = int(n.value)
	return nil
}

func (r *reader) readSystemIdentifier() error {
	var n integer
	if err := r.scalar(func(text []byte) { n = parseInteger(text, math.MaxUint64) }); err != nil {
		return err
	}
	switch {
	case !n.whole:
		return r.fail("system identifier in manifest not an integer")
	case n.odd:
		r.refuse("system identifier is no whole number in range")
	}
	r.summary.SystemIdentifier = n.value
	return nil
}

func (r *reader) readManifestChecksum() error {
	return r.str(func(text []byte) { r.sum = append(r.sum[:0], text...) })
}
