package verify

import (
	"os"

	"golang.org/x/sys/unix"
)

// readAhead tells the kernel that the file will be read from one end to the
// other. It is advice only, so a refusal changes nothing.
func readAhead(f *os.File) {
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_SEQUENTIAL)
}
