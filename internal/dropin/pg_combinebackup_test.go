package dropin

import (
	"bytes"
	"context"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgbraid/pgbraid/basebackup"
	"github.com/pgbraid/pgbraid/internal/conninfo"
	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// sameCombinebackup are command lines on which pg_combinebackup and this one
// agree. DIR holds a full backup, two on top of it, and another full one;
// the tablespace of each is beside it.
var sameCombinebackup = []string{
	// The command line itself.
	"", "-x", "--bogus", "-o out", "full", "full -o", "--c -o out full", "--clo --cop -o out full", "full --help", "full -V", "--no -o out full", "--debug=1",
	"-o out full -T x", "-o out full -T =", "-o out full -T /a=/b=/c", "-o out full -T a=/b", "-o out full -T /a=b", "-o out full -T /a=", "-o out full -T =/a",
	"-o out full --manifest-checksums=x", "-o out full --manifest-checksums=", "-o out full --sync-method=x", "-T x --bogus -o out full",
	// What there is.
	"-o out missing", "-o out one", "-o out one missing", "-o out full two", "-o out one full", "-o out full full", "-o out full another", "-o out full one full two",
	"-o out two one full", "-o out full one two", "-o out full one two -T /elsewhere=DIR/new",
	"-o out -T DIR/full.space=DIR/new full one two", "-o another -T DIR/two.space=DIR/new full one two", "-o /dev/null/x -T DIR/two.space=DIR/new full one two",
	// What is done.
	"-o out -T DIR/two.space=DIR/new full one two", "-N -o out -T DIR/two.space=DIR/new full one two", "-N -n -o out -T DIR/two.space=DIR/new full one two",
	"-N -o out/ -T DIR/one.space/=DIR//new full one", "-N -o DIR/out -T DIR/full.space=DIR/new full", "-Nk -o out -T DIR/two.space=DIR/new full one two",
	"-N --copy-file-range -o out -T DIR/two.space=DIR/new full one two", "-N --link --copy -o out -T DIR/two.space=DIR/new full one two",
	"-N --no-manifest --manifest-checksums=sha256 -o out -T DIR/two.space=DIR/new full one two", "--sync-method=syncfs -o out -T DIR/two.space=DIR/new full one two",
	"-N -o out -T DIR/two.space=/dev/null -T DIR/two.space=DIR/new full one two",
}

// combinable takes the backups.
func combinable(t *testing.T) (dir string) {
	t.Helper()
	c := pgtest.Require(t, major).Init(t, pgtest.Config("summarize_wal = on"))
	c.Start(t)
	c.Fill(t, "filler", 4)
	space := c.CreateTablespace(t, "space")
	dir = pgtest.TempDir(t)
	info, err := conninfo.Parse(conninfo.Flags{ConnString: c.ConnString()}, "combine")
	if err != nil {
		t.Fatal(err)
	}
	config, err := info.Config()
	if err != nil {
		t.Fatal(err)
	}
	before := ""
	for _, name := range []string{"full", "one", "two", "another"} {
		o := basebackup.Options{Directory: filepath.Join(dir, name), FastCheckpoint: true, NoSync: true,
			Tablespaces: []basebackup.TablespaceMapping{{Old: space, New: filepath.Join(dir, name+".space")}}}
		if before != "" && name != "another" {
			o.Incremental = filepath.Join(dir, before, "backup_manifest")
		}
		if _, err := basebackup.Run(context.Background(), config, o); err != nil {
			t.Fatal(err)
		}
		before = name
		c.SQL(t, "UPDATE filler SET t = 'changed' WHERE id % 100 = 0; UPDATE in_space SET t = 'changed' WHERE id = 1")
	}
	return dir
}

// TestCombinebackup runs both tools on the same backups.
func TestCombinebackup(t *testing.T) {
	t.Parallel()
	b := newBed(t, "pg_combinebackup")
	dir := combinable(t)
	t.Run("as the tool", func(t *testing.T) { combinesAsTheTool(t, b, dir) })
	t.Run("otherwise", func(t *testing.T) { combinesOtherwise(t, b, dir) })
	t.Run("damaged", func(t *testing.T) { refusesDamage(t, b, dir) })
	t.Run("taken back", func(t *testing.T) { combinesHalf(t, b, dir) })
}

// combinesAsTheTool compares exit codes, messages, and what is there
// afterwards.
func combinesAsTheTool(t *testing.T, b *bed, dir string) {
	before := contents(t, dir)
	for _, line := range sameCombinebackup {
		var made [2]map[string]string
		var outcomes [2]outcome
		for i, program := range []string{b.ours, b.stock} {
			outcomes[i] = b.run(t, program, dir, words(line)...)
			made[i] = map[string]string{}
			for _, name := range []string{"out", "new"} {
				path := filepath.Join(dir, name)
				if _, err := os.Lstat(path); err != nil {
					continue
				}
				maps.Copy(made[i], contents(t, path))
				if err := os.RemoveAll(path); err != nil {
					t.Fatal(err)
				}
			}
		}
		if outcomes[0] != outcomes[1] {
			t.Errorf("%s:\nexit code %d and %d\nours:\n%s%sstock:\n%s%s", line, outcomes[0].code, outcomes[1].code,
				outcomes[0].out, outcomes[0].errors, outcomes[1].out, outcomes[1].errors)
		}
		if diff := different(made[0], made[1]); diff != "" {
			t.Errorf("%s: %s differs", line, diff)
		}
	}
	if diff := different(contents(t, dir), before); diff != "" {
		t.Errorf("%s was left or changed", diff)
	}
}

// combinesOtherwise lists what differs.
func combinesOtherwise(t *testing.T, b *bed, dir string) {
	for line, want := range map[string]string{
		// No output is no directory.
		"-o  full": "pg_combinebackup: error: no output directory specified\n",
		// Nothing is made, and then taken back, if a tablespace has no place.
		"-o out -T DIR/two.space=DIR/another full one two": "pg_combinebackup: error: directory \"DIR/another\" exists but is not empty\n",
		// Nothing is written into an input, or from one tablespace into the data directory.
		"-o full/out -T DIR/two.space=DIR/new full one two": "pg_combinebackup: error: directory \"full/out\" lies in an input, \"full\"\n",
		"-o out -T DIR/two.space=DIR/out/x full one two":    "pg_combinebackup: error: tablespace directory \"out/x\" lies in the output directory \"out\"\n",
	} {
		got := b.run(t, b.ours, dir, words(line)...)
		if got.code != 1 || got.out != "" || got.errors != want {
			t.Errorf("%s: exit code %d, %q\n%swant\n%s", line, got.code, got.out, got.errors, want)
		}
	}
}

// refusesDamage has one bit of an input changed, which pg_combinebackup makes a
// good backup of.
func refusesDamage(t *testing.T, b *bed, dir string) {
	for _, pattern := range []string{"two/base/*/INCREMENTAL.1259", "full/base/*/1259"} {
		matches, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(matches) == 0 {
			t.Fatal(matches, err)
		}
		name := matches[len(matches)-1]
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		damaged := bytes.Clone(content)
		damaged[8] ^= 1 // the length that it says
		if err := os.WriteFile(name, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		got := b.run(t, b.ours, dir, words("-N -o out -T DIR/two.space=DIR/new full one two")...)
		want := "pg_combinebackup: error: checksum mismatch for file \"" + strings.TrimPrefix(name, dir+"/") + "\"\n"
		if got.code != 1 || !strings.HasPrefix(got.errors, want) {
			t.Errorf("%+v, want %q", got, want)
		}
		if _, err := os.Lstat(filepath.Join(dir, "out")); err == nil {
			t.Error("something was left")
		}
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// combinesHalf fails half-way: what is said after the error is the tool's.
func combinesHalf(t *testing.T, b *bed, dir string) {
	matches, err := filepath.Glob(filepath.Join(dir, "two/base/*/INCREMENTAL.1259"))
	if err != nil || len(matches) == 0 {
		t.Fatal(matches, err)
	}
	if err := os.WriteFile(matches[0], []byte("no such magic num"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "out"), 0o700); err != nil {
		t.Fatal(err)
	}
	ours := b.run(t, b.ours, dir, words("-N -o out -T DIR/two.space=DIR/new full one two")...)
	stock := b.run(t, b.stock, dir, words("-N -o out -T DIR/two.space=DIR/new full one two")...)
	// This one looks at all files before it makes anything.
	first, _, _ := strings.Cut(stock.errors, "\n")
	if ours.code != 1 || stock.code != 1 || ours.errors != first+"\n" {
		t.Errorf("%+v, want %+v", ours, stock)
	}
	if err := os.WriteFile(matches[0], read12(t), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"full", "one"} {
		for _, prefix := range []string{"", "INCREMENTAL."} {
			_ = os.Remove(filepath.Join(dir, name, strings.TrimPrefix(filepath.Dir(matches[0]), filepath.Join(dir, "two")), prefix+"1259"))
		}
	}
	ours = b.run(t, b.ours, dir, words("-N -o out -T DIR/two.space=DIR/new full one two")...)
	if want := "pg_combinebackup: removing output directory \"DIR/new\"\npg_combinebackup: removing contents of output directory \"out\"\n"; ours.code != 1 || !strings.HasSuffix(ours.errors, want) {
		t.Errorf("%+v, want %q", ours, want)
	}
}

// read12 is an incremental file of no blocks of a file that has one.
func read12(t *testing.T) []byte {
	t.Helper()
	return []byte{0x0d, 0x1f, 0xae, 0xd3, 0, 0, 0, 0, 1, 0, 0, 0}
}

// contents is everything below dir, by name: files with their mode and bytes,
// save for manifests, in which order and times differ.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, filepath.Dir(dir))
		info, err := d.Info()
		if err != nil {
			return err
		}
		all[name] = info.Mode().String()
		switch {
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			all[name] += target
			return err
		case d.Type() == 0 && d.Name() != "backup_manifest":
			text, err := os.ReadFile(path)
			all[name] += string(bytes.TrimSpace(text))
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// different names something that only one has, or has otherwise.
func different(a, b map[string]string) string {
	for name := range a {
		if other, ok := b[name]; !ok || other != a[name] {
			return name
		}
	}
	for name := range b {
		if _, ok := a[name]; !ok {
			return name
		}
	}
	return ""
}
