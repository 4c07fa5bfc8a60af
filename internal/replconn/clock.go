package replconn

import "time"

var begun = time.Now()

// Monotonic is the present moment in nanoseconds, counted from some moment of
// this process and never 0. Setting the machine's clock does not move it.
func Monotonic() int64 { return int64(time.Since(begun)) + 1 }
