package verify

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// neededDirs are the directories of a cluster that a server of the releases
// with manifests (13 and later) does not make anew, and that may have no file
// which the manifest lists. They are those of initdb (subdirs in
// src/bin/initdb/initdb.c) without pg_wal/archive_status and pg_wal/summaries,
// which each server makes when it starts (ValidateXLOGDirectoryStructure in
// src/backend/access/transam/xlog.c). Without most of them a server of 14 to
// 18 does not start. Without the others it starts, and fails later:
//
//	pg_dynshmem   it does not start with dynamic_shared_memory_type = mmap
//	pg_serial     where many serializable transactions are under way
//	pg_snapshots  in pg_export_snapshot
//	pg_stat       14 does not start; 15 and later keep no statistics
//	pg_stat_tmp   14 does not start; later pg_stat_statements needs it
var neededDirs = []string{
	"base", "global",
	"pg_commit_ts", "pg_dynshmem",
	"pg_logical", "pg_logical/mappings", "pg_logical/snapshots",
	"pg_multixact", "pg_multixact/members", "pg_multixact/offsets",
	"pg_notify", "pg_replslot", "pg_serial", "pg_snapshots",
	"pg_stat", "pg_stat_tmp", "pg_subtrans", "pg_tblspc", "pg_twophase",
	walName, "pg_xact",
}

// checkLayout reports the directories that a server needs and that are not
// there. Where the manifest lists files below one, that these are missing was
// said.
func (r *run) checkLayout(isThere func(name string) bool) {
	if r.o.AsPgVerifybackup {
		return
	}
	listed := map[string]bool{}
	for i := range r.table.entries {
		name := r.table.entries[i].path()
		for at := strings.LastIndexByte(name, '/'); at > 0; at = strings.LastIndexByte(name[:at], '/') {
			if listed[name[:at]] {
				break
			}
			listed[name[:at]] = true
		}
	}
	if !r.o.NoWAL && r.o.WAL == "" {
		listed[walName] = true // the log is looked for there, and told of
	}
	above := "" // what lies below a missing one is missing with it
	for _, name := range neededDirs {
		if listed[name] || r.asked(name) || above != "" && strings.HasPrefix(name, above+"/") || isThere(name) {
			continue
		}
		above = name
		r.problem(Problem{Kind: MissingDirectory, Path: name})
	}
}

// checkPlainLayout is checkLayout for a data directory.
func (r *run) checkPlainLayout() {
	r.checkLayout(func(name string) bool {
		info, err := os.Stat(filepath.Join(r.o.Directory, name))
		if err != nil {
			// What else the system refuses was said.
			return !errors.Is(err, fs.ErrNotExist)
		}
		return info.IsDir()
	})
}

// checkTarLayout is checkLayout for the archives of a set. A tablespace whose
// files nobody lists, since it has none, needs its archive too: the server
// makes a link to where it was unpacked.
func (r *run) checkTarLayout(archives []*archive) {
	var base *archive
	spaces, hasLog := map[string]bool{}, r.o.NoWAL || r.o.WAL != ""
	for _, a := range archives {
		switch {
		case a.log:
			hasLog = true // who unpacks it makes the directory
		case a.prefix == "":
			base = a
		default:
			spaces[strings.TrimSuffix(a.prefix, "/")] = true
		}
	}
	if base == nil || base.damaged.Load() {
		return // what it would have is not known
	}
	r.checkLayout(func(name string) bool {
		_, found := base.found.dirs[name]
		return found || name == walName && hasLog
	})
	if r.o.AsPgVerifybackup {
		return
	}
	for _, oid := range base.found.spaces {
		name := spacesName + "/" + oid
		if spaces[name] || r.asked(name) || r.lists(name+"/") {
			continue
		}
		r.problem(Problem{Kind: MissingDirectory, Path: name, Err: errors.New("there is no archive of this tablespace, which " + mapName + " names")})
	}
}

// lists tells whether the manifest has a file whose path begins so.
func (r *run) lists(prefix string) bool {
	for i := range r.table.entries {
		if strings.HasPrefix(r.table.entries[i].path(), prefix) {
			return true
		}
	}
	return false
}
