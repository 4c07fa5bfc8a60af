package pgpage

import (
	"strconv"
	"strings"
)

// incrementalPrefix is what the name of a file begins with that holds only
// changed pages.
const incrementalPrefix = "INCREMENTAL."

// Relation is a file of a relation.
type Relation struct {
	// Segment is its number: relations have files of a limited size.
	Segment uint32
	// Incremental says that it holds only changed pages, and their numbers.
	Incremental bool
}

// ParsePath tells whether a file, named relative to the data directory and
// with slashes, consists of pages: whether it belongs to a relation that is
// not temporary, of any fork (parse_filename_for_nontemp_relation in
// src/backend/storage/file/reinit.c). Others are pg_control, pg_filenode.map,
// PG_VERSION and pg_internal.init.
func ParsePath(name string) (Relation, bool) {
	slash := strings.LastIndexByte(name, '/')
	if slash < 0 || !hasRelations(name[:slash]) {
		return Relation{}, false
	}
	var r Relation
	base := name[slash+1:]
	base, r.Incremental = strings.CutPrefix(base, incrementalPrefix)
	base, segment, segmented := strings.Cut(base, ".")
	if segmented {
		var ok bool
		if r.Segment, ok = parseNumber(segment); !ok {
			return Relation{}, false
		}
	}
	number, fork, forked := strings.Cut(base, "_")
	if forked && fork != "fsm" && fork != "vm" && fork != "init" {
		return Relation{}, false
	}
	_, ok := parseNumber(number)
	return r, ok
}

// hasRelations tells whether a directory has files of relations: that of a
// database, or global.
func hasRelations(dir string) bool {
	if dir == "global" {
		return true
	}
	parts := strings.Split(dir, "/")
	switch {
	case len(parts) == 2 && parts[0] == "base":
	case len(parts) == 4 && parts[0] == "pg_tblspc" && strings.HasPrefix(parts[2], "PG_"):
	default:
		return false
	}
	database := parts[len(parts)-1]
	return database != "" && strings.Trim(database, "0123456789") == ""
}

// parseNumber reads a number as servers write it: not 0, and without zeros
// before it.
func parseNumber(text string) (uint32, bool) {
	if text == "" || text[0] < '1' || text[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err == nil
}
