package progress

// capable: the Windows console sets no TERM; only an explicit dumb counts.
func capable(name string) bool {
	return name != "dumb"
}
