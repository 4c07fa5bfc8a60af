//go:build !unix

package conninfo

import "io/fs"

// forbiddenKeyMode is nothing: the modes of this system's files do not tell who
// may read them, and libpq does not look at them either.
func forbiddenKeyMode(fs.FileInfo) fs.FileMode { return 0 }
