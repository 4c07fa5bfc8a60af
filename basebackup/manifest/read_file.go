package manifest

import (
	"encoding/hex"
	"math"
	"slices"
	"time"
	"unicode/utf8"
)

// entry is a File whose parts lie in the reader's buffers.
type entry struct {
	path      []byte
	size      int64
	modified  []byte
	algorithm Algorithm
	checksum  []byte // nil if there is none
}

// parseTime reads a modification time; it is zero when that cannot be read.
func parseTime(text []byte) time.Time {
	if len(text) != len(timeLayout) {
		return time.Time{}
	}
	t, err := time.Parse(timeLayout, string(text))
	if err != nil {
		return time.Time{}
	}
	return t
}

const (
	sawPath keySet = 1 << iota
	sawEncodedPath
	sawSize
	sawLastModified
	sawAlgorithm
	sawChecksum
)

// fileFault is what is wrong with the values of one file. It is told when the
// file's object is over, as PostgreSQL's reader does.
type fileFault struct {
	encodedPath, size bool
	oddSize           bool
	algorithm         []byte // the text that is none; nil for none
	checksum          []byte // the text that is none; nil for none
	longChecksum      bool
}

// readFile reads one file's object and hands it to visit.
func (r *reader) readFile() error {
	r.fileSeen = 0
	r.fileFault = fileFault{}
	r.file.modified = r.file.modified[:0]
	r.file.algorithm = None
	r.file.checksum = nil
	return r.object(r.fileField, r.fileEnd)
}

// endFile judges a file, the faults that PostgreSQL's reader knows first.
func (r *reader) endFile() error {
	f, fault, seen := &r.file, &r.fileFault, r.fileSeen
	switch {
	case !seen.has(sawPath | sawEncodedPath):
		return r.fail("missing path name")
	case seen.has(sawPath) && seen.has(sawEncodedPath):
		return r.fail("both path name and encoded path name")
	case !seen.has(sawSize):
		return r.fail("missing size")
	case seen.has(sawChecksum) && !seen.has(sawAlgorithm):
		return r.fail("checksum without algorithm")
	case fault.encodedPath:
		return r.fail("could not decode file name")
	case fault.size:
		return r.fail("file size is not an integer")
	case fault.algorithm != nil:
		return r.failValue("unrecognized checksum algorithm: \"%s\"", fault.algorithm)
	case fault.checksum != nil:
		return r.failValue("invalid checksum for file \"%s\": \"%s\"", f.path, fault.checksum)
	}
	cause := pathFault(f.path)
	switch {
	case cause != "":
	case seen.has(sawPath) && !utf8.Valid(f.path):
		cause = "path name is not UTF-8"
	case fault.oddSize:
		cause = "file size is no whole number in range"
	case fault.longChecksum || f.checksum != nil && len(f.checksum) != f.algorithm.Size():
		cause = "checksum of a wrong length"
	case f.size > math.MaxInt64-r.summary.Bytes:
		cause = "sum of file sizes out of range"
	}
	if cause != "" {
		r.refuse(cause)
		return nil
	}
	r.summary.Files++
	r.summary.Bytes += f.size
	return r.visit(f)
}

// fileKeys are the keys of a file's object.
var fileKeys = map[string]keySet{
	keyPath: sawPath, keyEncodedPath: sawEncodedPath, keySize: sawSize,
	keyLastModified: sawLastModified, keyAlgorithm: sawAlgorithm, keyChecksum: sawChecksum,
}

func (r *reader) readFileField(key []byte) error {
	bit, known := fileKeys[string(key)]
	if !known {
		return r.fail("unexpected file field")
	}
	if r.fileSeen.add(bit) {
		r.refuse("repeated file field")
	}
	switch r.kind {
	case isString, isWord:
		r.readFileValue(bit)
	}
	if bit == sawSize {
		return r.scalar(func([]byte) {})
	}
	return r.str(func([]byte) {})
}

// readFileValue takes the value of a file's key, which is the present token.
func (r *reader) readFileValue(key keySet) {
	f, fault := &r.file, &r.fileFault
	switch key {
	case sawPath:
		f.path = append(f.path[:0], r.text...)
	case sawEncodedPath:
		f.path = append(f.path[:0], r.text...)
		n, err := hex.Decode(f.path, r.text)
		fault.encodedPath = err != nil
		f.path = f.path[:n]
	case sawSize:
		n := parseInteger(r.text, math.MaxInt64)
		f.size, fault.size, fault.oddSize = int64(n.value), !n.whole, n.odd
	case sawLastModified:
		f.modified = append(f.modified[:0], r.text...)
	case sawAlgorithm:
		r.readAlgorithm()
	case sawChecksum:
		r.readChecksum()
	}
}

// pathFault says why no file can have this path; it is empty for a good one.
func pathFault[T string | []byte](path T) string {
	switch {
	case len(path) == 0:
		return "empty path name"
	case len(path) > MaxPathLength:
		return "path name too long"
	}
	for i := range len(path) {
		if path[i] == 0 {
			return "path name with a zero byte"
		}
	}
	return ""
}

func (r *reader) readAlgorithm() {
	// The spelling that servers use costs no allocation.
	for a := range algorithmTable {
		if string(r.text) == algorithmTable[a].name {
			r.file.algorithm, r.fileFault.algorithm = Algorithm(a), nil
			return
		}
	}
	var err error
	if r.file.algorithm, err = ParseAlgorithm(string(r.text)); err != nil {
		r.fileFault.algorithm = slices.Clone(r.text)
	}
}

func (r *reader) readChecksum() {
	r.file.checksum, r.fileFault.checksum, r.fileFault.longChecksum = nil, nil, false
	text := r.text
	if len(text) == 0 {
		return // PostgreSQL takes an empty checksum for none
	}
	to := r.fileSum[:]
	if len(text) > hex.EncodedLen(len(to)) {
		r.fileFault.longChecksum = true
		to = make([]byte, hex.DecodedLen(len(text)))
	}
	n, err := hex.Decode(to, text)
	if err != nil {
		r.fileFault.checksum = slices.Clone(text)
		return
	}
	r.file.checksum = to[:n]
}
