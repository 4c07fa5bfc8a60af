//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// bench is one run.
//
//	dir/clusters/      clusters that are made once: kept
//	dir/run-<random>/  what tools write, and clusters for one row: removed
//	/tmp/pgbraid-bench-<random>/  the sockets: their paths must be short; removed
type bench struct {
	options
	ctx     context.Context
	account account
	work    string // dir/run-<random>
	sockets string
	lock    *os.File // on dir: one run at a time
	servers []*server
}

func prepare(ctx context.Context, o options) (*bench, error) {
	b := &bench{options: o, ctx: ctx}
	var err error
	if b.account, err = serverAccount(); err != nil {
		return nil, err
	}
	for _, path := range []*string{&b.pgbraid, &b.bin, &b.dir} {
		if *path, err = filepath.Abs(*path); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{"initdb", "postgres", "psql", "pgbench", "pg_basebackup", "pg_receivewal", "pg_verifybackup"} {
		if _, err := os.Stat(filepath.Join(b.bin, name)); err != nil {
			return nil, fmt.Errorf("no %s: all programs of one release are needed in one directory: %w", name, err)
		}
	}
	if err := b.makeDirectories(); err != nil {
		return nil, errors.Join(err, b.clean())
	}
	if !b.account.reaches(b.work, b.pgbraid, "--version") {
		return nil, errors.Join(fmt.Errorf("the user whom servers run as cannot run %s in %s: give -dir and a program that it reaches", b.pgbraid, b.work), b.clean())
	}
	return b, nil
}

func (b *bench) makeDirectories() error {
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(b.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	b.lock = lock
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("%s: another run is using it", b.dir)
	}
	// What a killed run left; nobody else is using it.
	left, _ := filepath.Glob(filepath.Join(b.dir, "run-*"))
	for _, dir := range left {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	if err := b.account.mkdir(filepath.Join(b.dir, "clusters")); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if b.work, err = b.temporary(b.dir, "run-*"); err != nil {
		return err
	}
	b.sockets, err = b.temporary("/tmp", "pgbraid-bench-*")
	return err
}

// temporary makes a directory of the account's.
func (b *bench) temporary(parent, pattern string) (string, error) {
	dir, err := os.MkdirTemp(parent, pattern)
	if err == nil && b.account.other {
		err = os.Chown(dir, b.account.uid, b.account.gid)
	}
	return dir, err
}

// clean stops the servers and removes all that is not kept.
func (b *bench) clean() error {
	var errs []error
	for _, s := range b.servers {
		errs = append(errs, s.stop())
	}
	for _, dir := range []string{b.work, b.sockets} {
		if dir != "" {
			errs = append(errs, os.RemoveAll(dir))
		}
	}
	if b.lock != nil {
		errs = append(errs, b.lock.Close())
	}
	return errors.Join(errs...)
}

// settle waits until all that was written to the file system of the clusters
// and backups is on the disk.
func (b *bench) settle() error {
	dir, err := os.Open(b.work)
	if err != nil {
		return err
	}
	defer dir.Close()
	return unix.Syncfs(int(dir.Fd()))
}

// tool runs one of PostgreSQL's programs, whose output matters only if it
// fails.
func (b *bench) tool(name string, args ...string) (string, error) {
	out, err := b.account.command(b.ctx, b.work, syscall.SIGKILL, filepath.Join(b.bin, name), args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return string(out), nil
}
