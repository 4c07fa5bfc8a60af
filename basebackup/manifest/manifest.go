// Package manifest reads, writes and checks backup manifests: the list of a
// base backup's files, with their sizes and checksums, that servers from
// release 13 on send after the data (PostgreSQL manual, "Backup Manifest
// Format").
//
// A backup is checked while it is received. Whoever writes its files tells a
// [Checker] of each one; when the manifest arrives, last of all, they are
// compared:
//
//	checker := manifest.NewChecker(manifest.CRC32C)
//	// for each file, when its last byte was written:
//	err := checker.Add("base/1/1255", size, sum)
//	// when the manifest is there:
//	summary, err := checker.Check(file, manifest.Expect{Start: start, End: end})
//
// A manifest is not trusted: [Read] keeps no more of it than one file at a
// time, however long it is, refuses what PostgreSQL's own reader refuses, and
// verifies the manifest's checksum of itself in the same pass.
package manifest

import (
	"time"

	"github.com/pgbraid/pgbraid/logstream"
)

const (
	// MaxPathLength is the longest path, in bytes, that Read and Writer take.
	// Servers are built for paths of up to 1024 bytes.
	MaxPathLength = 4096

	// MaxWALRanges is the largest number of WAL ranges that Read and Writer
	// take. A backup has one more than there were promotions while it ran.
	MaxWALRanges = 10000
)

// File is one file of a backup, as its manifest lists it.
type File struct {
	// Path is relative to the data directory and has slashes, such as
	// base/1/1255 or pg_tblspc/16384/PG_15_202209061/5/16385. It need not be
	// valid UTF-8.
	Path string
	// Size is in bytes.
	Size int64
	// ModTime is in whole seconds, in UTC. It is zero when the manifest has
	// none or one that cannot be read: PostgreSQL's readers pass over it too.
	ModTime time.Time
	// Algorithm is None when the manifest names none.
	Algorithm Algorithm
	// Checksum is nil, or has Algorithm.Size() bytes.
	Checksum []byte
}

// WALRange is a stretch of the log, on one timeline, that a backup needs in
// order to become consistent.
type WALRange struct {
	Timeline   logstream.TimelineID
	Start, End logstream.LSN
}

// Summary is what a manifest says apart from its files.
type Summary struct {
	// Version is 1 (servers 13 to 16) or 2 (from 17 on).
	Version int
	// SystemIdentifier is the cluster's; 0 in version 1, which lacks it.
	SystemIdentifier uint64
	// Ranges are in the order of the manifest: the newest timeline first.
	Ranges []WALRange
	// Files is how many files there are, and Bytes the sum of their sizes.
	Files int
	Bytes int64
}

// The keys of the format. The version must come first, the checksum last.
const (
	keyVersion          = "PostgreSQL-Backup-Manifest-Version"
	keySystemIdentifier = "System-Identifier"
	keyFiles            = "Files"
	keyWALRanges        = "WAL-Ranges"
	keyManifestChecksum = "Manifest-Checksum"

	keyPath         = "Path"
	keyEncodedPath  = "Encoded-Path"
	keySize         = "Size"
	keyLastModified = "Last-Modified"
	keyAlgorithm    = "Checksum-Algorithm"
	keyChecksum     = "Checksum"

	keyTimeline = "Timeline"
	keyStartLSN = "Start-LSN"
	keyEndLSN   = "End-LSN"
)

// timeLayout is how servers write a modification time, always in GMT.
const timeLayout = "2006-01-02 15:04:05 GMT"
