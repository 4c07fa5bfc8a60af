//go:build !unix

package durable

import (
	"errors"
	"os"
)

// LockDir is not to be had on this system.
func LockDir(*os.File) error { return errors.ErrUnsupported }
