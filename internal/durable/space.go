package durable

// Space is the room that a file system has.
type Space struct {
	// Device tells file systems apart.
	Device uint64
	// Free is how many bytes this process may still write.
	Free int64
	// Certain says that a file takes at least the room of its bytes. A file
	// system that compresses, or one of another machine that may, holds more
	// than its free bytes.
	Certain bool
}
