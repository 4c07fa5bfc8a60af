// Package internal_test holds the rules of who may import whom.
package internal_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/pgbraid/pgbraid/"

// forbidden says which packages must not be imported, directly or not, by
// those whose path begins so. cli is the one that knows all; pgtest is for
// tests and knows none of what it tests.
var forbidden = map[string][]string{
	"tarx":                 {"basebackup", "logstream", "internal"},
	"logstream":            {"basebackup", "tarx", "internal/cli", "internal/pgtest"},
	"basebackup":           {"internal/cli", "internal/pgtest"},
	"internal/replconn":    {"basebackup", "logstream", "tarx", "internal/cli"},
	"internal/durable":     {"basebackup", "logstream", "tarx", "internal/cli", "internal/replconn"},
	"internal/progress":    {"basebackup", "logstream", "tarx", "internal/cli", "internal/replconn"},
	"internal/conninfo":    {"basebackup", "logstream", "tarx", "internal/cli", "internal/replconn"},
	"internal/walread":     {"basebackup", "logstream", "tarx", "internal/cli", "internal/replconn"},
	"cmd/pgbraid":          {"internal/pgtest"},
	"internal/cli":         {"internal/pgtest", "internal/dropin"},
	"internal/dropin":      {"internal/pgtest"},
	"internal/getopt":      {"basebackup", "logstream", "tarx", "internal/cli", "internal/dropin", "internal/replconn"},
	"internal/pgtest":      {"basebackup", "logstream", "tarx", "internal/cli"},
	"basebackup/combine":   {"tarx", "internal/cli", "internal/pgtest"},
	"internal/controlfile": {"basebackup", "logstream", "tarx", "internal/cli", "internal/replconn"},
	"basebackup/lineage":   {"tarx", "internal/cli", "internal/pgtest", "internal/progress", "basebackup/combine", "basebackup/verify"},
	"internal/pgpage":      {"basebackup", "logstream", "tarx", "internal/cli", "internal/replconn"},
	"basebackup/manifest":  {"tarx", "internal/cli", "internal/pgtest", "internal/progress"},
}

func TestImportsRunOneWay(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}: {{join .Deps " "}}`, module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		path, deps, _ := strings.Cut(strings.TrimSpace(line), ": ")
		path = strings.TrimPrefix(path, module)
		for rule, not := range forbidden {
			if path != rule {
				continue
			}
			seen[rule] = true
			for _, dep := range strings.Fields(deps) {
				dep, ours := strings.CutPrefix(dep, module)
				if ours && slices.ContainsFunc(not, func(n string) bool { return dep == n || strings.HasPrefix(dep, n+"/") }) {
					t.Errorf("%s must not depend on %s", path, dep)
				}
			}
		}
		// The codec that tests use as another implementation has decoders
		// that panic (CVE-2026-32286): it is never linked into the program.
		if strings.HasPrefix(path, "cmd/") && strings.Contains(deps, "github.com/jackc/pgproto3/v2") {
			t.Errorf("%s links pgproto3/v2", path)
		}
	}
	for rule := range forbidden {
		if !seen[rule] {
			t.Errorf("no package %s: the rule guards nothing", rule)
		}
	}
}
