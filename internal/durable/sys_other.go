//go:build !linux

package durable

import "os"

// Allocate gives a new file its length.
func Allocate(f *os.File, size int64) error { return f.Truncate(size) }

// SyncData makes a file's bytes durable.
func SyncData(f *os.File) error { return f.Sync() }

func startWriteBack(*os.File, int64, int64) {}
