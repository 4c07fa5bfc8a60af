package combine

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/pgbraid/pgbraid/basebackup/manifest"
	"github.com/pgbraid/pgbraid/logstream"
)

// history is a relation file that changes as a server changes it, and what
// the server's incremental backups hold of it.
type history struct {
	random  *rand.Rand
	stamp   int
	blocks  [][]byte
	before  int // how many blocks there were at the last backup
	changed map[uint32]bool
}

func (h *history) write(n uint32) {
	h.stamp++
	h.blocks[n] = block(h.stamp)
	h.changed[n] = true
}

// change does a few of the things that happen to a file between two backups.
func (h *history) change(most int) {
	h.changed, h.before = map[uint32]bool{}, len(h.blocks)
	for range h.random.IntN(5) {
		switch n := h.random.IntN(most); h.random.IntN(4) {
		case 0: // truncated
			h.blocks = h.blocks[:min(len(h.blocks), n)]
			maps.DeleteFunc(h.changed, func(b uint32, _ bool) bool { return int(b) >= len(h.blocks) })
		case 1: // extended with rows
			for len(h.blocks) < n {
				h.blocks = append(h.blocks, nil)
				h.write(uint32(len(h.blocks) - 1))
			}
		case 2: // extended in bulk: the log does not tell of such pages
			for len(h.blocks) < n {
				h.blocks = append(h.blocks, make([]byte, blockSize))
				if last := len(h.blocks) - 1; last < h.before {
					// Truncated before, since the same backup: no
					// incremental backup tells that from an old page.
					h.changed[uint32(last)] = true
				}
			}
		case 3: // rows updated
			for range n {
				if len(h.blocks) > 0 {
					h.write(uint32(h.random.IntN(len(h.blocks))))
				}
			}
		}
	}
}

// backup is the file as a backup has it: whole, or its changed blocks.
func (h *history) backup(whole bool) (prefix string, content []byte) {
	if whole {
		return "", append([]byte{}, bytes.Join(h.blocks, nil)...)
	}
	changed := map[uint32][]byte{}
	for b := range h.changed {
		changed[b] = h.blocks[b]
	}
	return incrementalPrefix, incremental(uint32(len(h.blocks)), changed)
}

// TestRebuiltFilesAreWhatTheyWere plays histories of files through chains of
// backups: the result must be the files as they were at the last one.
func TestRebuiltFilesAreWhatTheyWere(t *testing.T) {
	t.Parallel()
	const files, most = 40, 24
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 0))
			histories := make([]*history, files)
			var backups []*madeBackup
			for n := range 1 + random.IntN(5) {
				start, from := logstream.LSN(0x2000028+0x1000000*n), logstream.LSN(0)
				if n > 0 {
					from = start - 0x1000000
				}
				content := map[string][]byte{}
				for i := range histories {
					if n == 0 {
						// One in eight is longer than is read at once.
						size := most
						if i%8 == 0 {
							size = 300
						}
						histories[i] = &history{random: random, stamp: i * 1_000_000, changed: map[uint32]bool{}}
						for range random.IntN(size) {
							histories[i].blocks = append(histories[i].blocks, nil)
							histories[i].write(uint32(len(histories[i].blocks) - 1))
						}
					} else {
						histories[i].change(most)
					}
					prefix, bytes := histories[i].backup(n == 0 || random.IntN(6) == 0)
					content[fmt.Sprintf("base/5/%s%d", prefix, 16384+i)] = bytes
				}
				backups = append(backups, made(start, from, content))
			}
			root, dirs := written(t, backups...)
			for _, method := range []Method{Copy, CopyFileRange, Link} {
				o := testOptions(t, root, dirs)
				o.Method, o.Output = method, filepath.Join(root, "out "+string(method))
				o.NoVerify = seed%2 == 0
				mustRun(t, o)
				for i, h := range histories {
					name := fmt.Sprintf("base/5/%d", 16384+i)
					if got := read(t, filepath.Join(o.Output, name)); !bytes.Equal(got, bytes.Join(h.blocks, nil)) {
						t.Errorf("%s: %s has %d blocks that differ from the %d of the original", method, name, len(got)/blockSize, len(h.blocks))
					}
				}
			}
		})
	}
}

