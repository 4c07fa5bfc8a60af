//go:build !linux && !darwin

package combine

import (
	"errors"
	"os"

	"github.com/pgbraid/pgbraid/internal/durable"
)

const hasClone = false

// cloneFile is not to be had on this system.
func cloneFile(string, *os.File, func(string) (*durable.File, error)) error {
	return errors.ErrUnsupported
}
