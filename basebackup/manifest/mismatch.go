package manifest

import (
	"fmt"
	"strings"
)

// Kind says what is wrong with a file, or with the backup as a whole.
type Kind uint8

const (
	// MissingFile says that a file is in the manifest and was not received.
	MissingFile Kind = iota
	// ExtraFile says that a file was received and is not in the manifest.
	ExtraFile
	// DuplicateFile says that a file is in the manifest more than once.
	DuplicateFile
	// SizeMismatch says that the sizes differ. The checksums then do too.
	SizeMismatch
	// ChecksumMismatch says that the checksums differ, or that the manifest
	// has none where one was asked for.
	ChecksumMismatch
	// AlgorithmMismatch says that the manifest has another checksum than the
	// one that was computed, so that they cannot be compared.
	AlgorithmMismatch
	// SystemIdentifierMismatch says that the backup is another cluster's.
	SystemIdentifierMismatch
	// WALRangeMismatch says that the log that the manifest asks for is not the
	// backup's.
	WALRangeMismatch
)

// String describes the kind, such as "checksum mismatch".
func (k Kind) String() string {
	switch k {
	case MissingFile:
		return "in the manifest, but not received"
	case ExtraFile:
		return "received, but not in the manifest"
	case DuplicateFile:
		return "more than once in the manifest"
	case SizeMismatch:
		return "size mismatch"
	case ChecksumMismatch:
		return "checksum mismatch"
	case AlgorithmMismatch:
		return "checksum algorithm mismatch"
	case SystemIdentifierMismatch:
		return "system identifier mismatch"
	case WALRangeMismatch:
		return "WAL range mismatch"
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Problem is one difference between a backup and its manifest.
type Problem struct {
	// Path is the file's; it is empty when the problem is none of one file,
	// and for extra files whose names are not known.
	Path string
	Kind Kind
	// Detail says more, in words; it may be empty.
	Detail string
}

// String gives all three parts, such as
// "base/1/1255": size mismatch (manifest has 8192 bytes).
func (p Problem) String() string {
	var b strings.Builder
	if p.Path != "" {
		fmt.Fprintf(&b, "%q: ", p.Path)
	}
	b.WriteString(p.Kind.String())
	if p.Detail != "" {
		fmt.Fprintf(&b, " (%s)", p.Detail)
	}
	return b.String()
}

// MaxProblems is how many problems a MismatchError keeps.
const MaxProblems = 20

// namedProblems is how many of them its text gives.
const namedProblems = 5

// MismatchError says that a backup is not what its manifest describes.
type MismatchError struct {
	// Problems are the first ones that were found, at most MaxProblems.
	Problems []Problem
	// Total counts all of them.
	Total int
}

// Error names the first problems.
func (e *MismatchError) Error() string {
	var b strings.Builder
	b.WriteString("backup does not match its manifest: ")
	shown := 0
	for _, p := range e.Problems {
		if shown == namedProblems {
			break
		}
		if shown > 0 {
			b.WriteString("; ")
		}
		b.WriteString(p.String())
		shown++
	}
	if rest := e.Total - shown; rest > 0 {
		fmt.Fprintf(&b, "; and %d more", rest)
	}
	return b.String()
}

func (e *MismatchError) add(p Problem) {
	e.Total++
	if len(e.Problems) < MaxProblems {
		e.Problems = append(e.Problems, p)
	}
}
