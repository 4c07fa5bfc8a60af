package combine

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/pgbraid/pgbraid/internal/pgtest"
	"github.com/pgbraid/pgbraid/logstream"
)

// inSteps combines the first two backups, then the result with the third, and
// so on, as somebody does who keeps one full backup up to date.
func inSteps(t *testing.T, root string, dirs []string, combine func(inputs []string, output string)) string {
	t.Helper()
	full := dirs[0]
	for n, next := range dirs[1:] {
		output := filepath.Join(root, fmt.Sprintf("step%d", n+1))
		combine([]string{full, next}, output)
		full = output
	}
	return full
}

// combineAt is a run of ours without a word about checksums.
func combineAt(t *testing.T) func(inputs []string, output string) {
	return func(inputs []string, output string) {
		t.Helper()
		o := Options{Inputs: inputs, Output: output, NoSync: true, Logger: testLogger(t)}
		mustRun(t, o)
	}
}

// TestMiddleBackupHidesWhatIsBeyondItsTruncationLength has a backup in the
// middle whose file was truncated to one block and then got a fourth: the
// second and third were added without being written to, and are zeros. The
// full backup's must not come back.
func TestMiddleBackupHidesWhatIsBeyondItsTruncationLength(t *testing.T) {
	t.Parallel()
	root, dirs := written(t,
		made(0x2000028, 0, map[string][]byte{relation: bytes.Join([][]byte{block(1), block(2), block(3), block(4)}, nil)}),
		made(0x3000028, 0x2000028, map[string][]byte{changes: incremental(1, map[uint32][]byte{3: block(5)})}),
		made(0x4000028, 0x3000028, map[string][]byte{changes: incremental(4, nil)}))
	o := testOptions(t, root, dirs)
	mustRun(t, o)
	zeros := make([]byte, blockSize)
	want := bytes.Join([][]byte{block(1), zeros, zeros, block(5)}, nil)
	if !bytes.Equal(read(t, filepath.Join(o.Output, relation)), want) {
		t.Error("combined at once: not what was there")
	}
	if !bytes.Equal(read(t, filepath.Join(inSteps(t, root, dirs, combineAt(t)), relation)), want) {
		t.Error("combined in steps: not what was there")
	}
}

// TestAtOnceAndInStepsGiveTheSame has chains of files of every kind that the
// format allows. Of two inputs pg_combinebackup makes the same.
func TestAtOnceAndInStepsGiveTheSame(t *testing.T) {
	t.Parallel()
	stock := pgtest.ClientTool(t, pgtest.Newest(t).Major, "pg_combinebackup")
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 1))
			const files, most = 60, 12
			stamp := 0
			next := func() []byte {
				stamp++
				return block(stamp)
			}
			var backups []*madeBackup
			for n := range 3 + random.IntN(3) {
				start, from := logstream.LSN(0x2000028+0x1000000*n), logstream.LSN(0)
				if n > 0 {
					from = start - 0x1000000
				}
				content := map[string][]byte{}
				for i := range files {
					name, whole := fmt.Sprint(16384+i), n == 0 || random.IntN(8) == 0
					blocks := map[uint32][]byte{}
					for b := range random.IntN(most) {
						if whole || random.IntN(3) == 0 {
							blocks[uint32(b)] = next()
						}
					}
					if !whole {
						content["base/5/"+incrementalPrefix+name] = incremental(uint32(random.IntN(most)), blocks)
						continue
					}
					file := []byte{}
					for b := range len(blocks) {
						file = append(file, blocks[uint32(b)]...)
					}
					content["base/5/"+name] = file
				}
				backups = append(backups, made(start, from, content))
			}
			root, dirs := written(t, backups...)
			o := testOptions(t, root, dirs)
			mustRun(t, o)
			ours := inSteps(t, root, dirs, combineAt(t))
			theirs := inSteps(t, filepath.Join(root, "stock"), dirs, func(inputs []string, output string) {
				put(t, filepath.Dir(output)+"/", nil)
				runProgram(t, stock, append([]string{"-N", "-o", output}, inputs...)...)
			})
			for i := range files {
				name := fmt.Sprintf("base/5/%d", 16384+i)
				atOnce := read(t, filepath.Join(o.Output, name))
				if !bytes.Equal(atOnce, read(t, filepath.Join(ours, name))) {
					t.Errorf("%s is another if combined in steps", name)
				}
				if !bytes.Equal(atOnce, read(t, filepath.Join(theirs, name))) {
					t.Errorf("%s is another if combined in steps by pg_combinebackup", name)
				}
			}
		})
	}
}
