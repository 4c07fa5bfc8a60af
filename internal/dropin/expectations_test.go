package dropin

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The tests of these files hold both tools against what users of release 18's
// expect: its own tests (src/bin/pg_basebackup/t) and what its sources have for
// each fault. Both are run, and everything that shows is compared: exit code,
// standard output, messages, and what is there afterwards.

// segment matches the name of a WAL segment.
var segment = regexp.MustCompile(`\b[0-9A-F]{24}\b`)

// left is what a run left in its directory: the names, with types and modes. Of
// what lies deeper only the top is looked at.
func left(t *testing.T, dir string) string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name := strings.TrimPrefix(path, dir+"/")
		if strings.HasPrefix(d.Name(), ".pgbraid") || strings.Count(name, "/") > 1 {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		names = append(names, fmt.Sprintf("%s %s", info.Mode(), name))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, "\n")
}

// alikeIn runs both tools in directories that prepare makes alike, and compares
// all that shows. Two backups begin in different segments.
func (b *bed) alikeIn(t *testing.T, prepare func(dir string), args ...string) {
	t.Helper()
	run := func(program string) (outcome, string) {
		dir := t.TempDir()
		if b.reset != nil {
			b.reset()
		}
		if prepare != nil {
			prepare(dir)
		}
		o := b.run(t, program, dir, args...)
		names := left(t, dir)
		if b.name == "pg_basebackup" {
			names = segment.ReplaceAllString(names, "SEGMENT")
		}
		return o, names
	}
	ours, leftByOurs := run(b.ours)
	stock, leftByStock := run(b.stock)
	sameLines(t, fmt.Sprintf("%s %q", b.name, args), ours, stock)
	if (ours.out == "") != (stock.out == "") {
		t.Errorf("%s %q: %d and %d bytes of output", b.name, args, len(ours.out), len(stock.out))
	}
	if leftByOurs != leftByStock {
		t.Errorf("%s %q: left\n%s\nstock:\n%s", b.name, args, leftByOurs, leftByStock)
	}
}

// bothRunning starts the two tools in turn, each in a directory of its own, has
// end done while they run, and compares all that they said and left.
func (b *bed) bothRunning(t *testing.T, line string, end func(t *testing.T, r *running)) {
	t.Helper()
	run := func(program string) (outcome, string) {
		dir := t.TempDir()
		empty(dir)
		r := b.start(t, program, dir, words(line)...)
		end(t, r)
		code := r.wait(t)
		text := strings.ReplaceAll(r.said.String(), program, b.name)
		return outcome{code: code, errors: strings.ReplaceAll(text, dir, "DIR")}, left(t, dir)
	}
	ours, leftByOurs := run(b.ours)
	stock, leftByStock := run(b.stock)
	sameLines(t, line, ours, stock)
	if leftByOurs != leftByStock {
		t.Errorf("%s: left\n%s\nstock:\n%s", line, leftByOurs, leftByStock)
	}
}

// occupied makes a directory d with a file in it.
func occupied(dir string) {
	empty(dir)
	_ = os.WriteFile(filepath.Join(dir, "d", "f"), nil, 0o600)
}

// empty makes an empty directory d.
func empty(dir string) { _ = os.Mkdir(filepath.Join(dir, "d"), 0o700) }
