package durable

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// File is a file that is written to. All that a backup or an archive consists
// of is written through one, so that Watch sees it.
type File struct {
	*os.File
	path string
}

// Path is the name that the file was made under, or opened by.
func (f *File) Path() string { return f.path }

// OpenFile is os.OpenFile.
func OpenFile(path string, flag int, mode fs.FileMode) (*File, error) {
	f := &File{path: path}
	if err := refused(Change{Op: OpOpen, File: f, Path: path, Flag: flag}); err != nil {
		return nil, err
	}
	isNew := isNew(flag, func() error { _, err := os.Lstat(path); return err })
	var err error
	if f.File, err = os.OpenFile(path, flag, mode); err != nil {
		return nil, err
	}
	if isNew {
		made(path)
	}
	return f, nil
}

// isNew tells whether opening a file with a flag makes its name, if it
// succeeds and there is anyone to note it.
func isNew(flag int, lstat func() error) bool {
	switch {
	case recorders() == nil || flag&os.O_CREATE == 0 || Change{Flag: flag}.Unnamed():
		return false
	case flag&os.O_EXCL != 0:
		return true
	}
	return errors.Is(lstat(), fs.ErrNotExist)
}

// OpenFileIn is root.OpenFile.
func OpenFileIn(root *os.Root, name string, flag int, mode fs.FileMode) (*File, error) {
	f := &File{path: inRoot(root, name)}
	if err := refused(Change{Op: OpOpen, File: f, Path: f.path, Flag: flag}); err != nil {
		return nil, err
	}
	isNew := isNew(flag, func() error { _, err := root.Lstat(name); return err })
	var err error
	if f.File, err = root.OpenFile(name, flag, mode); err != nil {
		return nil, err
	}
	if isNew {
		made(f.path)
	}
	return f, nil
}

// Write implements io.Writer.
func (f *File) Write(p []byte) (n int, err error) {
	if !watched() {
		return f.File.Write(p)
	}
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, err
	}
	return writeAllowed(Change{Op: OpWrite, File: f, Path: f.path, Offset: at, Data: p}, f.File.Write)
}

// WriteString implements io.StringWriter.
func (f *File) WriteString(s string) (n int, err error) { return f.Write([]byte(s)) }

// ReadFrom implements io.ReaderFrom: what is copied is written like all else.
func (f *File) ReadFrom(r io.Reader) (int64, error) {
	if !watched() {
		return f.File.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{f}, r)
}

// WriteAt implements io.WriterAt.
func (f *File) WriteAt(p []byte, offset int64) (n int, err error) {
	if !watched() {
		return f.File.WriteAt(p, offset)
	}
	return writeAllowed(Change{Op: OpWrite, File: f, Path: f.path, Offset: offset, Data: p},
		func(p []byte) (int, error) { return f.File.WriteAt(p, offset) })
}

// Truncate gives the file a length in bytes.
func (f *File) Truncate(size int64) error {
	if err := refused(Change{Op: OpResize, File: f, Path: f.path, Offset: size}); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

// Sync makes the file durable, but not its name.
func (f *File) Sync() error {
	if err := refused(Change{Op: OpSync, File: f, Path: f.path}); err != nil {
		return err
	}
	return f.File.Sync()
}

// Close closes the file, whatever it returns. A file system may say only now
// that it could not keep what was written.
func (f *File) Close() error {
	err := refused(Change{Op: OpClose, File: f, Path: f.path})
	if e := f.File.Close(); err == nil {
		err = e
	}
	return err
}
