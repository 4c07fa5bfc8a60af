//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// row is one thing that both tools can do.
type row struct {
	name, title string
	// stock is the name of PostgreSQL's own tool.
	stock string
	// rate says that the figure is commits a second, of which more is better,
	// and not seconds.
	rate bool
	// begin makes what the row needs, and tells how to run either tool once.
	begin func(b *bench) (*runner, error)
}

// runner runs the tools of a row.
type runner struct {
	// data are the directories that are read: they are brought into the page
	// cache before each run.
	data []string
	// once runs pgbraid or the stock tool one time. out does not exist, and is
	// removed afterwards.
	once func(ours bool, out string) (sample, error)
	// keeps says that what the tools wrote stays until the row is done: ext4
	// does not use the numbers of files again that were removed minutes ago, and
	// takes long to look past a hundred thousand of them.
	keeps bool
	// end is called when the row is done; it may be nil.
	end func() error
}

// rows are all of them, in the order in which they are measured.
var rows = []*row{
	backupRow("clone", "clone: files, as a standby", []string{"clone"}, []string{"-R"}),
	backupRow("plain", "backup: files", []string{"backup"}, nil),
	backupRow("plain-nosync", "backup: files, -N", []string{"backup"}, nil, "-N"),
	backupRow("tar-nosync", "backup: tar, -N", []string{"backup"}, nil, "-F", "tar", "-N"),
	backupRow("tar-gzip", "backup: tar, gzip 1 by the client", []string{"backup"}, nil, "-F", "tar", "-Z", "client-gzip:1"),
	backupRow("tar-zstd", "backup: tar, zstd 3 by the client", []string{"backup"}, nil, "-F", "tar", "-Z", "client-zstd:3"),
	backupRow("plain-server-zstd", "backup: files, zstd 3 by the server", []string{"backup"}, nil, "-Z", "server-zstd:3"),
	backupRow("plain-server-lz4", "backup: files, lz4 by the server", []string{"backup"}, nil, "-Z", "server-lz4"),
	{name: "tables", title: "backup: many small tables", stock: "pg_basebackup", begin: func(b *bench) (*runner, error) {
		r, err := b.backups(fmt.Sprintf("tables%d", b.tables), fillTables(b.tables), []string{"backup"}, nil)
		if err == nil {
			r.keeps = true
		}
		return r, err
	}},
	{name: "receive", title: "receive: catching up", stock: "pg_receivewal", begin: (*bench).catchUp},
	{name: "synchronous-1", title: "receive --synchronous: 1 client", stock: "pg_receivewal", rate: true,
		begin: func(b *bench) (*runner, error) { return b.commits(1) }},
	{name: "synchronous-8", title: "receive --synchronous: 8 clients", stock: "pg_receivewal", rate: true,
		begin: func(b *bench) (*runner, error) { return b.commits(8) }},
	{name: "verify", title: "verify a backup in files", stock: "pg_verifybackup", begin: (*bench).verify},
}

func rowNames() []string {
	var names []string
	for _, r := range rows {
		names = append(names, r.name)
	}
	return names
}

func rowNamed(name string) *row {
	for _, r := range rows {
		if r.name == name {
			return r
		}
	}
	return nil
}

// backupRow copies pgbench's cluster. Options of both come last.
func backupRow(name, title string, ours, stock []string, both ...string) *row {
	return &row{name: name, title: title, stock: "pg_basebackup", begin: func(b *bench) (*runner, error) {
		return b.backups(fmt.Sprintf("pgbench%d", b.scale), fillPgbench(b.scale), ours, stock, both...)
	}}
}

func (b *bench) backups(cluster string, fill func(*server) error, ours, stock []string, both ...string) (*runner, error) {
	s, err := b.kept(cluster, fill)
	if err != nil {
		return nil, err
	}
	return &runner{
		data: []string{s.data},
		once: func(isOurs bool, out string) (sample, error) {
			name, args := filepath.Join(b.bin, "pg_basebackup"), stock
			if isOurs {
				name, args = b.pgbraid, ours
			}
			args = append(append([]string{}, args...), "-D", out, "-c", "fast")
			args = append(append(args, s.connection()...), both...)
			m, err := b.timed(name, args...)
			if err != nil {
				return m, err
			}
			// What was not made took no time.
			if _, err := os.Stat(filepath.Join(out, "backup_manifest")); err != nil {
				return m, fmt.Errorf("%s: there is no backup: %w", filepath.Base(name), err)
			}
			return m, nil
		},
		end: s.stop,
	}, nil
}

// verify holds a backup of pgbench's cluster against its manifest.
func (b *bench) verify() (*runner, error) {
	s, err := b.kept(fmt.Sprintf("pgbench%d", b.scale), fillPgbench(b.scale))
	if err != nil {
		return nil, err
	}
	backup := filepath.Join(b.work, "verified")
	args := append([]string{"-D", backup, "-c", "fast", "-N"}, s.connection()...)
	_, err = b.tool("pg_basebackup", args...)
	if err := errors.Join(err, s.stop()); err != nil {
		return nil, err
	}
	return &runner{
		data: []string{backup},
		once: func(ours bool, _ string) (sample, error) {
			if ours {
				return b.timed(b.pgbraid, "verify", backup)
			}
			return b.timed(filepath.Join(b.bin, "pg_verifybackup"), backup)
		},
		end: func() error { return os.RemoveAll(backup) },
	}, nil
}
