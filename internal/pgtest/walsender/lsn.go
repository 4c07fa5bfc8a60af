package walsender

import (
	"fmt"
	"strconv"
	"strings"
)

// LSN is a position in the write-ahead log, in bytes from its beginning.
type LSN uint64

// String gives the form that servers up to release 18 print, such as
// 0/2000028.
func (l LSN) String() string { return fmt.Sprintf("%X/%X", uint32(l>>32), uint32(l)) }

// padded is the form that servers from release 19 on print.
func (l LSN) padded() string { return fmt.Sprintf("%X/%08X", uint32(l>>32), uint32(l)) }

// parseLSN reads both forms.
func parseLSN(text string) (LSN, error) {
	high, low, _ := strings.Cut(text, "/")
	hi, err1 := strconv.ParseUint(high, 16, 32)
	lo, err2 := strconv.ParseUint(low, 16, 32)
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("invalid LSN %q", text)
	}
	return LSN(hi<<32 | lo), nil
}

// Position is an LSN and the timeline that it lies on.
type Position struct {
	LSN      LSN
	Timeline uint32
}

// SegmentName is the file name of the WAL segment that holds the byte at l,
// for segments of size bytes.
func SegmentName(timeline uint32, l LSN, size int64) string {
	n, per := uint64(l)/uint64(size), (1<<32)/uint64(size)
	return fmt.Sprintf("%08X%08X%08X", timeline, n/per, n%per)
}

// parseSize reads a setting such as 16MB, in bytes.
func parseSize(text string) (int64, error) {
	for unit, factor := range map[string]int64{"MB": 1 << 20, "GB": 1 << 30} {
		if number, ok := strings.CutSuffix(text, unit); ok {
			n, err := strconv.ParseInt(number, 10, 32)
			return n * factor, err
		}
	}
	return 0, fmt.Errorf("invalid size %q", text)
}
