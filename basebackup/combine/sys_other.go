//go:build !linux && !darwin

package combine

import (
	"errors"
	"os"

	"github.com/pgbraid/pgbraid/internal/durable"
)

const (
	hasClone     = false
	hasCopyRange = false
)

// cloneFile is not to be had on this system.
func cloneFile(string, *os.File, func(string) (*durable.File, error)) error {
	return errors.ErrUnsupported
}

// copyFileRange is not to be had on this system.
func copyFileRange(_ *durable.File, _ *os.File, _, _ int64) (int64, error) {
	return 0, errors.ErrUnsupported
}
