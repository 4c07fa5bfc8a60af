package walsender

import (
	"bytes"
	"encoding/binary"
	"errors"
	"regexp"
	"strings"
)

var (
	positionColumns   = Columns{"recptr", "tli:int8"}
	tablespaceColumns = Columns{"spcoid:oid", "spclocation", "size:int8"}

	wantsManifest  = regexp.MustCompile(`(?i)\bMANIFEST\s+'(yes|force-encode)'`)
	wantsAlgorithm = regexp.MustCompile(`(?i)\bMANIFEST_CHECKSUMS\s+'(\w+)'`)
)

// ServeBackup answers BASE_BACKUP with b from now on.
func (s *Server) ServeBackup(b *Backup) { s.Handle("BASE_BACKUP", b.Play) }

// Play is a Hook that plays the backup.
func (b *Backup) Play(c *Conn) error {
	major := c.server.Major()
	// The parenthesis is how the two syntaxes are told apart.
	_, options, _ := strings.Cut(strings.ToUpper(c.query), "BASE_BACKUP")
	if options = strings.Trim(options, "; "); options != "" && strings.HasPrefix(options, "(") != (major >= 15) {
		c.Fail("42601", "syntax error")
		return nil
	}
	p := &backupPlay{Backup: b, conn: c, framed: major >= 15}
	p.step(StepStart, func() { p.position(b.Start) })
	p.step(StepTablespaces, p.tablespaces)
	if p.framed {
		p.step(StepCopyOut, c.CopyOut)
	}
	for i := range b.Tablespaces {
		t := &b.Tablespaces[i]
		p.step(Archive(t.Name()), func() { p.archive(t) })
	}
	if major >= 13 && !b.NoManifest && (b.Manifest != nil || wantsManifest.MatchString(c.query)) {
		p.step(StepManifest, p.manifest)
	}
	if p.framed {
		p.step(StepCopyDone, c.CopyDone)
	}
	p.step(StepEnd, func() { p.position(b.End) })
	p.step(StepComplete, func() { c.Complete("BASE_BACKUP") })
	return p.err
}

// backupPlay is one BASE_BACKUP that is being answered.
type backupPlay struct {
	*Backup
	conn   *Conn
	framed bool // one COPY whose messages have a type
	done   int64
	err    error
}

// step runs a step with its hooks, unless one before has ended the answer.
func (p *backupPlay) step(name Step, usual func()) {
	instead := p.Instead[name]
	if instead == nil {
		instead = func(*Conn) error { usual(); return nil }
	}
	for _, hook := range []Hook{p.Before[name], instead, p.After[name]} {
		if p.err == nil {
			p.err = p.conn.err
		}
		if p.err != nil || hook == nil {
			continue
		}
		p.err = hook(p.conn)
		if errors.Is(p.err, Pass) {
			p.err = errors.New("no other hook can answer in the middle of a backup")
		}
	}
}

func (p *backupPlay) position(at Position) {
	p.conn.Row(positionColumns, at.LSN, at.Timeline)
	p.conn.CommandComplete("SELECT")
}

func (p *backupPlay) tablespaces() {
	c := p.conn
	c.RowDescription(tablespaceColumns...)
	for i := range p.Tablespaces {
		t := &p.Tablespaces[i]
		var oid, location, size any
		if t.OID != 0 {
			oid, location = t.OID, t.Location
		}
		switch {
		case t.Size > 0:
			size = t.Size
		case t.Size == 0 && strings.Contains(strings.ToUpper(c.query), "PROGRESS"):
			size = (len(t.Tar(15)) + 1023) / 1024
		}
		c.DataRow(oid, location, size)
	}
	c.CommandComplete("SELECT")
}

func (p *backupPlay) archive(t *Tablespace) {
	pieces := tarPieces(t.Members, p.framed)
	size := 0
	for _, piece := range pieces {
		size += len(piece)
	}
	p.done += int64(size)
	if p.EditArchive != nil {
		pieces = cut(p.EditArchive(t.Name(), bytes.Join(pieces, nil)), tarChunk)
	}
	if p.framed {
		p.conn.CopyData([]byte("n" + t.Name() + p.Suffix + "\x00" + t.Location + "\x00"))
		p.data(pieces)
		p.conn.CopyData(binary.BigEndian.AppendUint64([]byte{'p'}, uint64(p.done)))
		return
	}
	p.conn.CopyOut()
	p.data(pieces)
	p.conn.CopyDone()
}

func (p *backupPlay) manifest() {
	c := p.conn
	text := p.Manifest
	if text == nil {
		version, algorithm := 1, p.Algorithm
		if c.server.Major() >= 17 {
			version = 2
		}
		if m := wantsAlgorithm.FindStringSubmatch(c.query); m != nil {
			setDefault(&algorithm, strings.ToUpper(m[1]))
		}
		setDefault(&algorithm, "CRC32C")
		var err error
		if text, err = p.buildManifest(version, c.server.options.SystemID, algorithm, c.server.lsn); err != nil {
			c.fail(err)
			return
		}
	}
	if p.EditManifest != nil {
		text = p.EditManifest(text)
	}
	if p.framed {
		c.CopyData([]byte{'m'})
		p.data(cut(text, tarChunk))
		return
	}
	c.CopyOut()
	p.data(cut(text, tarChunk))
	c.CopyDone()
}

// data sends an archive or a manifest.
func (p *backupPlay) data(pieces [][]byte) {
	if p.MessageSize > 0 {
		pieces = cut(bytes.Join(pieces, nil), p.MessageSize)
	}
	for _, piece := range pieces {
		if p.framed {
			piece = append([]byte{'d'}, piece...)
		}
		p.conn.CopyData(piece)
	}
}

// cut divides p into pieces of n bytes.
func cut(p []byte, n int) [][]byte {
	var pieces [][]byte
	for len(p) > 0 {
		m := min(n, len(p))
		pieces = append(pieces, p[:m:m])
		p = p[m:]
	}
	return pieces
}