// TestUnchangedFileIsTakenFromTheFullBackup looks at the plan, not only at
// the bytes: such a file is copied, with its checksum.
func TestUnchangedFileIsTakenFromTheFullBackup(t *testing.T) {
	t.Parallel()
	content := append(block(1), block(2)...)
	none := map[string][]byte{"base/5/" + incrementalPrefix + "16384": incremental(2, nil)}
	root, dirs := written(t,
		made(0x2000028, 0, map[string][]byte{relation: content}),
		made(0x3000028, 0x2000028, none),
		made(0x4000028, 0x3000028, none))
	o := testOptions(t, root, dirs)
	o.Method = Link
	result := mustRun(t, o)
	if result.Rebuilt != 0 {
		t.Errorf("%d files were rebuilt", result.Rebuilt)
	}
	in, out := treeOf(t, dirs[0])[relation], treeOf(t, o.Output)[relation]
	if !os.SameFile(in, out) {
		t.Error("not linked to the full backup's")
	}
}

// TestBlocksBehindTheTruncationLength has changes beyond what is taken from
// older backups. What lies between is zeros, whatever the full backup has
// there.
func TestBlocksBehindTheTruncationLength(t *testing.T) {
	t.Parallel()
	root, dirs := written(t,
		made(0x2000028, 0, map[string][]byte{relation: bytes.Join([][]byte{block(1), block(2), block(3), block(4)}, nil)}),
		made(0x3000028, 0x2000028, map[string][]byte{changes: incremental(2, map[uint32][]byte{4: block(5)})}))
	o := testOptions(t, root, dirs)
	mustRun(t, o)
	zeros := make([]byte, blockSize)
	want := bytes.Join([][]byte{block(1), block(2), zeros, zeros, block(5)}, nil)
	if got := read(t, filepath.Join(o.Output, relation)); !bytes.Equal(got, want) {
		t.Errorf("%d blocks, want %d", len(got)/blockSize, len(want)/blockSize)
	}
}

// TestChecksumsOfEachAlgorithm has the result's manifest use another
// algorithm than the inputs', the same, or none.
func TestChecksumsOfEachAlgorithm(t *testing.T) {
	t.Parallel()
	change := map[string][]byte{"base/5/" + incrementalPrefix + "16384": incremental(3, map[uint32][]byte{1: block(9)})}
	for _, of := range []manifest.Algorithm{manifest.None, manifest.CRC32C, manifest.SHA256} {
		full := made(0x2000028, 0, map[string][]byte{relation: append(block(1), block(2)...)})
		next := made(0x3000028, 0x2000028, change)
		full.checksum, next.checksum = of, of
		root, dirs := written(t, full, next)
		for _, to := range []string{"NONE", "CRC32C", "SHA224", "SHA512", "sha256"} {
			for _, method := range []Method{Copy, CopyFileRange} {
				o := testOptions(t, root, dirs)
				o.Output = filepath.Join(root, "out "+to+string(method))
				o.ManifestChecksums, o.Method = to, method
				mustRun(t, o)
				want := bytes.Join([][]byte{block(1), block(9), make([]byte, blockSize)}, nil)
				if !bytes.Equal(read(t, filepath.Join(o.Output, relation)), want) {
					t.Errorf("%s to %s: the file differs", of, to)
				}
				if text := string(read(t, filepath.Join(o.Output, manifestFile))); (to == "NONE") == bytes.Contains([]byte(text), []byte("Checksum-Algorithm")) {
					t.Errorf("%s to %s: manifest %s", of, to, text)
				}
			}
		}
	}
}
