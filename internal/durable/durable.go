// Package durable writes files that survive a crash: data fsynced, then the
// name. A file is finished when it is durable under its last name.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// SyncDir makes the names in a directory durable.
func SyncDir(dir string) error {
	if err := refused(Change{Op: OpSyncDir, Path: dir}); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	// Nothing was written through this descriptor: closing it cannot lose
	// anything.
	_ = d.Close()
	if err != nil {
		return fmt.Errorf("fsync of directory: %w", err)
	}
	return nil
}

// Rename gives a file its last name and makes that durable. The file's data
// must have been fsynced before.
func Rename(from, to string) error {
	if err := RenameOnly(from, to); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(to))
}

// WriteFile makes a file with the given content appear under its name whole
// or not at all: it is written under a temporary name beside it and renamed.
// With sync it is durable when WriteFile returns.
func WriteFile(path string, content []byte, mode fs.FileMode, sync bool) (err error) {
	temporary := path + ".tmp"
	f, err := OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = Remove(temporary)
		}
	}()
	_, err = f.Write(content)
	if err == nil && sync {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if !sync {
		return RenameOnly(temporary, path)
	}
	return Rename(temporary, path)
}

// ZeroFill makes a file size bytes long by writing zeros behind what it has.
func ZeroFill(f *File, size int64) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	zeros := make([]byte, gather)
	for at := info.Size(); at < size; {
		n, err := f.WriteAt(zeros[:min(int64(len(zeros)), size-at)], at)
		if err != nil {
			return err
		}
		at += int64(n)
	}
	return nil
}
