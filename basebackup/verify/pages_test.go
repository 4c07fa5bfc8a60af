package verify_test

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/pgbraid/pgbraid/basebackup/manifest"
	"github.com/pgbraid/pgbraid/basebackup/verify"
	"github.com/pgbraid/pgbraid/internal/compress"
	"github.com/pgbraid/pgbraid/internal/pgpage"
	"github.com/pgbraid/pgbraid/internal/pgtest"
	"github.com/pgbraid/pgbraid/logstream"
)

const pageSize = 8192

// summed gives a page the checksum of that block.
func summed(page []byte, block uint32) []byte {
	binary.NativeEndian.PutUint16(page[8:], pgpage.Checksum(page, block))
	return page
}

// startOf is the LSN at which the WAL of a backup begins.
func startOf(t *testing.T, dir string) logstream.LSN {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "backup_manifest"))
	must(t, err)
	defer func() { _ = f.Close() }()
	summary, err := manifest.Read(f, func(manifest.File) error { return nil })
	must(t, err)
	return summary.Ranges[len(summary.Ranges)-1].Start
}

// mustHavePages fails unless all pages were looked at, and so many are bad or
// torn.
func mustHavePages(t *testing.T, r *verify.Report, bad, torn int64) {
	t.Helper()
	if p := r.Pages; !p.Checked || p.Pages < 2000 || p.Files < 500 || p.Bad != bad || p.Torn != torn {
		t.Errorf("%+v, want %d bad and %d torn", p, bad, torn)
	}
}

// mustNameBlocks fails unless the problem is that of these blocks.
func mustNameBlocks(t *testing.T, r *verify.Report, path string, blocks ...uint32) {
	t.Helper()
	mustFind(t, r, finding{verify.DamagedPages, path})
	if len(r.Problems) != 1 {
		return
	}
	var pages *verify.PagesError
	if !errors.As(r.Problems[0].Err, &pages) || !slices.Equal(pages.Blocks, blocks) {
		t.Errorf("%v, want blocks %v", r.Problems[0], blocks)
	}
	if r.Good+r.Ignored != r.Files-1 {
		t.Errorf("%d of %d files good, %d ignored", r.Good, r.Files, r.Ignored)
	}
}

