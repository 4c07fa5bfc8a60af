//go:build unix

package conninfo

import (
	"io/fs"
	"syscall"
)

// forbiddenKeyMode are the permissions that the file of a private key must not
// have: root may let a group read it, so that it can be one of several services.
func forbiddenKeyMode(info fs.FileInfo) fs.FileMode {
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid == 0 {
		return 0o037
	}
	return 0o077
}
