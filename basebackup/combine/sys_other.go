//go:build !linux && !darwin

package combine

import (
	"errors"
	"os"
)

const (
	hasClone     = false
	hasCopyRange = false
)

// cloneFile is not to be had on this system.
func cloneFile(string, *os.File, func(string) (*os.File, error)) error { return errors.ErrUnsupported }

// copyFileRange is not to be had on this system.
func copyFileRange(_, _ *os.File, _, _ int64) (int64, error) { return 0, errors.ErrUnsupported }
