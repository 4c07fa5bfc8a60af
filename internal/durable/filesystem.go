package durable

import "os"

// FileSystem is one that is to be made durable as a whole, when everything was
// written to it.
//
// It must be opened before the first write. What the kernel could not write
// later on is told by the next Sync of each FileSystem that was open then; one
// that is opened later hears of it only if nobody was told before (syncfs(2),
// Linux 5.8 and later; before, no failure is told).
type FileSystem struct {
	dir  *os.File
	path string
}

// OpenFileSystem opens the file system that holds path. It does not keep path
// from being removed.
func OpenFileSystem(path string) (*FileSystem, error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return &FileSystem{dir, path}, nil
}

// Sync makes all of the file system durable.
func (f *FileSystem) Sync() error {
	if err := refused(Change{Op: OpSyncFS, Path: f.path}); err != nil {
		return err
	}
	if err := syncfs(f.dir); err != nil {
		return &os.PathError{Op: "syncfs", Path: f.path, Err: err}
	}
	return nil
}

// Close lets go of it. Nothing was written through it: there is no error that
// could tell of something lost.
func (f *FileSystem) Close() { _ = f.dir.Close() }
