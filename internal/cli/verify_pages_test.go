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

	"github.com/pgbraid/pgbraid/basebackup/verify"
	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// TestVerifyShowsPages has the pages of a good backup checked, of one with a
// damaged page, and of a cluster without checksums.
func TestVerifyShowsPages(t *testing.T) {
	t.Parallel()
	do := func(args ...string) (out, said string, err error) {
		t.Helper()
		var a, b bytes.Buffer
		err = run(context.Background(), args, &a, &b)
		return a.String(), b.String(), err
	}
	backup := func(name string, opts ...pgtest.Option) string {
		t.Helper()
		c := pgtest.Newest(t).Init(t, opts...)
		c.Start(t)
		dir := filepath.Join(pgtest.TempDir(t), name)
		if _, said, err := do("backup", "-N", "-q", "-c", "fast", "--manifest-checksums=NONE", "-d", c.ConnString(), "-D", dir); err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		return dir
	}
	dir := backup("good")
	out, said, err := do("verify", "--pages", dir)
	if err != nil || !strings.Contains(out, ": good\n") || !strings.Contains(out, "\n  pages              ") {
		t.Fatalf("%v\n%s%s", err, out, said)
	}
	name := filepath.Join(dir, "base", "1", "1255")
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	content[9000] ^= 1
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	out, _, err = do("verify", "--pages", dir)
	if !errors.Is(err, errNotGood) || !strings.Contains(out, ", 1 DAMAGED\n") || !strings.Contains(out, "\ndamaged pages: base/1/1255: block 1\n") {
		t.Errorf("%v\n%s", err, out)
	}
	out, _, err = do("verify", "--pages", "--json", dir)
	var result verifyResult
	if !errors.Is(err, errNotGood) || json.Unmarshal([]byte(out), &result) != nil || result.Pages == nil || result.Pages.Damaged != 1 || result.Pages.Pages < 500 {
		t.Errorf("%v\n%s", err, out)
	}
	if out, _, err = do("verify", dir); err != nil || strings.Contains(out, "pages") {
		t.Errorf("%v\n%s", err, out)
	}
	out, _, err = do("verify", "--pages", backup("without", pgtest.NoChecksums()))
	if !errors.Is(err, verify.ErrNoPageChecksums) || exitCode(err) != ExitFailed || out != "" {
		t.Errorf("%v\n%s", err, out)
	}
}