// TestDamagedPagesAreFound is about backups whose manifests have no checksums:
// without a look at the pages they are good.
func TestDamagedPagesAreFound(t *testing.T) {
	t.Parallel()
	for _, major := range []int{15, 18} {
		b := newBed(t, major)
		dir := b.backup(t, "--manifest-checksums=NONE")
		start := startOf(t, dir)
		mustHavePages(t, mustBeGoodPages(t, verify.Options{Directory: dir, Pages: true}), 0, 0)
		relation := firstRelation(t, dir)
		for name, test := range map[string]struct {
			change    func(content []byte) []byte
			blocks    []uint32
			bad, torn int64
		}{
			"bit":                   {flip(3*pageSize + 5000), []uint32{3}, 1, 0},
			"two pages":             {func(c []byte) []byte { return flip(-1)(flip(0)(c)) }, nil, 2, 0},
			"pages exchanged":       {func(c []byte) []byte { return slices.Concat(c[pageSize:2*pageSize], c[:pageSize], c[2*pageSize:]) }, []uint32{0, 1}, 2, 0},
			"half of a page zeroed": {func(c []byte) []byte { clear(c[pageSize : pageSize+pageSize/2]); return c }, []uint32{1}, 1, 0},
			"other half":            {func(c []byte) []byte { clear(c[pageSize+pageSize/2 : 2*pageSize]); return c }, []uint32{1}, 1, 0},
			"page of zeros":         {func(c []byte) []byte { clear(c[pageSize : 2*pageSize]); return c }, nil, 0, 0},
			"torn":                  {func(c []byte) []byte { return flip(5000)(changedAt(start)(c)) }, nil, 0, 1},
			"changed, not torn":     {func(c []byte) []byte { summed(changedAt(start)(c)[:pageSize], 0); return c }, nil, 0, 0},
			"changed before":        {func(c []byte) []byte { return flip(5000)(changedAt(start - 1)(c)) }, []uint32{0}, 1, 0},
			"changed after the end": {func(c []byte) []byte { return flip(5000)(changedAt(math.MaxUint64)(c)) }, []uint32{0}, 1, 0},
		} {
			t.Run(fmt.Sprint(major, " ", name), func(t *testing.T) {
				dir := copyOf(t, dir)
				size := 0
				change(t, filepath.Join(dir, relation), func(c []byte) []byte { size = len(c); return test.change(c) })
				if r := verified(t, verify.Options{Directory: dir, NoWAL: true}); !r.OK() || r.Pages.Checked {
					t.Errorf("%v", r.Problems)
				}
				if name == "two pages" {
					test.blocks = []uint32{0, uint32(size/pageSize) - 1}
				}
				for _, skip := range []bool{false, true} {
					r := verified(t, verify.Options{Directory: dir, NoWAL: true, Pages: true, SkipChecksums: skip})
					mustHavePages(t, r, test.bad, test.torn)
					if test.bad == 0 {
						mustFind(t, r)
					} else {
						mustNameBlocks(t, r, relation, test.blocks...)
					}
				}
			})
		}
		t.Run(fmt.Sprint(major, " other files"), func(t *testing.T) {
			dir := copyOf(t, dir)
			// These have no pages. The first two are read by nobody here.
			for _, name := range []string{"base/1/PG_VERSION", "base/1/pg_filenode.map", "pg_xact/0000"} {
				change(t, filepath.Join(dir, name), flip(0))
			}
			mustFind(t, verified(t, verify.Options{Directory: dir, NoWAL: true, Pages: true}))
			spaces, err := filepath.Glob(filepath.Join(dir, "pg_tblspc", b.oid, "PG_*", "*", "[1-9]*"))
			if err != nil || len(spaces) == 0 {
				t.Fatal(spaces, err)
			}
			change(t, spaces[0], flip(40))
			mustNameBlocks(t, verified(t, verify.Options{Directory: dir, NoWAL: true, Pages: true}), filepath.Base(spaces[0]), 0)
			// What is to be passed over is.
			mustFind(t, verified(t, verify.Options{Directory: dir, NoWAL: true, Pages: true, Ignore: []string{"pg_tblspc"}}))
		})
	}
}

// changedAt gives a file's first page another LSN.
func changedAt(lsn logstream.LSN) func([]byte) []byte {
	return func(b []byte) []byte {
		binary.NativeEndian.PutUint32(b, uint32(lsn>>32))
		binary.NativeEndian.PutUint32(b[4:], uint32(lsn))
		return b
	}
}

// mustBeGoodPages is mustBeGood for a backup without checksums of files.
func mustBeGoodPages(t *testing.T, o verify.Options) *verify.Report {
	t.Helper()
	r := verified(t, o)
	mustFind(t, r)
	if r.Bytes < 20<<20 {
		t.Errorf("only %d bytes were read", r.Bytes)
	}
	return r
}

// TestDamagedPagesInArchives has them in each form of an archive, that of a
// tablespace too, where pg_control comes after them.
func TestDamagedPagesInArchives(t *testing.T) {
	t.Parallel()
	b := newBed(t, 18)
	dir := b.backup(t, "-F", "t", "--manifest-checksums=NONE")
	for _, archive := range []string{"base.tar", b.oid + ".tar"} {
		content, err := os.ReadFile(filepath.Join(dir, archive))
		must(t, err)
		name, at := pageIn(t, content)
		for _, method := range []compress.Method{compress.None, compress.Gzip, compress.LZ4, compress.Zstd} {
			for _, damaged := range []bool{false, true} {
				dir := copyOf(t, dir)
				changed := bytes.Clone(content)
				if damaged {
					changed[at+pageSize+3000] ^= 1
				}
				must(t, os.Remove(filepath.Join(dir, archive)))
				must(t, os.WriteFile(filepath.Join(dir, archive+method.Suffix()), packed(t, changed, method), 0o600))
				r := verified(t, verify.Options{Directory: dir, NoWAL: true, Pages: true})
				if damaged {
					mustHavePages(t, r, 1, 0)
					mustNameBlocks(t, r, name, 1)
					if len(r.Problems) == 1 && r.Problems[0].Archive != archive+method.Suffix() {
						t.Errorf("in %s", r.Problems[0].Archive)
					}
				} else {
					mustFind(t, r)
					mustHavePages(t, r, 0, 0)
				}
			}
		}
	}
}

