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

// TestCombineShowsWhatItDid combines a single backup: a data directory with a
// label.
func TestCombineShowsWhatItDid(t *testing.T) {
	t.Parallel()
	c := pgtest.Require(t, 18).Init(t)
	label := "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\nSTART TIMELINE: 1\n"
	if err := os.WriteFile(filepath.Join(c.DataDir, "backup_label"), []byte(label), 0o600); err != nil {
		t.Fatal(err)
	}
	output := filepath.Join(t.TempDir(), "out")
	for _, test := range []struct {
		args  []string
		wants []string
		made  bool
	}{
		{[]string{"-n"}, []string{"pgbraid: would combine 1 backups into " + output, "PostgreSQL 18, starts at 0/2000028 on timeline 1"}, false},
		{[]string{"-N", "--json", "--link"}, []string{"pgbraid: combined 1 backups into " + output, "what changes it may destroy them"}, true},
	} {
		var out, errOut bytes.Buffer
		args := append([]string{"combine", "--no-manifest", "-o", output, c.DataDir}, test.args...)
		if err := run(context.Background(), args, &out, &errOut); err != nil {
			t.Fatal(err)
		}
		for _, want := range test.wants {
			if !strings.Contains(errOut.String(), want) {
				t.Errorf("%q: no %q in\n%s", test.args, want, errOut.String())
			}
		}
		if _, err := os.Stat(filepath.Join(output, "global", "pg_control")); (err == nil) != test.made {
			t.Errorf("%q: %v", test.args, err)
		}
		if !test.made {
			continue
		}
		var result combineResult
		if err := json.Unmarshal(out.Bytes(), &result); err != nil {
			t.Fatal(err)
		}
		if result.Directory != output || result.Major != 18 || result.StartLSN != "0/2000028" || result.StartTimeline != 1 ||
			result.Files < 900 || result.Rebuilt != 0 || result.Bytes < 1<<20 || len(result.SystemIdentifier) < 15 {
			t.Errorf("%+v", result)
		}
	}
}

func TestCombineUsage(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"":                                 "",
		"-o out":                           "<backup>",
		"in":                               "--output",
		"-o out in --link --clone":         "can't be used together",
		"-o out in -T x":                   "want OLDDIR=NEWDIR",
		"-o out in -P -q":                  "exclude each other",
		"-o out in --jobs=-1":              "number of jobs",
		"-o out in --sync-method=x":        "unrecognized sync method",
		"-o out in --manifest-checksums=x": "unrecognized checksum algorithm",
		"-o out in --manifest-checksums=NONE --no-manifest": "can't be used together",
	} {
		var out, errOut bytes.Buffer
		err := run(context.Background(), append([]string{"combine"}, strings.Fields(line)...), &out, &errOut)
		var usage *usageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", line, err, want)
		}
	}
	var out, errOut bytes.Buffer
	err := run(context.Background(), []string{"combine", "-o", filepath.Join(t.TempDir(), "out"), filepath.Join(t.TempDir(), "in")}, &out, &errOut)
	if exitCode(err) != ExitFailed {
		t.Errorf("%v", err)
	}
}
