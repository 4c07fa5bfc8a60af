package combine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pgbraid/pgbraid/basebackup/manifest"
)

// methods are the ways to bring a file over that work on every file system.
var methods = []Method{Copy, CopyFileRange, Link}

// sharedBackups are a full backup and two on top of it, of which the result
// has bytes of each: a file that is rebuilt of all three, and one that is the
// full backup's.
func sharedBackups(of manifest.Algorithm) []*madeBackup {
	var full [][]byte
	for n := range 140 {
		full = append(full, block(1000+n))
	}
	same := "base/5/" + incrementalPrefix + "16385"
	backups := []*madeBackup{
		made(0x2000028, 0, map[string][]byte{relation: bytes.Join(full, nil), "base/5/16385": append(block(1), block(2)...)}),
		made(0x3000028, 0x2000028, map[string][]byte{changes: incremental(140, map[uint32][]byte{1: block(3), 2: block(4), 139: block(5)}), same: incremental(2, nil)}),
		made(0x4000028, 0x3000028, map[string][]byte{changes: incremental(140, map[uint32][]byte{2: block(6), 100: block(7)}), same: incremental(2, nil)}),
	}
	for _, b := range backups {
		b.checksum = of
	}
	return backups
}

func flip(at int) func([]byte) []byte {
	return func(b []byte) []byte {
		b[at] ^= 0x10
		return b
	}
}

// TestDamageOfEachInputIsFound changes one bit of a file that the result has
// bytes of. Whatever way these are brought over, no result must come of it.
func TestDamageOfEachInputIsFound(t *testing.T) {
	t.Parallel()
	for name, where := range map[string]struct {
		input int
		file  string
		at    int
	}{
		"a block of the full backup that did not change":        {0, relation, 50 * blockSize},
		"a block of the full backup that is not used":           {0, relation, 100*blockSize + 7},
		"the last block of the full backup, not used":           {0, relation, 140*blockSize - 1},
		"a file of the full backup that is copied":              {0, "base/5/16385", blockSize},
		"a block of the middle backup":                          {1, changes, blockSize + 9},
		"a block of the middle backup that is not used":         {1, changes, 2*blockSize + 9},
		"the last block of the middle backup":                   {1, changes, 4*blockSize - 1},
		"which block it is that the middle backup holds":        {1, changes, fixedHeader + 4},
		"the length that the middle backup says":                {1, changes, 8},
		"what fills the header of the middle backup":            {1, changes, 500},
		"a file of the middle backup without a block":           {1, "base/5/" + incrementalPrefix + "16385", 8},
		"a block of the last backup":                            {2, changes, blockSize},
		"a block of the last backup, at the end":                {2, changes, 3*blockSize - 1},
		"the length that the last backup says":                  {2, changes, 8},
		"a file of the last backup that is no relation's":       {2, "pg_xact/0000", 77},
		"the label of the last backup":                          {2, labelFile, 130},
		"the label of the full backup":                          {0, labelFile, 130},
		"settings that are no part of what a backup may change": {2, "postgresql.conf", 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, of := range []manifest.Algorithm{manifest.CRC32C, manifest.SHA256} {
				root, dirs := written(t, sharedBackups(of)...)
				rewrite(t, filepath.Join(dirs[where.input], where.file), flip(where.at))
				for _, method := range methods {
					o := testOptions(t, root, dirs)
					o.Method, o.ManifestChecksums = method, "CRC32C"
					_, err := Run(context.Background(), o)
					var damage *DamageError
					if !errors.As(err, &damage) || damage.Path != filepath.Join(dirs[where.input], where.file) {
						t.Errorf("%s, %s: %v", of, method, err)
					}
					mustLeaveNothing(t, root, dirs)
				}
				// Whoever says so gets the bytes as they are, if they can be
				// made out at all.
				o := testOptions(t, root, dirs)
				o.NoVerify = true
				if _, err := Run(context.Background(), o); err != nil && !strings.Contains(err.Error(), "lists block") {
					t.Errorf("%s: %v", of, err)
				}
			}
		})
	}
}

// TestUndamagedInputsAreCombined is the other side: nothing is found where
// nothing is wrong.
func TestUndamagedInputsAreCombined(t *testing.T) {
	t.Parallel()
	for _, of := range []manifest.Algorithm{manifest.None, manifest.CRC32C, manifest.SHA512} {
		root, dirs := written(t, sharedBackups(of)...)
		for _, method := range methods {
			o := testOptions(t, root, dirs)
			o.Method, o.Output = method, filepath.Join(root, "out "+string(method))
			mustRun(t, o)
			got := read(t, filepath.Join(o.Output, relation))
			for n, want := range map[int]int{0: 1000, 1: 3, 2: 6, 3: 1003, 99: 1099, 100: 7, 138: 1138, 139: 5} {
				if !bytes.Equal(got[n*blockSize:(n+1)*blockSize], block(want)) {
					t.Errorf("%s, %s: block %d is another", of, method, n)
				}
			}
		}
	}
}

