//go:build !linux

package durable

import "errors"

// FreeSpace is not to be had on this system.
func FreeSpace(string) (Space, error) { return Space{}, errors.ErrUnsupported }
