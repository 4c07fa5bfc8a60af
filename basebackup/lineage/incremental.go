package lineage

import (
	"path"
	"strings"
)

// IncrementalPrefix is what the name of a file begins with that holds only
// changed blocks.
const IncrementalPrefix = "INCREMENTAL."

// HasIncrementals tells whether names with the prefix mean that in a
// directory, named relative to the data directory: those of databases and
// global. Elsewhere they are names like any other.
func HasIncrementals(dir string) bool {
	parts := strings.Split(dir, "/")
	switch parts[0] {
	case "global":
		return len(parts) == 1
	case "base":
		return len(parts) == 2
	case "pg_tblspc":
		return len(parts) == 4 // pg_tblspc/OID/PG_17_202406281/5
	}
	return false
}

// CutIncremental gives the name of the file that an incremental file holds
// changes of. incremental is false for any other file. Both names are relative
// to the data directory.
func CutIncremental(name string) (of string, incremental bool) {
	dir, base := path.Split(name)
	rest, found := strings.CutPrefix(base, IncrementalPrefix)
	if !found || !HasIncrementals(strings.TrimSuffix(dir, "/")) {
		return name, false
	}
	return dir + rest, true
}
