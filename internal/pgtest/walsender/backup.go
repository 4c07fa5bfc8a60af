package walsender

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Backup is what BASE_BACKUP answers. It is played in the form of the server's
// release (PostgreSQL manual, "Streaming Replication Protocol"). It must not be changed while it is played.
type Backup struct {
	Start, End  Position
	Tablespaces []Tablespace // in the order of the rows; the data directory comes last on a real server

	// Manifest is sent as the manifest, instead of one that is built.
	Manifest []byte
	// NoManifest sends none, although the client asked for it.
	NoManifest bool
	// Algorithm of the files' checksums; what the client asked for if empty.
	Algorithm string
	// WALRanges of the manifest; one from Start to End if nil.
	WALRanges []WALRange

	// EditArchive, if set, changes an archive after the manifest was built: it
	// can cut it, spoil it, or compress it.
	EditArchive func(name string, archive []byte) []byte
	// EditManifest, if set, changes the manifest. See SealManifest.
	EditManifest func(manifest []byte) []byte
	// Suffix of the archives' names, such as .gz.
	Suffix string
	// MessageSize, if not 0, is how many bytes of an archive or a manifest
	// each message has, in place of a server's own way to cut them.
	MessageSize int

	// Before and After run around a step, Instead takes its place. After a
	// hook that returns Stop nothing more is sent.
	Before, Instead, After map[Step]Hook
}

// Step is a part of the answer to BASE_BACKUP.
type Step string

// The steps, in their order. Archive gives the step of an archive.
const (
	StepStart       Step = "start"       // result: start position
	StepTablespaces Step = "tablespaces" // result: list of tablespaces
	StepCopyOut     Step = "copy out"    // from release 15 on: the COPY begins
	StepManifest    Step = "manifest"
	StepCopyDone    Step = "copy done" // from release 15 on: the COPY ends
	StepEnd         Step = "end"       // result: end position
	StepComplete    Step = "complete"  // CommandComplete and ReadyForQuery
)

// Archive is the step that sends an archive, such as base.tar or 16385.tar.
func Archive(name string) Step { return Step("archive " + name) }

// Tablespace is a tablespace and its archive. The data directory has OID 0.
type Tablespace struct {
	OID      uint32
	Location string
	Size     int64 // estimate in kB; computed if 0, NULL if negative
	Members  []Member
}

// Name is the archive's name.
func (t *Tablespace) Name() string {
	if t.OID == 0 {
		return "base.tar"
	}
	return fmt.Sprintf("%d.tar", t.OID)
}

// Tar is the archive as a server of the given major release sends it.
func (t *Tablespace) Tar(major int) []byte {
	return bytes.Join(tarPieces(t.Members, major >= 15), nil)
}

// File returns the content of a file of the data directory, nil if there is
// none.
func (b *Backup) File(name string) []byte {
	for _, t := range b.Tablespaces {
		for _, m := range t.Members {
			if t.OID == 0 && m.Name == name && m.kind() == TypeFile {
				return m.Content
			}
		}
	}
	return nil
}

// Replace puts m in the place of the data directory's member of that name, or
// before its last member, which is global/pg_control, if there is none.
func (b *Backup) Replace(m Member) {
	for i := range b.Tablespaces {
		t := &b.Tablespaces[i]
		if t.OID != 0 {
			continue
		}
		at := slices.IndexFunc(t.Members, func(old Member) bool { return old.Name == m.Name })
		if at >= 0 {
			t.Members[at] = m
		} else {
			t.Members = slices.Insert(t.Members, max(0, len(t.Members)-1), m)
		}
		return
	}
}

var walSegmentPath = regexp.MustCompile(`^pg_wal/[0-9A-F]{24}$`)

// BuildManifest is the manifest of the members as they stand, in the given
// version: 1 for releases 13 to 16, 2 from 17 on.
func (b *Backup) BuildManifest(version int, systemID, algorithm string) ([]byte, error) {
	return b.buildManifest(version, systemID, algorithm, LSN.String)
}

func (b *Backup) buildManifest(version int, systemID, algorithm string, lsn func(LSN) string) ([]byte, error) {
	var files []manifestFile
	for _, t := range b.Tablespaces {
		for i := range t.Members {
			m := &t.Members[i]
			path := m.Name
			if t.OID != 0 {
				path = fmt.Sprintf("pg_tblspc/%d/%s", t.OID, m.Name)
			}
			if m.kind() == TypeFile && !m.Unlisted && !walSegmentPath.MatchString(path) {
				files = append(files, manifestFile{path, m.Content})
			}
		}
	}
	ranges := b.WALRanges
	if ranges == nil {
		ranges = []WALRange{{b.Start.Timeline, b.Start.LSN, b.End.LSN}}
	}
	return buildManifest(version, systemID, algorithm, files, ranges, lsn)
}

// SampleBackup is a small backup without tablespaces, from 0/2000028 to
// 0/2000100 on timeline 1. It has what a client looks at; no server could be
// started from it.
func SampleBackup() *Backup {
	page := func(seed byte) []byte {
		p := make([]byte, 2*8192)
		for i := range p {
			p[i] = seed + byte(i*i>>5)
		}
		return p
	}
	label := "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\n" +
		"CHECKPOINT LOCATION: 0/2000080\nBACKUP METHOD: streamed\nBACKUP FROM: primary\n" +
		"START TIME: 2026-01-01 00:00:00 GMT\nLABEL: sample\nSTART TIMELINE: 1\n"
	return &Backup{
		Start: Position{0x2000028, 1},
		End:   Position{0x2000100, 1},
		Tablespaces: []Tablespace{{Members: []Member{
			{Name: "backup_label", Content: []byte(label)},
			{Name: "PG_VERSION", Content: []byte("18\n")},
			{Name: "base/"},
			{Name: "base/1/"},
			{Name: "base/1/PG_VERSION", Content: []byte("18\n")},
			{Name: "base/1/1255", Content: page(7)},
			{Name: "base/1/2619", Content: page(99)[:8192]},
			{Name: "base/1/2620"},
			{Name: "pg_wal/"},
			{Name: "./pg_wal/archive_status/"},
			{Name: "./pg_wal/summaries/"},
			{Name: "pg_tblspc/"},
			{Name: "pg_stat_tmp/"},
			{Name: "postgresql.conf", Content: []byte(strings.Repeat("# a comment\n", 100))},
			{Name: "postgresql.auto.conf", Content: []byte("# Do not edit this file manually!\n")},
			{Name: "global/"},
			{Name: "global/1262", Content: page(31)[:8192]},
			{Name: "global/pg_control", Content: page(1)[:8192]},
		}}},
	}
}

// AddTablespace adds a tablespace with one small file, and its symlink to the
// data directory.
func (b *Backup) AddTablespace(oid uint32, location string) {
	dir := "PG_18_202506291/"
	b.Replace(Member{Name: fmt.Sprintf("pg_tblspc/%d", oid), Linkname: location})
	b.Tablespaces = slices.Insert(b.Tablespaces, max(0, len(b.Tablespaces)-1), Tablespace{
		OID: oid, Location: location,
		Members: []Member{
			{Name: dir},
			{Name: dir + "5/"},
			{Name: dir + "5/16390", Content: bytes.Repeat([]byte(location), 300)},
		},
	})
}
