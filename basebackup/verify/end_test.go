package verify_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/pgbraid/pgbraid/basebackup/verify"
	"github.com/pgbraid/pgbraid/internal/compress"
)

// TestEndsOfArchives cuts archives of each kind short, breaks their checksums
// and appends to them. The members that count are all there mostly: nothing but
// the end tells.
func TestEndsOfArchives(t *testing.T) {
	t.Parallel()
	b := newBed(t, 18)
	plain := b.backup(t, "-F", "t")
	for _, method := range []compress.Method{compress.None, compress.Gzip, compress.LZ4, compress.Zstd} {
		dir := filepath.Join(b.root, "packed"+string(method))
		must(t, os.Mkdir(dir, 0o700))
		list, err := os.ReadDir(plain)
		must(t, err)
		for _, d := range list {
			content, err := os.ReadFile(filepath.Join(plain, d.Name()))
			must(t, err)
			name := d.Name()
			if filepath.Ext(name) == ".tar" {
				content, name = pack(t, method, content), name+method.Suffix()
			}
			must(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
		}
		mustBeGood(t, verify.Options{Directory: dir})
		for _, which := range []string{"base", "pg_wal", b.oid} {
			name := which + ".tar" + method.Suffix()
			content, err := os.ReadFile(filepath.Join(dir, name))
			must(t, err)
			cut := func(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:len(b)-n] } }
			// The checksum of all is behind it in each format.
			sum := map[compress.Method]int{compress.Gzip: -8, compress.LZ4: -4, compress.Zstd: -1}[method]
			type fault struct {
				name string
				do   func([]byte) []byte
				good bool
			}
			faults := []fault{
				{"one byte less", cut(1), false},
				{"eight bytes less", cut(8), false},
				{"half", func(b []byte) []byte { return b[:len(b)/2] }, false},
				{"nothing", func([]byte) []byte { return nil }, false},
				{"followed by text", func(b []byte) []byte { return append(b, "garbage"...) }, false},
				{"followed by a block of text", func(b []byte) []byte { return append(b, bytes.Repeat([]byte("garbage!"), 64)...) }, false},
			}
			if method == compress.None {
				faults = append(faults,
					fault{"no trailer", func(b []byte) []byte { return bytes.TrimRight(b, "\x00") }, false},
					fault{"one block of the trailer", cut(512), false},
					fault{"followed by zeros", func(b []byte) []byte { return append(b, make([]byte, 5120)...) }, true})
			} else {
				middle := func(b []byte) int { return len(b) / 512 / 2 * 512 }
				faults = append(faults,
					fault{"wrong checksum", flip(sum), false},
					fault{"in two members", func(b []byte) []byte {
						b = unpack(t, method, b)
						return slices.Concat(pack(t, method, b[:middle(b)]), pack(t, method, b[middle(b):]))
					}, true},
					fault{"in two members, one cut", func(b []byte) []byte {
						b = unpack(t, method, b)
						packed := slices.Concat(pack(t, method, b[:middle(b)]), pack(t, method, b[middle(b):]))
						return packed[:len(packed)-1]
					}, false},
					fault{"two archives", func(b []byte) []byte { return slices.Concat(b, b) }, false},
					fault{"no trailer", func(b []byte) []byte { return pack(t, method, bytes.TrimRight(unpack(t, method, b), "\x00")) }, false})
			}
			for _, f := range faults {
				t.Run(fmt.Sprint(name, " ", f.name), func(t *testing.T) {
					copied := copyOf(t, dir)
					must(t, errors.Join(os.Remove(filepath.Join(copied, name)), os.WriteFile(filepath.Join(copied, name), f.do(slices.Clone(content)), 0o600)))
					r := verified(t, verify.Options{Directory: copied})
					if r.OK() != f.good {
						t.Errorf("good: %v, want %v: %v", r.OK(), f.good, r.Problems)
					}
					if !f.good && !slices.ContainsFunc(r.Problems, func(p verify.Problem) bool {
						return p.Path == name && (p.Kind == verify.DamagedArchive || p.Kind == verify.ArchiveEnd)
					}) {
						t.Errorf("nothing is said of %s: %v", name, r.Problems)
					}
				})
			}
		}
	}
}

// TestEndOfAnArchiveOfTheLogElsewhere does the same to one that -w names.
func TestEndOfAnArchiveOfTheLogElsewhere(t *testing.T) {
	t.Parallel()
	b := newBed(t, 18)
	dir := b.backup(t, "-X", "none")
	segments, err := filepath.Glob(filepath.Join(b.cluster.DataDir, "pg_wal", "0*"))
	must(t, err)
	for _, method := range []compress.Method{compress.None, compress.Gzip} {
		name := tarOf(t, segments, filepath.Join(t.TempDir(), "wal.tar"), method)
		mustBeGood(t, verify.Options{Directory: dir, WAL: name})
		change(t, name, func(b []byte) []byte { return b[:len(b)-1] })
		mustFind(t, verified(t, verify.Options{Directory: dir, WAL: name}), finding{verify.ArchiveEnd, filepath.Base(name)})
	}
}

func pack(t *testing.T, method compress.Method, b []byte) []byte {
	t.Helper()
	if method == compress.None {
		return b
	}
	var out bytes.Buffer
	w, err := compress.Spec{Method: method, Level: 1}.NewWriter(&out)
	must(t, err)
	_, err = w.Write(b)
	must(t, errors.Join(err, w.Close()))
	return out.Bytes()
}
