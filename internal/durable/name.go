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
	err := os.Mkdir(path, mode)
	if err == nil {
		made(path)
	}
	return err
}

// MkdirIn is root.Mkdir.
func MkdirIn(root *os.Root, name string, mode fs.FileMode) error {
	path := inRoot(root, name)
	if err := refused(Change{Op: OpMkdir, Path: path}); err != nil {
		return err
	}
	err := root.Mkdir(name, mode)
	if err == nil {
		made(path)
	}
	return err
}

// Symlink is os.Symlink.
func Symlink(to, path string) error {
	if err := refused(Change{Op: OpSymlink, Path: path, To: to}); err != nil {
		return err
	}
	err := os.Symlink(to, path)
	if err == nil {
		made(path)
	}
	return err
}

// SymlinkIn is root.Symlink.
func SymlinkIn(root *os.Root, to, name string) error {
	path := inRoot(root, name)
	if err := refused(Change{Op: OpSymlink, Path: path, To: to}); err != nil {
		return err
	}
	err := root.Symlink(to, name)
	if err == nil {
		made(path)
	}
	return err
}

// LinkFile is os.Link. A Watcher does not see it: it changes no file.
func LinkFile(from, path string) error {
	err := os.Link(from, path)
	if err == nil {
		made(path)
	}
	return err
}

// RemoveAll is os.RemoveAll.
func RemoveAll(path string) error {
	if err := refused(Change{Op: OpRemove, Path: path}); err != nil {
		return err
	}
	err := os.RemoveAll(path)
	if err == nil {
		removed(path)
	}
	return err
}

// Remove is os.Remove.
func Remove(path string) error {
	if err := refused(Change{Op: OpRemove, Path: path}); err != nil {
		return err
	}
	err := os.Remove(path)
	if err == nil {
		removed(path)
	}
	return err
}

// RemoveIn is root.Remove.
func RemoveIn(root *os.Root, name string) error {
	path := inRoot(root, name)
	if err := refused(Change{Op: OpRemove, Path: path}); err != nil {
		return err
	}
	err := root.Remove(name)
	if err == nil {
		removed(path)
	}
	return err
}

// RenameOnly is os.Rename: the name is not made durable.
func RenameOnly(from, to string) error {
	if err := refused(Change{Op: OpRename, Path: from, To: to}); err != nil {
		return err
	}
	err := os.Rename(from, to)
	if err == nil {
		renamed(from, to)
	}
	return err
}

// RenameIn is root.Rename: the name is not made durable.
func RenameIn(root *os.Root, from, to string) error {
	if err := refused(Change{Op: OpRename, Path: inRoot(root, from), To: inRoot(root, to)}); err != nil {
		return err
	}
	err := root.Rename(from, to)
	if err == nil {
		renamed(inRoot(root, from), inRoot(root, to))
	}
	return err
}
