// Package pgdata knows what a directory is that a cluster, or a copy of one, is
// put into: whose it is, what lies within what, whether there is room.
//
//	claim, err := pgdata.Directory{What: "data directory", Path: path, Mode: 0o700}.Claim()
//	...
//	claim.Undo()  // or claim.Release()
//
// A claimed directory is this run's alone, until the run or its process ends.
// Undo removes what was made in it through package durable, and nothing else:
// what the run found is there afterwards as it was.
package pgdata

import (
	"io/fs"
	"log/slog"
)

// Directory is one that is to be filled.
type Directory struct {
	// What it is, such as "data directory".
	What string
	// Path of the directory. It may lead through links.
	Path string
	// Mode that it gets if it is made. Directories above it that are made get
	// the one that the user's mask leaves, as mkdir -p has it.
	Mode fs.FileMode
	// Private has one that is there closed to others, if it is not: a server
	// starts in no other (PostgreSQL manual, "Creating a Database Cluster").
	Private bool
	// Log gets what a person should know; nil discards it.
	Log *slog.Logger
}

func (d *Directory) log() *slog.Logger {
	if d.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return d.Log
}

// What a server accepts as the mode of its data directory (checkDataDir in
// src/backend/utils/init/miscinit.c): nothing for others, no writing for the
// group.
const (
	ownerRights = 0o700
	notAccepted = 0o027
)

// Temporary begins the names of files in a data directory that are not complete.
// No source has such names: a server leaves them out of base backups, as files
// of its own that are (PG_TEMP_FILE_PREFIX in src/backend/backup/basebackup.c).
const Temporary = "pgsql_tmp.pgbraid."
