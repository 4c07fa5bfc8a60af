//go:build !windows

package progress

// capable tells whether a terminal of this TERM understands the few escapes
// that the bar needs. A terminal without a name is taken for a dumb one.
func capable(name string) bool {
	return name != "" && name != "dumb"
}
