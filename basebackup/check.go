package basebackup

import (
	"hash"
	"strings"

	"github.com/pgbraid/pgbraid/basebackup/manifest"
	"github.com/pgbraid/pgbraid/logstream"
	"github.com/pgbraid/pgbraid/tarx"
)

// memberCheck computes the checksum of each file that an archive brings, while
// it comes, and hands it to the check against the manifest that stands at the
// backup's end. The nil pointer checks nothing.
type memberCheck struct {
	checker  *manifest.Checker
	checksum hash.Hash // nil: the manifest has none
	fetched  bool      // the server sends WAL, which no manifest lists
	prefix   string    // of the present archive's names in the manifest

	name string // of the present member in the manifest; "": it is not listed
	size int64
}

// newMemberCheck makes the check for a backup whose checksums are computed
// with a, and into which the server puts WAL if fetched says so.
func newMemberCheck(a manifest.Algorithm, fetched bool) *memberCheck {
	return &memberCheck{checker: manifest.NewChecker(a), checksum: a.New(), fetched: fetched}
}

// archive says which archive the members come from.
func (c *memberCheck) archive(t *Tablespace) {
	if c == nil {
		return
	}
	c.prefix = ""
	if !t.base() {
		c.prefix = t.link() + "/"
	}
}

// begin starts a member, under its clean name.
func (c *memberCheck) begin(name string, h *tarx.Header) {
	if c == nil {
		return
	}
	c.name, c.size = "", h.Size
	if h.Type == tarx.TypeFile && !(c.fetched && isWALSegment(c.prefix+name)) {
		c.name = c.prefix + name
	}
	if c.checksum != nil {
		c.checksum.Reset()
	}
}

// content takes the next bytes of the member.
func (c *memberCheck) content(p []byte) {
	if c != nil && c.checksum != nil {
		c.checksum.Write(p) // never fails
	}
}

// end notes the member.
func (c *memberCheck) end() error {
	if c == nil || c.name == "" {
		return nil
	}
	var sum []byte
	if c.checksum != nil {
		sum = c.checksum.Sum(nil)
	}
	return c.checker.Add(c.name, c.size, sum)
}

// isWALSegment tells whether a name of the base archive is that of WAL.
func isWALSegment(name string) bool {
	base, ok := strings.CutPrefix(name, "pg_wal/")
	return ok && logstream.IsSegmentName(base)
}
