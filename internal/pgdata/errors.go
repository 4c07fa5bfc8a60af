package pgdata

import "fmt"

// NotEmptyError says that a directory to be filled holds something already.
type NotEmptyError struct {
	What, Path string
	Holds      string // one of the names in it
}

func (e *NotEmptyError) Error() string {
	return fmt.Sprintf("%s %q exists but is not empty", e.What, e.Path)
}

// Hint is advice for the person who sees the error.
func (e *NotEmptyError) Hint() string {
	if e.Holds == "lost+found" {
		return "It holds lost+found: a mount point, most likely. Give a directory below it."
	}
	return "Remove or empty it, or give another one. Nothing in it was touched."
}

// InUseError says that another run fills a directory at this moment.
type InUseError struct{ What, Path string }

func (e *InUseError) Error() string {
	return fmt.Sprintf("%s %q is being filled by another run", e.What, e.Path)
}

// Hint is advice for the person who sees the error.
func (e *InUseError) Hint() string {
	return "Wait for that one to end, or give another directory. Nothing in it was touched."
}

// DanglingError says that a directory, or one above it, is a link to what is
// not there.
type DanglingError struct{ What, Path, Link, To string }

func (e *DanglingError) Error() string {
	which := fmt.Sprintf("%s %q", e.What, e.Path)
	if e.Link != e.Path {
		which += fmt.Sprintf(": %q", e.Link)
	}
	return fmt.Sprintf("%s is a symbolic link to %q, which does not exist", which, e.To)
}

// Hint is advice for the person who sees the error.
func (e *DanglingError) Hint() string {
	return "Is the file system mounted that it leads to? If it is, make the directory there, or remove the link."
}

// OverlapError says that a directory lies in another one, or is the same.
type OverlapError struct {
	Inner, Outer Directory
	Same         bool
}

func (e *OverlapError) Error() string {
	how := "lies in"
	if e.Same {
		how = "is"
	}
	return fmt.Sprintf("%s %q %s the %s %q", e.Inner.What, e.Inner.Path, how, e.Outer.What, e.Outer.Path)
}

// Hint is advice for the person who sees the error.
func (e *OverlapError) Hint() string { return "Each needs a place of its own, outside of the others." }
