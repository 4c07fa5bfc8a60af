package combine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgbraid/pgbraid/basebackup/manifest"
	"github.com/pgbraid/pgbraid/logstream"
)

const changes = "base/5/" + incrementalPrefix + "16384"

// threeBackups are a full backup of one relation and two on top of it.
func threeBackups() []*madeBackup {
	return []*madeBackup{
		made(0x2000028, 0, map[string][]byte{relation: append(block(1), block(2)...)}),
		made(0x3000028, 0x2000028, map[string][]byte{changes: incremental(2, map[uint32][]byte{1: block(3)})}),
		made(0x4000028, 0x3000028, map[string][]byte{changes: incremental(3, map[uint32][]byte{2: block(4)})}),
	}
}

// TestBackupsThatCannotBeCombined has each fault named, and nothing left.
func TestBackupsThatCannotBeCombined(t *testing.T) {
	t.Parallel()
	header := func(words ...uint32) []byte {
		var b []byte
		for _, w := range words {
			b = binary.NativeEndian.AppendUint32(b, w)
		}
		return b
	}
	replace := func(content []byte) func(t *testing.T, b []*madeBackup) {
		return func(_ *testing.T, b []*madeBackup) { b[2].files[changes] = content }
	}
	for name, test := range map[string]struct {
		change func(t *testing.T, b []*madeBackup)
		order  []int
		after  func(t *testing.T, dirs []string)
		want   string
	}{
		"wrong order":         {order: []int{0, 2, 1}, want: `in2" starts at LSN 0/4000028, but expected 0/2000028`},
		"missing link":        {order: []int{0, 2}, want: `in0" starts at LSN 0/2000028, but expected 0/3000028`},
		"the same twice":      {order: []int{0, 1, 1, 2}, want: `in1" starts at LSN 0/3000028, but expected 0/2000028`},
		"full in the middle":  {order: []int{0, 0, 1}, want: `in0" is a full backup, but only the first`},
		"full at the end":     {order: []int{0, 0}, want: `in0" is a full backup, but only the first`},
		"no full":             {order: []int{1, 2}, want: `in1" is an incremental backup, but the first`},
		"only an incremental": {order: []int{2}, want: `in2" is an incremental backup, but the first`},
		"other timeline": {func(_ *testing.T, b []*madeBackup) {
			b[1].files[labelFile] = []byte(strings.Replace(labelText(0x3000028, 0x2000028), "START TIMELINE: 1", "START TIMELINE: 2", 1))
		}, nil, nil, `in1" starts on timeline 2, but expected 1`},
		"foreign system": {func(t *testing.T, b []*madeBackup) { b[1].files[controlFile] = controlOf(t, foreign) }, nil, nil,
			"in1/global/pg_control: expected system identifier"},
		"file listed twice": {nil, nil, func(t *testing.T, dirs []string) {
			rewrite(t, filepath.Join(dirs[1], manifestFile), func([]byte) []byte { return manifestOf(t, 2, "x", "x") })
		}, "duplicate path name in backup manifest: \"x\""},
		"old manifest": {nil, nil, func(t *testing.T, dirs []string) {
			rewrite(t, filepath.Join(dirs[1], manifestFile), func([]byte) []byte { return manifestOf(t, 1, "x") })
		}, "in1/backup_manifest: backup manifest version 1 does not support incremental backup"},
		"foreign manifest": {nil, nil, func(t *testing.T, dirs []string) {
			rewrite(t, filepath.Join(dirs[0], manifestFile), func([]byte) []byte { return manifestOf(t, 2, "x") })
		}, "in0/global/pg_control: manifest system identifier is 17, but control file has"},
		"damaged manifest": {nil, nil, func(t *testing.T, dirs []string) {
			rewrite(t, filepath.Join(dirs[2], manifestFile), func(text []byte) []byte { return bytes.Replace(text, []byte("8192"), []byte("8193"), 1) })
		}, "in2/backup_manifest: backup manifest: manifest checksum mismatch"},
		"damaged pg_control": {nil, nil, func(t *testing.T, dirs []string) {
			rewrite(t, filepath.Join(dirs[1], controlFile), func(b []byte) []byte { b[40] ^= 1; return b })
		}, "in1/global/pg_control: CRC is incorrect"},
		"no pg_control": {nil, nil, func(t *testing.T, dirs []string) { remove(t, dirs[2], controlFile) }, "in2/global/pg_control: no such file"},
		"no label":      {nil, nil, func(t *testing.T, dirs []string) { remove(t, dirs[0], labelFile) }, "in0/backup_label: no such file"},
		"no manifest": {func(_ *testing.T, b []*madeBackup) { b[2].noMan = true }, nil, nil,
			"cannot generate a manifest because no manifest is available for the final input backup"},
		"other release": {func(_ *testing.T, b []*madeBackup) { b[0].files[versionFile] = []byte("17\n") }, nil, nil,
			"in0/PG_VERSION: expected version 18, but found 17"},
		"old release": {func(_ *testing.T, b []*madeBackup) { b[0].files[versionFile] = []byte("16\n") }, nil, nil,
			"in0/PG_VERSION: server version too old"},
		"no release": {func(_ *testing.T, b []*madeBackup) { b[2].files[versionFile] = []byte("ab\n") }, nil, nil,
			"in2/PG_VERSION: could not parse version number"},
		"label without a timeline": {func(_ *testing.T, b []*madeBackup) {
			b[2].files[labelFile] = []byte("START WAL LOCATION: 0/4000028 (file 000000010000000000000004)\n")
		}, nil, nil, "in2/backup_label: could not find START TIMELINE"},
		"no file to change": {func(_ *testing.T, b []*madeBackup) { delete(b[1].files, changes) }, nil, nil,
			`in1" lacks "base/5/16384", of which the next one has only changes`},
		"changes in the full backup": {func(_ *testing.T, b []*madeBackup) {
			delete(b[0].files, relation)
			b[0].files[changes] = incremental(2, nil)
		}, nil, nil, "full backup contains unexpected incremental file"},
		"truncated":               {replace(incremental(3, map[uint32][]byte{2: block(4)})[:2*blockSize-1]), nil, nil, "has 16383 bytes, expected 16384 for 1 blocks"},
		"truncated in the header": {replace(header(incrementalMagic, 2)), nil, nil, "has 8 bytes, fewer than a header"},
		"empty":                   {replace([]byte{}), nil, nil, "has 0 bytes, fewer than a header"},
		"too long":                {replace(append(incremental(3, nil), 0)), nil, nil, "has 13 bytes, expected 12 for 0 blocks"},
		"bad magic":               {replace(header(0xd3ae1f0e, 0, 2)), nil, nil, "has bad incremental magic number (0xd3ae1f0e, expected 0xd3ae1f0d)"},
		"huge count":              {replace(header(incrementalMagic, 0xffffffff, 2)), nil, nil, "has block count 4294967295 in excess of segment size 131072"},
		"count without blocks":    {replace(header(incrementalMagic, 131072, 2)), nil, nil, "has 12 bytes, expected 1074274304 for 131072 blocks"},
		"huge truncation length":  {replace(header(incrementalMagic, 0, 131073)), nil, nil, "has truncation block length 131073 in excess of segment size 131072"},
		"blocks out of order":     {replace(swapped(incremental(3, map[uint32][]byte{1: block(4), 2: block(5)}))), nil, nil, "lists block 1 after block 2"},
		"block twice":             {replace(numbered(incremental(3, map[uint32][]byte{1: block(4), 2: block(5)}), 2, 2)), nil, nil, "lists block 2 after block 2"},
		"block beyond the file":   {replace(numbered(incremental(3, map[uint32][]byte{2: block(4)}), 131072)), nil, nil, "lists block 131072, beyond segment size 131072"},
		"changed since": {nil, nil, func(t *testing.T, dirs []string) {
			rewrite(t, filepath.Join(dirs[2], "pg_xact/0000"), func(b []byte) []byte { b[100] ^= 1; return b })
		}, `in2/pg_xact/0000" has another checksum in the manifest`},
		"longer since": {nil, nil, func(t *testing.T, dirs []string) {
			rewrite(t, filepath.Join(dirs[2], "pg_xact/0000"), func(b []byte) []byte { return append(b, 0) })
		}, `in2/pg_xact/0000" has 8193 bytes, but 8192 in the manifest`},
		"removed since": {nil, nil, func(t *testing.T, dirs []string) { remove(t, dirs[2], "pg_xact/0000") },
			`in2/pg_xact/0000" is present in the manifest but not on disk`},
		"not a file": {nil, nil, func(t *testing.T, dirs []string) {
			remove(t, dirs[0], relation)
			if err := os.Symlink("/dev/zero", filepath.Join(dirs[0], relation)); err != nil {
				t.Fatal(err)
			}
		}, "too many levels of symbolic links"},
		"map without the tablespace": {func(_ *testing.T, b []*madeBackup) { b[2].files[mapFile] = []byte("16400 /srv/space\n") }, nil, nil,
			"tablespace 16400 of"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backups := threeBackups()
			if test.change != nil {
				test.change(t, backups)
			}
			root, dirs := written(t, backups...)
			if test.after != nil {
				test.after(t, dirs)
			}
			o := testOptions(t, root, dirs)
			if test.order != nil {
				o.Inputs = nil
				for _, n := range test.order {
					o.Inputs = append(o.Inputs, dirs[n])
				}
			}
			_, err := Run(context.Background(), o)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
			mustLeaveNothing(t, root, dirs)
		})
	}
}

