package verify

import (
	"hash"
	"strings"

	"github.com/pgbraid/pgbraid/internal/compress"
	"github.com/pgbraid/pgbraid/internal/controlfile"
	"github.com/pgbraid/pgbraid/logstream"
	"github.com/pgbraid/pgbraid/tarx"
)

// maxControlFile bounds how much of a pg_control is kept, in bytes: the file
// has 8192, what counts is in the first 512.
const maxControlFile = 8192

// memberCheck compares the members of one archive with the manifest: it is
// the handler of the archive's parser.
type memberCheck struct {
	*run
	archive *archive
	parser  *tarx.Parser
	hasher  hasher

	entry   *entry    // of the member; nil where it is not compared
	sum     hash.Hash // nil where no checksum is
	keep    bool      // the member is pg_control
	control []byte
}

// BeginMember is part of tarx.Handler.
func (m *memberCheck) BeginMember(h *tarx.Header) error {
	m.entry, m.sum, m.keep, m.control = nil, nil, false, m.control[:0]
	m.hasher.pages.on = false
	if h.Type != tarx.TypeFile {
		return nil
	}
	clean, err := tarx.CleanName(h.Name)
	if err != nil {
		return err
	}
	name := m.archive.prefix + clean
	if m.pages.again {
		if e := m.table.find(name); e != nil && !e.has(passedOver) && e.size == h.Size {
			m.hasher.pages.begin(m.run, name)
		}
		return nil
	}
	if segment, ok := strings.CutPrefix(name, walName+"/"); ok && m.archive.prefix == "" && logstream.IsSegmentName(segment) {
		if m.archive.hasWAL = true; m.archive.method == compress.None {
			m.members.add(m.archive.name, segment, m.parser.Offset(), h.Size)
		}
	}
	m.keep = name == controlName
	e := m.table.find(name)
	if m.ignores(name) {
		if e != nil {
			e.set(seen | passedOver)
		}
		return nil
	}
	if e == nil {
		m.problem(Problem{Kind: ExtraFile, Path: name, Archive: m.archive.name, Size: h.Size})
		return nil
	}
	if e.set(seen) {
		e.set(bad)
		m.problem(Problem{Kind: DuplicateFile, Path: name, Archive: m.archive.name})
		return nil
	}
	if h.Size != e.size {
		e.set(bad)
		m.problem(Problem{Kind: SizeMismatch, Path: name, Archive: m.archive.name, Size: h.Size, Want: e.size})
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
	if m.keep {
		m.control = append(m.control, p[:min(len(p), maxControlFile-len(m.control))]...)
	}
	return nil
}

// EndMember is part of tarx.Handler.
func (m *memberCheck) EndMember() error {
	if m.keep {
		control, err := controlfile.Parse(m.control)
		m.judgeControl(m.archive.name, control, err)
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
