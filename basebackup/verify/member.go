package verify

import (
	"hash"
	"path"
	"slices"
	"strings"

	"github.com/pgbraid/pgbraid/basebackup/lineage"
	"github.com/pgbraid/pgbraid/internal/controlfile"
	"github.com/pgbraid/pgbraid/logstream"
	"github.com/pgbraid/pgbraid/tarx"
)

// maxControlFile bounds how much of a pg_control is kept, in bytes: the file
// has 8192, what counts is in the first 512.
const maxControlFile = 8192

// keeper keeps the content of a member that is small.
type keeper struct {
	keeping string // its name; "" where none is kept
	limit   int    // in bytes; the rest is left out
	kept    []byte
}

func (k *keeper) skip() { k.keeping = "" }

func (k *keeper) begin(name string, limit int) { k.keeping, k.limit, k.kept = name, limit, k.kept[:0] }

func (k *keeper) take(p []byte) {
	if k.keeping != "" {
		k.kept = append(k.kept, p[:min(len(p), k.limit-len(k.kept))]...)
	}
}

// memberCheck compares the members of one archive with the manifest: it is
// the handler of the archive's parser.
type memberCheck struct {
	*run
	archive *archive
	parser  *tarx.Parser
	hasher  hasher

	entry *entry    // of the member; nil where it is not compared
	sum   hash.Hash // nil where no checksum is
	keeper
}

// BeginMember is part of tarx.Handler.
func (m *memberCheck) BeginMember(h *tarx.Header) error {
	m.entry, m.sum = nil, nil
	m.skip()
	m.hasher.pages.on = false
	clean, err := tarx.CleanName(h.Name)
	if err != nil {
		return err
	}
	name := m.archive.prefix + clean
	if m.pages.again {
		if e := m.table.find(name); h.Type == tarx.TypeFile && e != nil && !e.has(passedOver) && e.size == h.Size {
			m.hasher.pages.begin(m.run, name)
		}
		return nil
	}
	if m.archive.prefix == "" {
		m.archive.noteDirectories(name, h.Type == tarx.TypeDirectory)
	}
	if h.Type != tarx.TypeFile {
		return nil
	}
	if file, ok := strings.CutPrefix(name, walName+"/"); ok && m.archive.prefix == "" {
		m.archive.noteSegment(file, m.parser.Offset(), h.Size)
		if logstream.IsHistoryName(file) {
			m.begin(name, maxHistory)
		}
	}
	switch {
	case name == controlName:
		m.begin(name, maxControlFile)
	case name == mapName && m.archive.prefix == "":
		m.begin(name, maxMap)
	case name == lineage.LabelFile:
		m.begin(name, lineage.MaxLabel+1)
	case name == versionName:
		m.begin(name, maxVersion)
	}
	e := m.table.find(name)
	if m.ignores(name) {
		if e != nil {
			e.set(seen | passedOver)
		}
		return nil
	}
	if e == nil {
		m.problem(Problem{Kind: ExtraFile, Path: name, Archive: m.archive.name, Member: h.Name, Size: h.Size})
		return nil
	}
	if e.set(seen) && !m.o.AsPgVerifybackup {
		e.set(bad)
		m.problem(Problem{Kind: DuplicateFile, Path: name, Archive: m.archive.name})
		return nil
	}
	if h.Size != e.size {
		e.set(bad)
		m.problem(Problem{Kind: SizeMismatch, Path: name, Archive: m.archive.name, Member: h.Name, Size: h.Size, Want: e.size})
		return nil
	}
	m.entry = e
	m.hasher.skip = m.o.SkipChecksums
	m.sum = m.hasher.begin(e)
	m.hasher.pages.begin(m.run, name)
	return nil
}

// Content is part of tarx.Handler.
func (m *memberCheck) Content(p []byte) error {
	if m.sum != nil {
		m.sum.Write(p)
	}
	if m.sum != nil || m.hasher.pages.on {
		m.read.Add(int64(len(p)))
	}
	m.hasher.pages.write(p)
	m.take(p)
	return nil
}

// EndMember is part of tarx.Handler.
func (m *memberCheck) EndMember() error {
	switch m.keeping {
	case "":
	case controlName:
		control, err := controlfile.Parse(m.kept)
		m.judgeControl(m.archive.name, control, err)
	case lineage.LabelFile:
		m.takeLabel(slices.Clone(m.kept))
	case versionName:
		m.takeVersion(m.kept)
	case mapName:
		m.archive.noteSpaces(m.kept)
	default:
		m.archive.noteHistory(path.Base(m.keeping), m.kept)
	}
	m.hasher.pages.end(m.run, m.archive.name)
	switch {
	case m.entry == nil:
	case m.sum != nil && !m.hasher.matches(m.entry):
		m.entry.set(bad)
		m.problem(Problem{Kind: ChecksumMismatch, Path: m.entry.path(), Archive: m.archive.name})
	default:
		m.entry.set(good)
	}
	return nil
}
