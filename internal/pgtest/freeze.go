package pgtest

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Freeze stops all processes of the server where they stand, as a machine or a
// disk does that hangs: connections stay, new ones are accepted by the kernel,
// and nobody answers. They go on when thaw is called, or at the test's end.
func (c *Cluster) Freeze(t testing.TB) (thaw func()) {
	t.Helper()
	postmaster := c.proc.cmd.Process.Pid
	signal := func(sig syscall.Signal) {
		// The postmaster first: it must not start others meanwhile.
		for _, pid := range append([]int{postmaster}, children(t, postmaster)...) {
			_ = syscall.Kill(pid, sig) // it may have ended
		}
	}
	signal(syscall.SIGSTOP)
	thaw = func() { signal(syscall.SIGCONT) }
	t.Cleanup(thaw)
	return thaw
}

// children lists the processes whose parent is pid.
func children(t testing.TB, pid int) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Skipf("this test looks for processes: %v", err)
	}
	var list []int
	for _, e := range entries {
		child, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue // it has ended
		}
		// pid (name) state ppid …; the name may hold anything.
		_, rest, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
		if fields := strings.Fields(rest); len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			list = append(list, child)
		}
	}
	return list
}
