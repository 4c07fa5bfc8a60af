package manifest

import (
	"encoding/hex"
	"math"
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
	sawSize
	sawLastModified
	sawAlgorithm
	sawChecksum
)

// readFile reads one file's object and hands it to visit.
func (r *reader) readFile() error {
	r.fileSeen = 0
	r.file.modified = r.file.modified[:0]
	r.file.algorithm = None
	r.file.checksum = nil
	if err := r.object(r.fileField); err != nil {
		return err
	}
	f := &r.file
	switch {
	case r.fileSeen&sawPath == 0:
		return r.fail("missing path name")
	case r.fileSeen&sawSize == 0:
		return r.fail("missing size")
	case r.fileSeen&sawChecksum != 0 && r.fileSeen&sawAlgorithm == 0:
		return r.fail("checksum without algorithm")
	case f.checksum != nil && len(f.checksum) != f.algorithm.Size():
		return r.fail("checksum of a wrong length")
	case f.size > math.MaxInt64-r.summary.Bytes:
		return r.fail("sum of file sizes out of range")
	}
	r.summary.Files++
	r.summary.Bytes += f.size
	return r.visit(f)
}

func (r *reader) readFileField(key []byte) error {
	switch string(key) {
	case keyPath, keyEncodedPath:
		// Both keys share a bit: only one of them may be there.
		if r.fileSeen.add(sawPath) {
			return r.fail("more than one path name")
		}
		return r.readPath(len(key) == len(keyEncodedPath))
	case keySize:
		if r.fileSeen.add(sawSize) {
			return r.fail("repeated file field")
		}
		n, err := r.integer(math.MaxInt64)
		r.file.size = int64(n)
		return err
	case keyLastModified:
		if r.fileSeen.add(sawLastModified) {
			return r.fail("repeated file field")
		}
		text, err := r.str()
		r.file.modified = append(r.file.modified, text...)
		return err
	case keyAlgorithm:
		if r.fileSeen.add(sawAlgorithm) {
			return r.fail("repeated file field")
		}
		return r.readAlgorithm()
	case keyChecksum:
		if r.fileSeen.add(sawChecksum) {
			return r.fail("repeated file field")
		}
		return r.readChecksum()
	}
	return r.fail("unexpected file field")
}

func (r *reader) readPath(encoded bool) error {
	text, err := r.str()
	if err != nil {
		return err
	}
	path := append(r.file.path[:0], text...)
	if encoded {
		n, err := hex.Decode(path, text)
		if err != nil {
			return r.fail("could not decode file name")
		}
		path = path[:n]
	} else if !utf8.Valid(path) {
		return r.fail("path name is not UTF-8")
	}
	r.file.path = path
	if cause := pathFault(path); cause != "" {
		return r.fail(cause)
	}
	return nil
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

func (r *reader) readAlgorithm() error {
	text, err := r.str()
	if err != nil {
		return err
	}
	// The spelling that servers use costs no allocation.
	for a := range algorithmTable {
		if string(text) == algorithmTable[a].name {
			r.file.algorithm = Algorithm(a)
			return nil
		}
	}
	if r.file.algorithm, err = ParseAlgorithm(string(text)); err != nil {
		return r.fail("unrecognized checksum algorithm")
	}
	return nil
}

func (r *reader) readChecksum() error {
	text, err := r.str()
	if err != nil || len(text) == 0 {
		return err // PostgreSQL takes an empty checksum for none
	}
	if len(text) > hex.EncodedLen(len(r.fileSum)) {
		return r.fail("checksum of a wrong length")
	}
	n, err := hex.Decode(r.fileSum[:], text)
	if err != nil {
		return r.fail("invalid checksum")
	}
	r.file.checksum = r.fileSum[:n]
	return nil
}
