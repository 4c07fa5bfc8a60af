package durable

import "errors"

// ErrLocked says that somebody else has a lock.
var ErrLocked = errors.New("locked by another process")