// TestDryRunFindsDamage reads all that a run would read.
func TestDryRunFindsDamage(t *testing.T) {
	t.Parallel()
	root, dirs := written(t, sharedBackups(manifest.CRC32C)...)
	rewrite(t, filepath.Join(dirs[0], relation), flip(50*blockSize))
	o := testOptions(t, root, dirs)
	o.DryRun = true
	var damage *DamageError
	if _, err := Run(context.Background(), o); !errors.As(err, &damage) {
		t.Error(err)
	}
	mustLeaveNothing(t, root, dirs)
}

// TestFilesThatAManifestDoesNotHave are no part of a backup.
func TestFilesThatAManifestDoesNotHave(t *testing.T) {
	t.Parallel()
	for n, name := range []string{relation, changes, changes} {
		root, dirs := written(t, sharedBackups(manifest.CRC32C)...)
		rewrite(t, filepath.Join(dirs[n], manifestFile), func(text []byte) []byte { return without(t, text, name) })
		o := testOptions(t, root, dirs)
		_, err := Run(context.Background(), o)
		if want := fmt.Sprintf("in%d/%s\" is not in the manifest", n, name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		mustLeaveNothing(t, root, dirs)
		o.NoVerify = true
		mustRun(t, o)
	}
	root, dirs := written(t, sharedBackups(manifest.CRC32C)...)
	put(t, filepath.Join(dirs[2], "base/5/99999"), block(1))
	if _, err := Run(context.Background(), testOptions(t, root, dirs)); err == nil || !strings.Contains(err.Error(), `base/5/99999" is not in the manifest`) {
		t.Error(err)
	}
}

// TestFilesOfAnotherSizeThanListed are found in every input.
func TestFilesOfAnotherSizeThanListed(t *testing.T) {
	t.Parallel()
	for _, method := range methods {
		for n, change := range []func([]byte) []byte{
			func(b []byte) []byte { return append(b, block(1)...) },
			func([]byte) []byte { return incremental(140, map[uint32][]byte{1: block(3)}) },
			func([]byte) []byte { return incremental(140, nil) },
		} {
			root, dirs := written(t, sharedBackups(manifest.CRC32C)...)
			rewrite(t, filepath.Join(dirs[n], []string{relation, changes, changes}[n]), change)
			o := testOptions(t, root, dirs)
			o.Method = method
			var damage *DamageError
			if _, err := Run(context.Background(), o); !errors.As(err, &damage) || !strings.Contains(err.Error(), "in the manifest") {
				t.Errorf("%s, %d: %v", method, n, err)
			}
			mustLeaveNothing(t, root, dirs)
		}
	}
}

// TestWhatIsUsedIsWhatWasChecked has a file changed while it is read: what was
// read before does not change any more, what is read later is found.
func TestWhatIsUsedIsWhatWasChecked(t *testing.T) {
	t.Parallel()
	content := bytes.Repeat(block(1), 100)
	for _, at := range []int{10, 3 * ahead} {
		name := filepath.Join(t.TempDir(), "file")
		put(t, name, content)
		f, info, err := openRegular(name)
		if err != nil {
			t.Fatal(err)
		}
		h := manifest.CRC32C.New()
		h.Write(content)
		s := &source{path: name, file: f, size: info.Size(), sum: manifest.CRC32C.New(), want: string(h.Sum(nil))}
		used := make([]byte, 2*blockSize)
		if err := s.read(t.Context(), used, blockSize); err != nil || !bytes.Equal(used, content[:2*blockSize]) {
			t.Fatal(err)
		}
		rewrite(t, name, flip(at))
		var damage *DamageError
		if err := s.finish(t.Context()); errors.As(err, &damage) != (at > ahead) {
			t.Errorf("changed at %d: %v", at, err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// without is a manifest without one of its files.
func without(t *testing.T, text []byte, name string) []byte {
	t.Helper()
	var files []manifest.File
	summary, err := manifest.Read(bytes.NewReader(text), func(f manifest.File) error {
		f.Checksum = slices.Clone(f.Checksum)
		files = append(files, f)
		return nil
	})
	var out bytes.Buffer
	var w *manifest.Writer
	if err == nil {
		w, err = manifest.NewWriter(&out, manifest.WriterOptions{Version: summary.Version, SystemIdentifier: summary.SystemIdentifier})
	}
	for _, f := range files {
		if err == nil && f.Path != name {
			err = w.Add(f)
		}
	}
	if err == nil {
		err = w.Close(summary.Ranges)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
