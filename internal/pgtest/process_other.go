//go:build !linux

package pgtest

import "syscall"

// setParentDeathSignal does nothing: only Linux has such a signal. Elsewhere
// a server outlives a test process that is killed.
func setParentDeathSignal(*syscall.SysProcAttr, syscall.Signal) {}

// removeSharedMemory does nothing: the segment stays until the next start.
func removeSharedMemory(int) {}
