package pgtest

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// childVariable makes the test binary start a cluster and wait to be killed.
const childVariable = "PGTEST_CHILD"

func TestChildThatWaitsToBeKilled(t *testing.T) {
	if os.Getenv(childVariable) == "" {
		return // not a test of its own
	}
	c := Newest(t).Init(t)
	c.Start(t)
	fmt.Printf("\nserver %d %s\n", c.proc.cmd.Process.Pid, c.dir)
	time.Sleep(time.Minute)
}

func TestNothingRunsOnAfterTheTestProcessIsKilled(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Log("only Linux ends the children of a killed process")
		return
	}
	child := exec.Command(os.Args[0], "-test.run=^TestChildThatWaitsToBeKilled$", "-test.v")
	child.Env = append(os.Environ(), childVariable+"=1")
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer child.Wait()
	defer child.Process.Kill()
	var pid int
	var dir string
	var text strings.Builder
	for buf := make([]byte, 4096); pid == 0; {
		n, err := out.Read(buf)
		text.Write(buf[:n])
		if _, line, found := strings.Cut(text.String(), "\nserver "); found && strings.Contains(line, "\n") {
			if _, err := fmt.Sscan(line, &pid, &dir); err != nil {
				t.Fatal(err)
			}
		}
		if err != nil && pid == 0 {
			t.Fatalf("the child ended: %v\n%s", err, text.String())
		}
	}
	if !alive(pid) {
		t.Fatalf("server %d does not run before the kill", pid)
	}
	if err := child.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); alive(pid); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			t.Fatalf("server %d outlives the process that started it", pid)
		}
	}
	_ = child.Wait()
	// The next process sweeps up what the killed one left.
	base, err := baseDir()
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		sweep(base) // another process may be at it, too
		if _, err := os.Stat(dir); err != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is left", dir)
		}
	}
}

// alive tells whether a process runs; one that only waits to be reaped does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}
