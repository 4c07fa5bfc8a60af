//go:build !linux

package durable

import (
	"errors"
	"io/fs"
	"os"
)

// Allocate gives a new file its length.
func Allocate(f *File, size int64) error { return f.Truncate(size) }

// SyncData makes a file's bytes durable.
func SyncData(f *File) error { return f.Sync() }

// Unnamed is not to be had on this system.
func Unnamed(string, fs.FileMode) (*File, error) { return nil, errors.ErrUnsupported }

const unnamedFlag = 0

// Link is not to be had on this system.
func Link(*File, string) error { return errors.ErrUnsupported }

// HasCopyRange tells whether this system's kernel can copy between files.
const HasCopyRange = false

// CopyRange is not to be had on this system.
func CopyRange(*File, *os.File, int64, int64) (int64, error) { return 0, errors.ErrUnsupported }

func startWriteBack(*File, int64, int64) {}

// HasSyncFS tells whether this system can sync a whole file system.
const HasSyncFS = false

func syncfs(*os.File) error { return errors.ErrUnsupported }

// hasDirect tells whether this system can write past the page cache.
const hasDirect = false

func setDirect(*File, bool) bool { return false }
