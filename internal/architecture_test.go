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
		for rule := range forbidden {
			seen[rule] = seen[rule] || path == rule
		}
		for _, dep := range offences(path, strings.Fields(deps)) {
			t.Errorf("%s must not depend on %s", path, dep)
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

// offences are the dependencies that a package of this module must not have.
func offences(path string, deps []string) (found []string) {
	for rule, not := range forbidden {
		if !below(path, rule) {
			continue
		}
		for _, dep := range deps {
			dep, ours := strings.CutPrefix(dep, module)
			if ours && slices.ContainsFunc(not, func(n string) bool { return below(dep, n) }) {
				found = append(found, dep)
			}
		}
	}
	return found
}

// below tells whether a path is that of a package or of one below it.
func below(path, of string) bool { return path == of || strings.HasPrefix(path, of+"/") }

func TestRulesHoldForPackagesBelow(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		path, dep string
		want      int
	}{
		{"basebackup", "internal/cli", 1},
		{"basebackup/verify", "internal/cli", 1},
		{"basebackup/verify", "internal/pgtest/walsender", 1},
		{"basebackup/combine", "tarx", 1},
		{"basebackupper", "internal/cli", 0},
		{"basebackup/verify", "internal/clidoc", 0},
		{"basebackup/verify", "tarx", 0},
	} {
		if got := offences(c.path, []string{"fmt", module + c.dep}); len(got) != c.want {
			t.Errorf("%s on %s: %v, want %d", c.path, c.dep, got, c.want)
		}
	}
}
