package basebackup

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/pgbraid/pgbraid/internal/replconn"
	"github.com/pgbraid/pgbraid/logstream"
)

// Tablespace is a row of the second result of BASE_BACKUP.
type Tablespace struct {
	OID      uint32 // 0 for the data directory itself
	Location string // on the server; relative for an in-place one, "" for the data directory
	Size     int64  // the server's estimate, in bytes; 0 if unknown
	Path     string // where it was put here
}

// base tells whether this is the data directory.
func (t *Tablespace) base() bool { return t.OID == 0 }

// inPlace tells whether the tablespace lies inside the data directory
// (allow_in_place_tablespaces, release 15 and later).
func (t *Tablespace) inPlace() bool { return !t.base() && !filepath.IsAbs(t.Location) }

// archive is the name of the tar file that a server sends for it.
func (t *Tablespace) archive() string {
	if t.base() {
		return "base.tar"
	}
	return strconv.FormatUint(uint64(t.OID), 10) + ".tar"
}

// link is the tablespace's place below the data directory.
func (t *Tablespace) link() string {
	return "pg_tblspc/" + strconv.FormatUint(uint64(t.OID), 10)
}

// readPosition reads a result of an LSN and a timeline: the start position
// before the archives, and the end position behind them.
func readPosition(result *replconn.Result) (logstream.Position, error) {
	row, err := result.Row(2)
	if err != nil {
		return logstream.Position{}, err
	}
	l, err := logstream.ParseLSN(string(row[0]))
	if err != nil {
		return logstream.Position{}, fmt.Errorf("%w: %w", replconn.ErrMalformed, err)
	}
	t, err := logstream.ParseTimelineID(string(row[1]))
	if err != nil {
		return logstream.Position{}, fmt.Errorf("%w: %w", replconn.ErrMalformed, err)
	}
	return logstream.Position{Timeline: t, LSN: l}, nil
}

// readTablespaces reads the list of tablespaces: OID, location and size in kB.
// The data directory is the row without an OID, wherever it stands.
func readTablespaces(result *replconn.Result) ([]*Tablespace, error) {
	var list []*Tablespace
	seen := map[uint32]bool{}
	for _, row := range result.Rows {
		if len(row) < 3 {
			return nil, fmt.Errorf("%w: tablespace has %d columns, want 3", replconn.ErrMalformed, len(row))
		}
		t := &Tablespace{}
		if row[0] != nil {
			oid, err := strconv.ParseUint(string(row[0]), 10, 32)
			if err != nil || oid == 0 {
				return nil, fmt.Errorf("%w: tablespace OID %q", replconn.ErrMalformed, row[0])
			}
			t.OID = uint32(oid)
			t.Location = string(row[1])
			if t.inPlace() && t.Location != t.link() {
				return nil, fmt.Errorf("%w: tablespace %d lies at %q", replconn.ErrMalformed, t.OID, t.Location)
			}
			if strings.ContainsRune(t.Location, 0) {
				return nil, fmt.Errorf("%w: tablespace %d has a location with a zero byte", replconn.ErrMalformed, t.OID)
			}
		}
		if row[2] != nil {
			kb, err := strconv.ParseInt(string(row[2]), 10, 64)
			if err != nil || kb < 0 || kb > 1<<52 {
				return nil, fmt.Errorf("%w: tablespace size %q", replconn.ErrMalformed, row[2])
			}
			t.Size = kb * 1024
		}
		if seen[t.OID] {
			return nil, fmt.Errorf("%w: tablespace %d is listed twice", replconn.ErrMalformed, t.OID)
		}
		seen[t.OID] = true
		list = append(list, t)
	}
	if !seen[0] {
		return nil, fmt.Errorf("%w: no data directory among the tablespaces", replconn.ErrMalformed)
	}
	return list, nil
}
