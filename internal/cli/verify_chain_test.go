package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// TestVerifyTellsOfAChain takes a full backup and an incremental one.
func TestVerifyTellsOfAChain(t *testing.T) {
	t.Parallel()
	c := pgtest.Newest(t).Init(t, pgtest.Config("summarize_wal = on"))
	c.Start(t)
	root := pgtest.TempDir(t)
	full, incremental := filepath.Join(root, "full"), filepath.Join(root, "incremental")
	do := func(args ...string) (out, errOut string, err error) {
		t.Helper()
		var a, b bytes.Buffer
		err = run(context.Background(), args, &a, &b)
		return a.String(), b.String(), err
	}
	backup := []string{"backup", "-N", "-q", "-c", "fast", "-d", c.ConnString(), "-D"}
	if _, said, err := do(append(backup, full)...); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if _, said, err := do(append(backup, incremental, "-i", filepath.Join(full, "backup_manifest"))...); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	out, _, err := do("verify", "--json", full)
	var whole verifyResult
	if err != nil || json.Unmarshal([]byte(out), &whole) != nil || whole.Start == nil || whole.OnTopOf != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, _, err = do("verify", incremental)
	if want := "on top of the backup that starts at " + whole.Start.LSN + " on timeline 1; it cannot be restored without that\n"; err != nil || !strings.Contains(out, ": good\n") || !strings.Contains(out, want) {
		t.Errorf("%v, want %q in\n%s", err, want, out)
	}
	out, _, err = do("verify", full, incremental)
	if err != nil || strings.Count(out, ": good\n") != 2 || !strings.HasSuffix(out, "\nchain of 2 backups: fits\n") {
		t.Errorf("%v\n%s", err, out)
	}
	out, _, err = do("verify", "-q", full, incremental)
	if err != nil || out != "" {
		t.Errorf("%v\n%s", err, out)
	}
	out, _, err = do("verify", "-q", incremental, full)
	if !errors.Is(err, errNoChain) || exitCode(err) != ExitFailed || !strings.HasPrefix(out, "chain of 2 backups: DOES NOT FIT\n") || !strings.Contains(out, "\n  hint: ") {
		t.Errorf("%v\n%s", err, out)
	}
	out, _, err = do("verify", "--json", full, incremental, incremental)
	var result chainResult
	if !errors.Is(err, errNoChain) || json.Unmarshal([]byte(out), &result) != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if result.Good || len(result.Backups) != 3 || !result.Backups[2].Good || *result.Backups[1].OnTopOf != *whole.Start || len(result.Faults) == 0 {
		t.Errorf("%s", out)
	}
	if _, _, err := do("verify", "-n", full, filepath.Join(root, "nowhere")); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Error(err)
	}
	var usage *usageError
	if _, _, err := do("verify", "-m", "x", full, incremental); !errors.As(err, &usage) {
		t.Error(err)
	}
}
