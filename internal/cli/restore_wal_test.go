package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pgbraid/pgbraid/logstream"
)

// A server takes codes up to 125 for "not there", goes on at 143, and ends its
// recovery at others: no fault may have one of the first kind.
func TestRestoreWALsExitCodesAreWhatAServerExpects(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	history := []byte("1\t0/5000100\tno recovery target specified\n")
	for name, content := range map[string][]byte{"00000002.history": history, "00000003.history": nil} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ended, end := context.WithCancelCause(t.Context())
	end(&interrupted{syscall.SIGTERM})
	segment := "000000010000000000000005"
	target := filepath.Join(t.TempDir(), "x")
	for args, want := range map[string]int{
		"-D " + dir + " 00000002.history " + target:    ExitDone,
		"-v -D " + dir + " 00000002.history " + target: ExitDone,
		"-D " + dir + " 00000003.history " + target:    ExitFault,
		"-D " + dir + " 00000004.history " + target:    ExitFailed,
		"-D " + dir + " " + segment + " " + target:     ExitFailed,
		"-v -D " + dir + " " + segment + " " + target:  ExitFailed,
		"-D " + dir + "/no " + segment + " " + target:  ExitFault,
		"-D " + dir + " ../" + segment + " " + target:  ExitFault,
		"-D " + dir + " " + segment:                    ExitFault,
		segment + " " + target:                         ExitFault,
		"--nonsense -D " + dir + " a b":                ExitFault,
	} {
		var out, errOut bytes.Buffer
		err := run(t.Context(), append([]string{restoreWALName}, strings.Fields(args)...), &out, &errOut)
		if got := exitCode(err); got != want {
			t.Errorf("%s: exit code %d, want %d: %v", args, got, want, err)
		}
		if said := errOut.Len() > 0; said != strings.HasPrefix(args, "-v") || out.Len() > 0 {
			t.Errorf("%s: %q, %q", args, out.String(), errOut.String())
		}
	}
	if ExitFault <= 125 || ExitFault > 255 {
		t.Errorf("the code for a fault is %d", ExitFault)
	}
	_, err := logstream.RestoreWAL(ended, dir, "00000002.history", target, logstream.RestoreOptions{})
	if got := exitCode(&faultError{err}); got != 143 {
		t.Errorf("ended by SIGTERM: exit code %d, %v", got, err)
	}
}

func TestStatusNamesOnlyAFewOfManyFaults(t *testing.T) {
	t.Parallel()
	i := &logstream.Inventory{SegmentSize: 1 << 24}
	for n := range logstream.SegmentNumber(5000) {
		i.Holes = append(i.Holes, logstream.SegmentRange{Timeline: 1, First: 2*n + 2, Last: 2*n + 2})
		i.Bad = append(i.Bad, logstream.BadFile{Name: "x", Err: context.Canceled})
	}
	text := statusText("/wal", i, i.LastCommit)
	if strings.Count(text, "\n") > 60 || !strings.Contains(text, "hole: and 4980 more\n") || !strings.Contains(text, "bad: and 4980 more\n") {
		t.Error(text)
	}
}
