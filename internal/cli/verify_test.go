package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// TestVerifyShowsThePictureFirst takes a backup and verifies it, whole and
// broken.
func TestVerifyShowsThePictureFirst(t *testing.T) {
	t.Parallel()
	c := pgtest.Newest(t).Init(t)
	c.Start(t)
	dir := filepath.Join(pgtest.TempDir(t), "backup")
	do := func(args ...string) (out, errOut string, err error) {
		t.Helper()
		var a, b bytes.Buffer
		err = run(context.Background(), args, &a, &b)
		return a.String(), b.String(), err
	}
	if _, said, err := do("backup", "-N", "-q", "-c", "fast", "-d", c.ConnString(), "-D", dir); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	out, said, err := do("verify", dir)
	if err != nil || !strings.HasPrefix(out, "backup "+dir+": good\n") || !strings.Contains(out, "[##############################] ") ||
		!strings.Contains(out, ": good, ") || strings.Contains(out, "mismatch") {
		t.Fatalf("%v\n%s%s", err, out, said)
	}
	if out, said, err := do("verify", "-q", dir); err != nil || out+said != "" {
		t.Errorf("%v\n%s%s", err, out, said)
	}
	name := filepath.Join(dir, "base", "1", "1255")
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	content[9000] ^= 1
	if err := errors.Join(os.WriteFile(name, content, 0o600), os.Remove(filepath.Join(dir, "PG_VERSION"))); err != nil {
		t.Fatal(err)
	}
	out, _, err = do("verify", dir, "-j", "1")
	if !errors.Is(err, errNotGood) || exitCode(err) != ExitFailed {
		t.Errorf("got %v", err)
	}
	before := 0
	for _, want := range []string{": NOT GOOD\n", "#.] ", "missing file       1\n", "checksum mismatch  1\n", "\n\nmissing file: PG_VERSION\n", "\nchecksum mismatch: base/1/1255\n"} {
		at := strings.Index(out, want)
		if at < before {
			t.Fatalf("no %q in its place in\n%s", want, out)
		}
		before = at
	}
	out, _, err = do("verify", "--json", "-n", dir)
	var result verifyResult
	if !errors.Is(err, errNotGood) || json.Unmarshal([]byte(out), &result) != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if result.Good || len(result.Problems) != 2 || result.Problems[1].Path != "base/1/1255" || result.Files-result.IgnoredFiles-result.GoodFiles != 2 ||
		len(result.Ranges) != 1 || result.Ranges[0].Good || !result.WALSkipped {
		t.Errorf("%+v", result)
	}
	if _, _, err := do("verify", "-i", "base/1", "-i", "PG_VERSION", dir); err != nil {
		t.Error(err)
	}
}

func TestVerifyUsage(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"":            "<backup>",
		"-F x d":      "unknown backup format",
		"-P -q d":     "exclude each other",
		"--jobs=-1 d": "number of jobs",
		"-n -w x d":   "can't be used together",
	} {
		var out, errOut bytes.Buffer
		err := run(context.Background(), append([]string{"verify"}, strings.Fields(line)...), &out, &errOut)
		var usage *usageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", line, err, want)
		}
	}
}