// pageIn finds a file of at least two pages in a tar archive, and where it
// begins.
func pageIn(t *testing.T, archive []byte) (name string, at int64) {
	t.Helper()
	in := bytes.NewReader(archive)
	for r := tar.NewReader(in); ; {
		h, err := r.Next()
		must(t, err)
		relation, ok := pgpage.ParsePath(h.Name)
		if !ok {
			_, ok = pgpage.ParsePath("pg_tblspc/1/" + h.Name)
		}
		if ok && !relation.Incremental && h.Size >= 2*pageSize {
			at, err := in.Seek(0, io.SeekCurrent)
			must(t, err)
			return h.Name, at
		}
	}
}

func packed(t *testing.T, content []byte, method compress.Method) []byte {
	t.Helper()
	if method == compress.None {
		return content
	}
	var out bytes.Buffer
	z, err := compress.Spec{Method: method, Level: 1}.NewWriter(&out)
	must(t, err)
	_, err = z.Write(content)
	must(t, errors.Join(err, z.Close()))
	return out.Bytes()
}

// TestPagesOfIncrementalBackups have their numbers in the file's header.
func TestPagesOfIncrementalBackups(t *testing.T) {
	t.Parallel()
	c := pgtest.Require(t, 18).Init(t, pgtest.Config("summarize_wal = on"))
	c.Start(t)
	c.SQL(t, "CREATE TABLE t AS SELECT i AS id, repeat('x', 400) AS t FROM generate_series(1, 20000) AS i")
	root := pgtest.TempDir(t)
	full, next := filepath.Join(root, "full"), filepath.Join(root, "next")
	take := func(dir string, args ...string) {
		t.Helper()
		args = append([]string{"-D", dir, "-d", c.ConnString(), "-c", "fast", "-N", "--manifest-checksums=NONE"}, args...)
		if out, err := exec.CommandContext(t.Context(), pgtest.ClientTool(t, 18, "pg_basebackup"), args...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	take(full)
	c.SQL(t, "UPDATE t SET id = -id WHERE ctid >= '(700,1)' AND ctid < '(703,1)'")
	c.SQL(t, "CHECKPOINT")
	take(next, "-i", filepath.Join(full, "backup_manifest"))
	file := c.Query(t, "SELECT pg_relation_filepath('t')")
	name := filepath.Join(filepath.Dir(file), "INCREMENTAL."+filepath.Base(file))
	r := verified(t, verify.Options{Directory: next, Pages: true})
	if len(r.Problems) > 0 || !r.Pages.Checked || r.Pages.Bad+r.Pages.Torn > 0 {
		t.Errorf("%v, %+v", r.Problems, r.Pages)
	}
	change(t, filepath.Join(next, name), flip(pageSize+4000))
	mustNameBlocks(t, verified(t, verify.Options{Directory: next, NoWAL: true, Pages: true}), name, 700)
	change(t, filepath.Join(next, name), flip(0))
	mustNameBlocks(t, verified(t, verify.Options{Directory: next, NoWAL: true, Pages: true}), name)
}

// TestPagesWithoutChecksums cannot be checked, and whoever asks is told.
func TestPagesWithoutChecksums(t *testing.T) {
	t.Parallel()
	c := pgtest.Require(t, 18).Init(t, pgtest.NoChecksums())
	c.Start(t)
	root := pgtest.TempDir(t)
	for _, format := range []string{"p", "t"} {
		dir := filepath.Join(root, format)
		args := []string{"-D", dir, "-d", c.ConnString(), "-c", "fast", "-N", "-F", format}
		if out, err := exec.CommandContext(t.Context(), pgtest.ClientTool(t, 18, "pg_basebackup"), args...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if _, err := verify.Run(t.Context(), verify.Options{Directory: dir, Pages: true}); !errors.Is(err, verify.ErrNoPageChecksums) {
			t.Errorf("%s: %v", format, err)
		}
	}
}

// TestPagesOfOtherSizes is about archives of a server that was built for pages
// of 4 kB, of which pg_control tells when all of them have been read.
func TestPagesOfOtherSizes(t *testing.T) {
	t.Parallel()
	c := pgtest.Require(t, 18).Init(t)
	control, err := os.ReadFile(filepath.Join(c.DataDir, "global", "pg_control"))
	must(t, err)
	castagnoli := crc32.MakeTable(crc32.Castagnoli)
	at := 256
	for binary.NativeEndian.Uint32(control[at:]) != crc32.Checksum(control[:at], castagnoli) {
		at += 4
	}
	size := bytes.Index(control[:at], binary.NativeEndian.AppendUint32(binary.NativeEndian.AppendUint32(nil, pageSize), 131072))
	binary.NativeEndian.PutUint32(control[size:], 4096)
	binary.NativeEndian.PutUint32(control[at:], crc32.Checksum(control[:at], castagnoli))
	relation, err := os.ReadFile(filepath.Join(c.DataDir, "base", "1", "1255"))
	must(t, err)
	var pages []byte
	for n := range uint32(5) {
		page := bytes.Clone(relation[:4096])
		binary.NativeEndian.PutUint16(page[12:], 24)
		binary.NativeEndian.PutUint16(page[14:], 4000)
		binary.NativeEndian.PutUint16(page[16:], 4096)
		pages = append(pages, summed(page, n)...)
	}
	for _, damaged := range []bool{false, true} {
		if damaged {
			pages[3*4096+100] ^= 1
		}
		dir := t.TempDir()
		var archive, list bytes.Buffer
		w := tar.NewWriter(&archive)
		m, err := manifest.NewWriter(&list, manifest.WriterOptions{Version: 2, SystemIdentifier: binary.NativeEndian.Uint64(control)})
		must(t, err)
		for _, f := range []struct {
			name    string
			content []byte
		}{{"PG_VERSION", []byte("18\n")}, {"base/1/1255", pages}, {"global/pg_control", control}} {
			must(t, w.WriteHeader(&tar.Header{Name: f.name, Size: int64(len(f.content)), Typeflag: tar.TypeReg, Format: tar.FormatUSTAR, Mode: 0o600}))
			_, err := w.Write(f.content)
			must(t, err)
			must(t, m.Add(manifest.File{Path: f.name, Size: int64(len(f.content))}))
		}
		must(t, errors.Join(w.Close(), m.Close([]manifest.WALRange{{Timeline: 1, Start: 0x7000028, End: 0x7000100}})))
		must(t, os.WriteFile(filepath.Join(dir, "base.tar"), archive.Bytes(), 0o600))
		must(t, os.WriteFile(filepath.Join(dir, "backup_manifest"), list.Bytes(), 0o600))
		r := verified(t, verify.Options{Directory: dir, NoWAL: true, Pages: true})
		r.Problems = slices.DeleteFunc(r.Problems, func(p verify.Problem) bool { return p.Kind != verify.DamagedPages && p.Kind != verify.DuplicateFile })
		if damaged {
			mustNameBlocks(t, r, "base/1/1255", 3)
		} else {
			mustFind(t, r)
		}
		if r.Pages.Pages != 5 || r.Pages.Files != 1 || r.Files != 3 {
			t.Errorf("%+v", r.Pages)
		}
	}
}
