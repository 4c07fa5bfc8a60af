package combine

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// killedVariable makes TestMain a process that combines the directories in
// it, to be killed.
const killedVariable = "PGBRAID_TEST_COMBINE"

func TestMain(m *testing.M) {
	if dirs := os.Getenv(killedVariable); dirs != "" {
		list := strings.Split(dirs, "\n")
		_, err := Run(context.Background(), Options{Inputs: list[1:], Output: list[0]})
		fmt.Println(err)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestKilledRunLeavesNothingThatLooksWhole kills runs at several moments. As
// long as they had not finished, there is neither a pg_control, without which
// no server starts, nor a manifest, without which there is no backup.
func TestKilledRunLeavesNothingThatLooksWhole(t *testing.T) {
	t.Parallel()
	backups := threeBackups()
	for n := range 60 {
		backups[0].files[fmt.Sprintf("base/5/2%04d", n)] = bytes.Repeat(block(n), 64)
		backups[1].files[fmt.Sprintf("base/5/%s2%04d", incrementalPrefix, n)] = incremental(64, nil)
		backups[2].files[fmt.Sprintf("base/5/%s2%04d", incrementalPrefix, n)] = incremental(64, map[uint32][]byte{3: block(n + 1)})
	}
	root, dirs := written(t, backups...)
	halves := 0
	for n := range 25 {
		output := filepath.Join(root, fmt.Sprintf("out%d", n))
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), killedVariable+"="+strings.Join(append([]string{output}, dirs...), "\n"))
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// The first are killed when a number of files are there, which in
		// the last are more than there will be.
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
			entries, _ := os.ReadDir(filepath.Join(output, "base", "5"))
			if len(entries) > 3*n {
				break
			}
			if _, err := os.Stat(filepath.Join(output, manifestFile)); err == nil {
				break
			}
		}
		if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		_, control := os.Stat(filepath.Join(output, controlFile))
		_, whole := os.Stat(filepath.Join(output, manifestFile))
		switch {
		case whole == nil:
			mustVerify(t, output) // it was quicker
		case control == nil:
			// Killed between the last two renames: the result lacks
			// nothing but the manifest.
			if len(treeOf(t, output)) != len(treeOf(t, dirs[2])) {
				t.Errorf("%s: a pg_control, but not all files", output)
			}
		default:
			halves++
		}
	}
	if halves < 5 {
		t.Errorf("only %d runs were killed half-way", halves)
	}
}
