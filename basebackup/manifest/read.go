package manifest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math"

	"github.com/pgbraid/pgbraid/logstream"
)

// Read reads a manifest to the end of r and calls visit for each file, in the
// manifest's order. It holds one file at a time: visit must not keep
// File.Checksum, which is overwritten after the call. Since the manifest's
// own checksum stands at its end, nothing that visit was told is certain
// before Read returns without an error. visit may be nil.
//
// The errors are a *SyntaxError for what is no manifest of version 1 or 2,
// ErrChecksum when its own checksum is wrong, and those of r and visit as
// they come. Keys may stand in any order save for the version, which is
// first, and the checksum, which is last; unknown keys and repeated ones are
// refused. That a path is listed twice is not noticed here: [Checker] does.
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

const (
	sawVersion keySet = 1 << iota
	sawSystemIdentifier
	sawFiles
	sawWALRanges
	sawManifestChecksum
)

const (
	sawTimeline keySet = 1 << iota
	sawStartLSN
	sawEndLSN
)

// reader is the grammar of manifests on top of a scanner.
type reader struct {
	*scanner
	visit   func(*entry) error
	summary Summary
	sum     [sha256.Size]byte
	seen    keySet

	file      entry
	fileSeen  keySet
	fileSum   [maxChecksumSize]byte
	fileField func(key []byte) error // a bound method, made once

	wal       WALRange
	rangeSeen keySet
}

func readEntries(src io.Reader, visit func(*entry) error) (*Summary, error) {
	s, err := newScanner(src)
	if err != nil {
		return nil, err
	}
	r := &reader{scanner: s, visit: visit}
	r.fileField = r.readFileField
	if err := r.object(r.readField); err != nil {
		return nil, r.explain(err)
	}
	switch {
	case r.seen&sawVersion == 0:
		return nil, r.fail("expected version indicator")
	case r.seen&sawSystemIdentifier == 0 && r.summary.Version > 1:
		return nil, r.fail("missing system identifier")
	case r.seen&sawFiles == 0:
		return nil, r.fail("missing files")
	case r.seen&sawWALRanges == 0:
		return nil, r.fail("missing WAL ranges")
	case r.seen&sawManifestChecksum == 0:
		return nil, r.fail("missing manifest checksum")
	}
	if _, err := r.peek(); err == nil {
		return nil, r.fail("unexpected data after the end")
	} else if err != errEnd {
		return nil, r.explain(err)
	}
	return r.finish()
}

// explain leaves the reader's own errors alone and says of foreign ones where
// they come from.
func (r *reader) explain(err error) error {
	if err == r.readErr || err == io.ErrNoProgress {
		return fmt.Errorf("read backup manifest: %w", err)
	}
	return err
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
	var sum [sha256.Size]byte
	if !bytes.Equal(tail.previous.Sum(sum[:0]), r.sum[:]) {
		return nil, ErrChecksum
	}
	return &r.summary, nil
}

func (r *reader) readField(key []byte) error {
	if r.seen&sawManifestChecksum != 0 {
		return r.fail("unexpected field after the manifest checksum")
	}
	if r.seen&sawVersion == 0 {
		if string(key) != keyVersion {
			return r.fail("expected version indicator")
		}
		r.seen.add(sawVersion)
		n, err := r.integer(math.MaxInt32)
		if err == nil && n != 1 && n != 2 {
			return r.fail("unexpected manifest version")
		}
		r.summary.Version = int(n)
		return err
	}
	var bit keySet
	var read func() error
	switch string(key) {
	case keySystemIdentifier:
		if r.summary.Version == 1 {
			return r.fail("system identifier in a manifest of version 1")
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
		return r.fail("repeated top-level field")
	}
	return read()
}

func (r *reader) readSystemIdentifier() (err error) {
	r.summary.SystemIdentifier, err = r.integer(math.MaxUint64)
	return err
}

func (r *reader) readManifestChecksum() error {
	text, err := r.str()
	if err != nil {
		return err
	}
	if len(text) != hex.EncodedLen(sha256.Size) {
		return r.fail("invalid manifest checksum")
	}
	if _, err := hex.Decode(r.sum[:], text); err != nil {
		return r.fail("invalid manifest checksum")
	}
	return nil
}

func (r *reader) readRange() error {
	if len(r.summary.Ranges) == MaxWALRanges {
		return r.fail("too many WAL ranges")
	}
	r.rangeSeen = 0
	r.wal = WALRange{}
	if err := r.object(r.readRangeField); err != nil {
		return err
	}
	switch {
	case r.rangeSeen&sawTimeline == 0:
		return r.fail("missing timeline")
	case r.rangeSeen&sawStartLSN == 0:
		return r.fail("missing start LSN")
	case r.rangeSeen&sawEndLSN == 0:
		return r.fail("missing end LSN")
	}
	r.summary.Ranges = append(r.summary.Ranges, r.wal)
	return nil
}

func (r *reader) readRangeField(key []byte) error {
	var bit keySet
	var read func() error
	switch string(key) {
	case keyTimeline:
		bit, read = sawTimeline, func() error {
			n, err := r.integer(math.MaxUint32)
			if err == nil && n == 0 {
				return r.fail("invalid timeline 0")
			}
			r.wal.Timeline = logstream.TimelineID(n)
			return err
		}
	case keyStartLSN:
		bit, read = sawStartLSN, func() error { return r.readLSN(&r.wal.Start, "could not parse start LSN") }
	case keyEndLSN:
		bit, read = sawEndLSN, func() error { return r.readLSN(&r.wal.End, "could not parse end LSN") }
	default:
		return r.fail("unexpected WAL range field")
	}
	if r.rangeSeen.add(bit) {
		return r.fail("repeated WAL range field")
	}
	return read()
}

func (r *reader) readLSN(to *logstream.LSN, cause string) error {
	text, err := r.str()
	if err != nil {
		return err
	}
	if *to, err = logstream.ParseLSN(string(text)); err != nil {
		return r.fail(cause)
	}
	return nil
}
