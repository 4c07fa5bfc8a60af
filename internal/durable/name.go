package durable

import (
	"io/fs"
	"os"
	"path/filepath"
)

// inRoot is the path of a name in a root.
func inRoot(root *os.Root, name string) string { return filepath.Join(root.Name(), name) }

// Mkdir is os.Mkdir.
func Mkdir(path string, mode fs.FileMode) error {
	if err := refused(Change{Op: OpMkdir, Path: path}); err != nil {
		return err
	}
	return os.Mkdir(path, mode)
}

// MkdirIn is root.Mkdir.
func MkdirIn(root *os.Root, name string, mode fs.FileMode) error {
	if err := refused(Change{Op: OpMkdir, Path: inRoot(root, name)}); err != nil {
		return err
	}
	return root.Mkdir(name, mode)
}

// Symlink is os.Symlink.
func Symlink(to, path string) error {
	if err := refused(Change{Op: OpSymlink, Path: path, To: to}); err != nil {
		return err
	}
	return os.Symlink(to, path)
}

// SymlinkIn is root.Symlink.
func SymlinkIn(root *os.Root, to, name string) error {
	if err := refused(Change{Op: OpSymlink, Path: inRoot(root, name), To: to}); err != nil {
		return err
	}
	return root.Symlink(to, name)
}

// RemoveAll is os.RemoveAll.
func RemoveAll(path string) error {
	if err := refused(Change{Op: OpRemove, Path: path}); err != nil {
		return err
	}
	return os.RemoveAll(path)
}

// Remove is os.Remove.
func Remove(path string) error {
	if err := refused(Change{Op: OpRemove, Path: path}); err != nil {
		return err
	}
	return os.Remove(path)
}

// RenameOnly is os.Rename: the name is not made durable.
func RenameOnly(from, to string) error {
	if err := refused(Change{Op: OpRename, Path: from, To: to}); err != nil {
		return err
	}
	return os.Rename(from, to)
}
