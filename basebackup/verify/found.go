package verify

import (
	"bytes"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/pgbraid/pgbraid/internal/compress"
	"github.com/pgbraid/pgbraid/logstream"
	"github.com/pgbraid/pgbraid/tarx"
)

// noteSegment remembers a segment of the log by its place in the archive, which
// is of no use where that is compressed.
func (a *archive) noteSegment(name string, offset, size int64) {
	if !logstream.IsSegmentName(name) {
		return
	}
	if a.found.segments == nil {
		a.found.segments = map[string]span{}
	}
	if a.method != compress.None {
		offset = -1
	}
	a.found.segments[name] = span{a.path, offset, size}
}

func (a *archive) noteHistory(name string, content []byte) {
	if a.found.histories == nil {
		a.found.histories = map[string][]byte{}
	}
	a.found.histories[name] = slices.Clone(content)
}

// noteDirectories remembers a directory, or those that a file is in.
func (a *archive) noteDirectories(name string, isDirectory bool) {
	if a.found.dirs == nil {
		a.found.dirs = map[string]struct{}{}
	}
	if !isDirectory {
		name = path.Dir(name)
	}
	for ; name != "."; name = path.Dir(name) {
		if _, known := a.found.dirs[name]; known {
			return
		}
		a.found.dirs[name] = struct{}{}
	}
}

// noteSpaces takes the OIDs of a tablespace_map, whose lines are OID, a blank
// and a path, in which line breaks are escaped (src/backend/access/transam/xlog.c,
// do_pg_backup_start).
func (a *archive) noteSpaces(content []byte) {
	for line := range bytes.Lines(content) {
		oid, _, found := strings.Cut(string(line), " ")
		if n, err := strconv.ParseUint(oid, 10, 32); found && err == nil && n > 0 {
			a.found.spaces = append(a.found.spaces, strconv.FormatUint(n, 10))
		}
	}
}

// logMembers finds the segments and history files in an archive of the log: it
// is the handler of the archive's parser.
type logMembers struct {
	archive *archive
	parser  *tarx.Parser
	keeper
}

// BeginMember is part of tarx.Handler.
func (m *logMembers) BeginMember(h *tarx.Header) error {
	m.skip()
	name, err := tarx.CleanName(h.Name)
	if err != nil || h.Type != tarx.TypeFile {
		return err
	}
	m.archive.noteSegment(name, m.parser.Offset(), h.Size)
	if logstream.IsHistoryName(name) {
		m.begin(name, maxHistory)
	}
	return nil
}

// Content is part of tarx.Handler.
func (m *logMembers) Content(p []byte) error {
	m.take(p)
	return nil
}

// EndMember is part of tarx.Handler.
func (m *logMembers) EndMember() error {
	if m.keeping != "" {
		m.archive.noteHistory(m.keeping, m.kept)
	}
	return nil
}
