package dropin

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// alike makes of what differs between any two runs what is the same.
var alike = strings.NewReplacer("pg_basebackup_", "SLOT", "pgbraid_", "SLOT")

var differing = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`\b[0-9A-F]+/[0-9A-F]{6,}\b`), "LSN"},
	{regexp.MustCompile(`SLOT[0-9]+`), "SLOT"},
}

func normalized(text string) []string {
	text = alike.Replace(text)
	for _, d := range differing {
		text = d.pattern.ReplaceAllString(text, d.with)
	}
	return strings.Split(text, "\n")
}

// sameLines compares what two tools said, line by line.
func sameLines(t *testing.T, what string, ours, stock outcome) {
	t.Helper()
	got, want := normalized(ours.errors), normalized(stock.errors)
	if ours.code != stock.code || strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s: exit code %d and %d\nours:\n%s\nstock:\n%s", what, ours.code, stock.code, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// distribution makes a server of the distribution's, which knows all methods of
// compression.
func distribution(t *testing.T, opts ...pgtest.Option) *pgtest.Cluster {
	t.Helper()
	c := pgtest.Distribution(t).Init(t, opts...)
	c.Start(t)
	return c
}

func TestThatVerboseLinesAreTheTools(t *testing.T) {
	t.Parallel()
	c := distribution(t)
	c.SQL(t, "SELECT pg_create_physical_replication_slot('kept')")
	b := newBed(t, "pg_basebackup").at(c)
	for _, line := range []string{
		"-D d -cfast -v",
		"-D d -cfast -v -N",
		"-D d -cfast -v -N -R",
		"-D d -cfast -v -N --no-slot",
		"-D d -cfast -v -N -S kept",
		"-D d -cfast -v --no-manifest",
		"-D d -cfast -v -N -X none",
		"-D d -cfast -v -N -X fetch",
		"-D d -cfast -v -Ft",
		"-D d -cfast -v -N -Ft -z -X fetch",
		"-D d -cfast -N -n",
		"-t blackhole -cfast -v -X none",
		"-t blackhole -cfast -v -X fetch",
	} {
		ours, stock := b.both(t, words(line)...)
		sameLines(t, line, ours, stock)
		if stock.code != 0 {
			t.Errorf("%s: the tool itself failed: %s", line, stock.errors)
		}
	}
	t.Run("create-slot", func(t *testing.T) {
		ours := b.run(t, b.ours, t.TempDir(), "-D", "d", "-cfast", "-v", "-N", "-C", "-S", "made")
		c.SQL(t, "SELECT pg_drop_replication_slot('made')")
		sameLines(t, "-C", ours, b.run(t, b.stock, t.TempDir(), "-D", "d", "-cfast", "-v", "-N", "-C", "-S", "made"))
		c.SQL(t, "SELECT pg_drop_replication_slot('made')")
	})
}

// numbers are those in a line of progress.
var numbers = regexp.MustCompile(`[0-9]+`)

func TestThatProgressIsTheTools(t *testing.T) {
	t.Parallel()
	c := distribution(t)
	b := newBed(t, "pg_basebackup").at(c)
	for _, line := range []string{"-D d -cfast -N -P", "-D d -cfast -N -P -v", "-D d -cfast -N -P -Ft -X fetch"} {
		ours, stock := b.both(t, words(line)...)
		got, want := normalized(ours.errors), normalized(stock.errors)
		// How many lines of progress there are before the last is chance.
		if last := lastProgress(got); numbers.ReplaceAllString(last, "N") != numbers.ReplaceAllString(lastProgress(want), "N") ||
			!strings.Contains(last, "(100%), 1/1 tablespace") || strings.HasPrefix(strings.TrimSpace(last), "0/") {
			t.Errorf("%q\nours:\n%s\nstock:\n%s", line, ours.errors, stock.errors)
		}
		for _, l := range got {
			if strings.Contains(l, " kB (") && l != lastProgress(got) && !strings.Contains(l, "%), 0/1 tablespace") {
				t.Errorf("%s: %q does not count the complete ones", line, l)
			}
		}
		sameLines(t, line, outcome{ours.code, "", strings.Join(withoutProgress(got), "\n")}, outcome{stock.code, "", strings.Join(withoutProgress(want), "\n")})
	}
}

// lastProgress is the last line of progress, and withoutProgress the lines with
// one in the place of all.
func lastProgress(lines []string) (last string) {
	for _, l := range lines {
		if strings.Contains(l, " kB (") {
			last = l
		}
	}
	return last
}

func withoutProgress(lines []string) (kept []string) {
	for i, l := range lines {
		if !strings.Contains(l, " kB (") {
			kept = append(kept, l)
		} else if i == 0 || !strings.Contains(lines[i-1], " kB (") {
			kept = append(kept, "PROGRESS")
		}
	}
	return kept
}

// TestThatFailuresAreTold compares what is said where the server or the
// directory refuses.
func TestThatFailuresAreTold(t *testing.T) {
	t.Parallel()
	c := distribution(t, pgtest.Password("secret"))
	c.SQL(t, "CREATE ROLE plain LOGIN; SELECT pg_create_physical_replication_slot('kept')")
	b := newBed(t, "pg_basebackup").at(c)
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "f"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"-D " + full,
		"-D " + full + " -Ft",
		"-D /dev/null/x",
		"-D d -h 127.0.0.1 -w",
		"-D d -U plain -w",
		"-D d -U missing -w",
		"-D d -cfast -C -S kept -n",
		"-t nonesuch -X none -cfast",
		"-t blackhole:x -X none -cfast",
		"-t server:relative -X none -cfast",
		"-D d -cfast -Z server-gzip:99 -n",
		"-D d -cfast -Z server-gzip:99",
		"-D . -cfast -Z server-gzip:99",
		"-D d --waldir DIR/w -cfast -Z server-gzip:99",
		"-D d --waldir DIR/w -cfast -Z server-gzip:99 -n",
		"-D d -cfast -X none -Ft -Z server-gzip:99 -v",
	} {
		ours, stock := b.both(t, words(line)...)
		if stock.code == 0 {
			t.Errorf("%s: the tool itself succeeds", line)
		}
		sameLines(t, line, ours, stock)
	}
	ours, stock := b.both(t, "-D", "d", "--waldir", full)
	sameLines(t, "--waldir", ours, stock)
}

// TestOnTheNewestServer compares backups of a server of release 18, and those of
// what has changed since another.
func TestOnTheNewestServer(t *testing.T) {
	t.Parallel()
	c := pgtest.Require(t, major).Init(t, pgtest.Config("summarize_wal = on"))
	c.Start(t)
	b := newBed(t, "pg_basebackup").at(c)
	dirs := map[string]string{b.ours: t.TempDir(), b.stock: t.TempDir()}
	for _, line := range []string{
		"-D full -v -cfast --sync-method=syncfs",
		"-D changes -v -cfast -N -i full/backup_manifest",
		"-D changes.tar -v -cfast -N -Ft -i full/backup_manifest",
		"-D d -v -cfast -N -n -i full/PG_VERSION",
		"-t blackhole -X none -cfast -v -N -i full/backup_manifest",
	} {
		sameLines(t, line, b.run(t, b.ours, dirs[b.ours], words(line)...), b.run(t, b.stock, dirs[b.stock], words(line)...))
	}
	changed, err := filepath.Glob(filepath.Join(dirs[b.ours], "changes", "base", "*", "INCREMENTAL.*"))
	if err != nil || len(changed) == 0 {
		t.Error("there is nothing incremental", err)
	}
}