// manifestOf is the manifest of files of the system 17.
func manifestOf(t *testing.T, version int, names ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := manifest.NewWriter(&out, manifest.WriterOptions{Version: version, SystemIdentifier: 17})
	for _, name := range names {
		if err == nil {
			err = w.Add(manifest.File{Path: name})
		}
	}
	if err := errors.Join(err, w.Close(nil)); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// swapped exchanges the first two block numbers, numbered sets them.
func swapped(b []byte) []byte { return numbered(b, 2, 1) }

func numbered(b []byte, numbers ...uint32) []byte {
	for i, n := range numbers {
		binary.NativeEndian.PutUint32(b[fixedHeader+4*i:], n)
	}
	return b
}

func rewrite(t *testing.T, name string, change func([]byte) []byte) {
	t.Helper()
	if err := os.WriteFile(name, change(read(t, name)), 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

// TestNoVerifyTakesWhatIsThere combines a backup that was changed since.
func TestNoVerifyTakesWhatIsThere(t *testing.T) {
	t.Parallel()
	root, dirs := written(t, threeBackups()...)
	rewrite(t, filepath.Join(dirs[2], "pg_xact/0000"), func(b []byte) []byte { b[100] ^= 1; return b })
	o := testOptions(t, root, dirs)
	o.NoVerify = true
	if _, err := Run(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	// The manifest tells of it, since the checksum was taken over.
	if !bytes.Equal(read(t, filepath.Join(dirs[2], "pg_xact/0000")), read(t, filepath.Join(o.Output, "pg_xact/0000"))) {
		t.Error("not brought over as it is")
	}
}

// TestSettingsWrittenAfterTheBackupAreNoDamage is about pg_basebackup -R.
func TestSettingsWrittenAfterTheBackupAreNoDamage(t *testing.T) {
	t.Parallel()
	backups := threeBackups()
	backups[2].files["postgresql.auto.conf"] = []byte("# nothing\n")
	root, dirs := written(t, backups...)
	put(t, filepath.Join(dirs[2], "postgresql.auto.conf"), []byte("primary_conninfo = 'host=x'\n"))
	put(t, filepath.Join(dirs[2], "standby.signal"), []byte{})
	mustRun(t, testOptions(t, root, dirs))
}

func TestOutputsThatAreRefused(t *testing.T) {
	t.Parallel()
	root, dirs := written(t, threeBackups()...)
	if err := os.Symlink(dirs[1], filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	full := filepath.Join(root, "full")
	put(t, filepath.Join(full, "something"), []byte("x"))
	for output, want := range map[string]string{
		dirs[2]:                          "lies in an input",
		filepath.Join(dirs[0], "a", "b"): "lies in an input",
		filepath.Join(root, "link", "c"): "lies in an input",
		full:                             "exists but is not empty",
		root:                             "exists but is not empty",
		filepath.Join(full, "something"): "not a directory",
	} {
		o := testOptions(t, root, dirs)
		o.Output = output
		if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", output, err, want)
		}
	}
	mustLeaveNothing(t, root, append(dirs, full, filepath.Join(root, "link")))
	if got := len(treeOf(t, full)); got != 1 {
		t.Errorf("%d files where there was one", got)
	}
}

// TestInterruptedRunLeavesNothing ends a run at several points, also into a
// directory that was there before.
func TestInterruptedRunLeavesNothing(t *testing.T) {
	t.Parallel()
	root, dirs := written(t, threeBackups()...)
	stop := errors.New("stopped by the test")
	interrupted := 0
	for _, existing := range []bool{false, true} {
		for after := range 20 {
			o := testOptions(t, root, dirs)
			o.Output = filepath.Join(root, "a", "out")
			if existing {
				if err := os.MkdirAll(o.Output, 0o711); err != nil {
					t.Fatal(err)
				}
			}
			o.NoSync, o.Jobs = false, 1
			ctx := &endingContext{Context: context.Background(), left: after, err: stop}
			_, err := Run(ctx, o)
			if err == nil {
				mustVerify(t, o.Output)
				if err := os.RemoveAll(filepath.Join(root, "a")); err != nil {
					t.Fatal(err)
				}
				continue
			}
			if !errors.Is(err, stop) {
				t.Fatalf("after %d: %v", after, err)
			}
			interrupted++
			if existing {
				if files := treeOf(t, o.Output); len(files) > 0 {
					t.Errorf("after %d: left %v", after, files)
				}
				info, err := os.Stat(o.Output)
				if err != nil || info.Mode().Perm() != 0o711 {
					t.Errorf("after %d: %v, %v", after, info, err)
				}
				if err := os.RemoveAll(filepath.Join(root, "a")); err != nil {
					t.Fatal(err)
				}
			}
			mustLeaveNothing(t, root, dirs)
		}
	}
	if interrupted < 10 {
		t.Errorf("only %d were interrupted", interrupted)
	}
}

// TestRunInterruptedWhileItWritesLeavesNothing ends a run when the first file
// is rebuilt.
func TestRunInterruptedWhileItWritesLeavesNothing(t *testing.T) {
	t.Parallel()
	root, dirs := written(t, threeBackups()...)
	stop := errors.New("stopped by the test")
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	o := testOptions(t, root, dirs)
	seen := 0
	o.Logger = slog.New(slog.NewTextHandler(writerFunc(func(line string) {
		if strings.Contains(line, "rebuilding") {
			seen = len(treeOf(t, o.Output))
			cancel(stop)
		}
	}), &slog.HandlerOptions{Level: slog.LevelDebug}))
	if _, err := Run(ctx, o); !errors.Is(err, stop) {
		t.Error(err)
	}
	if seen == 0 {
		t.Error("nothing was there that could be left")
	}
	mustLeaveNothing(t, root, dirs)
}

type writerFunc func(line string)

func (f writerFunc) Write(p []byte) (int, error) {
	f(string(p))
	return len(p), nil
}

// endingContext ends when it was asked a number of times.
type endingContext struct {
	context.Context
	left int
	err  error
}

func (c *endingContext) Err() error {
	if c.left--; c.left < 0 {
		return c.err
	}
	return nil
}

func TestDryRunWritesNothingAndFindsFaults(t *testing.T) {
	t.Parallel()
	root, dirs := written(t, threeBackups()...)
	o := testOptions(t, root, dirs)
	o.DryRun = true
	result, err := Run(context.Background(), o)
	if err != nil || result.Rebuilt != 1 || result.Bytes == 0 {
		t.Errorf("%+v, %v", result, err)
	}
	mustLeaveNothing(t, root, dirs)
	remove(t, dirs[0], relation)
	if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), "lacks") {
		t.Error(err)
	}
	mustLeaveNothing(t, root, dirs)
}

// TestPrefixElsewhereIsANameLikeAnyOther has files that only look like
// changes.
func TestPrefixElsewhereIsANameLikeAnyOther(t *testing.T) {
	t.Parallel()
	backups := threeBackups()
	names := []string{"INCREMENTAL.conf", "base/INCREMENTAL.1", "base/5/sub/INCREMENTAL.1", "global/sub/INCREMENTAL.1",
		"pg_tblspc/INCREMENTAL.x", "pg_tblspc/1/INCREMENTAL.x", "pg_tblspc/1/2/INCREMENTAL.x", "pg_tblspc/1/2/3/4/INCREMENTAL.x", "pg_wal/INCREMENTAL.x"}
	for _, name := range names {
		backups[2].files[name] = []byte(name)
	}
	// An in-place tablespace's are changes.
	backups[0].files["pg_tblspc/16400/PG_18_202506291/5/16401"] = block(1)
	backups[1].files["pg_tblspc/16400/PG_18_202506291/5/INCREMENTAL.16401"] = incremental(1, nil)
	backups[2].files["pg_tblspc/16400/PG_18_202506291/5/INCREMENTAL.16401"] = incremental(2, nil)
	backups[0].files["global/1213"] = block(7)
	backups[1].files["global/INCREMENTAL.1213"] = incremental(1, nil)
	backups[2].files["global/INCREMENTAL.1213"] = incremental(1, map[uint32][]byte{0: block(8)})
	root, dirs := written(t, backups...)
	o := testOptions(t, root, dirs)
	mustRun(t, o)
	for _, name := range names {
		if got := string(read(t, filepath.Join(o.Output, name))); got != name {
			t.Errorf("%s: %q", name, got)
		}
	}
	if !bytes.Equal(read(t, filepath.Join(o.Output, "pg_tblspc/16400/PG_18_202506291/5/16401")), append(block(1), make([]byte, blockSize)...)) ||
		!bytes.Equal(read(t, filepath.Join(o.Output, "global/1213")), block(8)) {
		t.Error("not rebuilt")
	}
}

// TestLabelOfTheResult is without the lines that a server refuses.
func TestLabelOfTheResult(t *testing.T) {
	t.Parallel()
	root, dirs := written(t, threeBackups()...)
	o := testOptions(t, root, dirs)
	result := mustRun(t, o)
	if got, want := string(read(t, filepath.Join(o.Output, labelFile))), labelText(0x4000028, 0); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if result.Start != (logstream.Position{Timeline: 1, LSN: 0x4000028}) || result.Major != 18 || len(result.Ranges) != 1 {
		t.Errorf("%+v", result)
	}
	if got := string(read(t, filepath.Join(o.Output, "pg_wal/000000010000000000000002"))); got != "log of 0/4000028" {
		t.Errorf("the log is not the last backup's: %q", got)
	}
}

// TestLogBehindALinkComesAlong is about pg_basebackup --waldir.
func TestLogBehindALinkComesAlong(t *testing.T) {
	t.Parallel()
	root, dirs := written(t, threeBackups()...)
	away := filepath.Join(root, "wal")
	if err := os.Rename(filepath.Join(dirs[2], "pg_wal"), away); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(away, filepath.Join(dirs[2], "pg_wal")); err != nil {
		t.Fatal(err)
	}
	o := testOptions(t, root, dirs)
	mustRun(t, o)
	if info, err := os.Lstat(filepath.Join(o.Output, "pg_wal")); err != nil || !info.IsDir() {
		t.Errorf("%v, %v", info, err)
	}
	if got := string(read(t, filepath.Join(o.Output, "pg_wal/000000010000000000000002"))); got != "log of 0/4000028" {
		t.Errorf("%q", got)
	}
}

// TestModesAreTheClusters has a cluster that its group may read.
func TestModesAreTheClusters(t *testing.T) {
	t.Parallel()
	for mode, want := range map[os.FileMode][2]os.FileMode{0o700: {0o700, 0o600}, 0o750: {0o750, 0o640}} {
		root, dirs := written(t, threeBackups()...)
		if err := os.Chmod(dirs[2], mode); err != nil {
			t.Fatal(err)
		}
		o := testOptions(t, root, dirs)
		mustRun(t, o)
		err := filepath.WalkDir(o.Output, func(path string, d os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			which := 1
			if d.IsDir() {
				which = 0
			}
			if err == nil && info.Mode().Perm() != want[which] {
				t.Errorf("%s has mode %o, want %o", path, info.Mode().Perm(), want[which])
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
