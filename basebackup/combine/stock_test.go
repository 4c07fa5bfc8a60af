package combine_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/basebackup/combine"
	"github.com/pgbraid/pgbraid/basebackup/manifest"
	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// run runs a program of PostgreSQL's.
func run(t *testing.T, program string, args ...string) (code int, output string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, _ := cmd.CombinedOutput()
	return cmd.ProcessState.ExitCode(), string(out)
}

// mustBeStock combines the chain with pg_combinebackup too, in every way, and
// compares the two directories byte by byte. Both manifests list the same
// files with the same sizes and checksums; the order and the times may differ,
// and pg_combinebackup lists the log too, which servers do not.
func (c *chain) mustBeStock(t *testing.T) {
	t.Helper()
	major := c.cluster.Server.Major
	for name, method := range map[string]combine.Method{"--copy": combine.Copy, "--copy-file-range": combine.CopyFileRange, "--link": combine.Link} {
		if method == combine.Link && major < 18 {
			continue
		}
		o := c.options("ours" + name)
		o.Method = method
		c.combine(o)
		theirs := filepath.Join(c.root, "theirs"+name)
		args := append([]string{"-N", "-o", theirs, "-T", c.spaceOf(len(c.dirs)-1) + "=" + c.newSpace("theirs"+name), name}, c.dirs...)
		if code, out := run(t, pgtest.ClientTool(t, major, "pg_combinebackup"), args...); code != 0 {
			t.Fatalf("pg_combinebackup: %s", out)
		}
		mustBeSame(t, o.Output, theirs, func(name string) bool { return name == "backup_manifest" })
		mustListTheSame(t, o.Output, theirs)
	}
}

func mustListTheSame(t *testing.T, got, want string) {
	t.Helper()
	a, aSummary := listed(t, got)
	b, bSummary := listed(t, want)
	for name, file := range b {
		if strings.HasPrefix(name, "pg_wal/") {
			continue
		}
		if a[name] != file {
			t.Errorf("%s is %q in the manifest, want %q", name, a[name], file)
		}
	}
	for name := range a {
		if b[name] == "" {
			t.Errorf("%s should not be in the manifest", name)
		}
	}
	if aSummary.SystemIdentifier != bSummary.SystemIdentifier || len(aSummary.Ranges) != 1 || len(bSummary.Ranges) != 1 || aSummary.Ranges[0] != bSummary.Ranges[0] {
		t.Errorf("%+v, want %+v", aSummary, bSummary)
	}
}

func listed(t *testing.T, dir string) (map[string]string, *manifest.Summary) {
	t.Helper()
	files := map[string]string{}
	summary, err := manifest.Read(bytes.NewReader(read(t, filepath.Join(dir, "backup_manifest"))), func(f manifest.File) error {
		files[f.Path] = fmt.Sprintf("%d %s %x", f.Size, f.Algorithm, f.Checksum)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files, summary
}
