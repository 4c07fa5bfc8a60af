package verify_test

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pgbraid/pgbraid/basebackup/manifest"
	"github.com/pgbraid/pgbraid/basebackup/verify"
	"github.com/pgbraid/pgbraid/internal/compress"
	"github.com/pgbraid/pgbraid/internal/pgtest"
	"github.com/pgbraid/pgbraid/logstream"
)

// segment is the size of those of a bed's cluster.
const segment = 1 << 20

// fault is one thing done to a good backup, and what must be found then.
type fault struct {
	name string
	do   func(t *testing.T, dir string)
	want []finding
}

func changed(name string, f func([]byte) []byte) func(*testing.T, string) {
	return func(t *testing.T, dir string) { change(t, filepath.Join(dir, name), f) }
}

func removed(name string) func(*testing.T, string) {
	return func(t *testing.T, dir string) { must(t, os.RemoveAll(filepath.Join(dir, name))) }
}

// TestFaultsInFiles does one thing after the other to a plain backup.
func TestFaultsInFiles(t *testing.T) {
	t.Parallel()
	for _, major := range []int{15, 18} {
		b := newBed(t, major)
		dir := b.backup(t)
		relation := firstRelation(t, dir)
		mustBeGood(t, verify.Options{Directory: dir})
		control := "global/pg_control"
		for _, f := range []fault{
			{"relation", changed(relation, flip(5000)), []finding{{verify.ChecksumMismatch, relation}}},
			{"last byte", changed(relation, flip(-1)), []finding{{verify.ChecksumMismatch, relation}}},
			{"settings", changed("postgresql.conf", flip(0)), []finding{{verify.ChecksumMismatch, "postgresql.conf"}}},
			{"pg_control", changed(control, flip(100)), []finding{{verify.DamagedControlFile, control}, {verify.ChecksumMismatch, control}}},
			{"pg_control's padding", changed(control, flip(-1)), []finding{{verify.ChecksumMismatch, control}}},
			{"pg_control cut", changed(control, func(b []byte) []byte { return b[:64] }), []finding{{verify.DamagedControlFile, control}, {verify.SizeMismatch, control}}},
			{"missing", removed(relation), []finding{{verify.MissingFile, relation}}},
			{"missing PG_VERSION", removed("PG_VERSION"), []finding{{verify.MissingFile, "PG_VERSION"}}},
			{"extra", func(t *testing.T, dir string) { must(t, os.WriteFile(filepath.Join(dir, "base/extra"), nil, 0o600)) },
				[]finding{{verify.ExtraFile, "base/extra"}}},
			{"truncated", changed(relation, func(b []byte) []byte { return b[:8192] }), []finding{{verify.SizeMismatch, relation}}},
			{"longer", changed(relation, func(b []byte) []byte { return append(b, 0) }), []finding{{verify.SizeMismatch, relation}}},
			{"in place of a file", func(t *testing.T, dir string) {
				name := filepath.Join(dir, relation)
				must(t, errors.Join(os.Remove(name), os.Mkdir(name, 0o700)))
			}, []finding{{verify.MissingFile, relation}}},
			{"loop", func(t *testing.T, dir string) { must(t, os.Symlink("..", filepath.Join(dir, "base", "up"))) },
				[]finding{{verify.Unreadable, "base/up"}}},
			{"link to nowhere", func(t *testing.T, dir string) {
				name := filepath.Join(dir, "pg_tblspc", b.oid)
				must(t, errors.Join(os.Remove(name), os.Symlink("/nonexistent", name)))
			}, []finding{{verify.Unreadable, "pg_tblspc/" + b.oid}}},
			{"manifest", changed("backup_manifest", flip(300)), []finding{{verify.DamagedManifest, "backup_manifest"}}},
			{"manifest's checksum", changed("backup_manifest", func(b []byte) []byte {
				digit := &b[len(b)-5]
				*digit ^= '0' ^ '1'
				if *digit > '9' {
					*digit = '0'
				}
				return b
			}), []finding{{verify.DamagedManifest, "backup_manifest"}}},
			{"allowed", func(t *testing.T, dir string) {
				change(t, filepath.Join(dir, "postgresql.auto.conf"), flip(0))
				must(t, os.WriteFile(filepath.Join(dir, "standby.signal"), nil, 0o600))
			}, nil},
			{"two", func(t *testing.T, dir string) {
				removed(relation)(t, dir)
				changed("PG_VERSION", flip(0))(t, dir)
			}, []finding{{verify.MissingFile, relation}, {verify.ChecksumMismatch, "PG_VERSION"}}},
		} {
			if major == 15 && !strings.Contains(f.name, "pg_control") && !strings.Contains(f.name, "manifest") {
				continue // nothing in it depends on the manifest's version
			}
			t.Run(f.name, func(t *testing.T) {
				copied := copyOf(t, dir)
				f.do(t, copied)
				r := verified(t, verify.Options{Directory: copied})
				mustFind(t, r, f.want...)
				if len(f.want) == 2 && f.name == "two" {
					if r := verified(t, verify.Options{Directory: copied, StopAtFirst: true}); len(r.Problems) != 1 {
						t.Errorf("%d problems, want it to stop at the first", len(r.Problems))
					}
					mustFind(t, verified(t, verify.Options{Directory: copied, Ignore: []string{"base/1/", "./PG_VERSION"}}))
				}
			})
		}
		t.Run("foreign cluster", func(t *testing.T) {
			copied := copyOf(t, dir)
			other := pgtest.Require(t, major).Init(t, pgtest.Fresh(), pgtest.SegmentSize(1))
			content, err := os.ReadFile(filepath.Join(other.DataDir, control))
			must(t, err)
			change(t, filepath.Join(copied, control), func([]byte) []byte { return content })
			r := verified(t, verify.Options{Directory: copied})
			// The file ends with its own CRC-32C and zeros, so the manifest's
			// is the same for every sound one.
			if major >= 17 {
				mustFind(t, r, finding{verify.ForeignSystem, control})
				return
			}
			mustFind(t, r, finding{verify.DamagedWAL, ""})
			if len(r.Problems) == 1 && !strings.Contains(r.Problems[0].String(), "system identifier") {
				t.Error(r.Problems[0])
			}
		})
	}
}

// TestFaultsInTheLog does one thing after the other to a backup's log.
func TestFaultsInTheLog(t *testing.T) {
	t.Parallel()
	b := newBed(t, 18)
	dir := b.backup(t)
	r := mustBeGood(t, verify.Options{Directory: dir})
	w := r.Ranges[0]
	const page = 8192
	segments, err := filepath.Glob(filepath.Join(dir, "pg_wal", strings.Repeat("[0-9A-F]", 24)))
	must(t, err)
	name := func(i int) string { return "pg_wal/" + filepath.Base(segments[i]) }
	last := slices.IndexFunc(segments, func(s string) bool {
		return filepath.Base(s) == logstream.SegmentSize(segment).FileName(w.Timeline, logstream.SegmentNumber(w.Last/segment))
	})
	if last < 2 {
		t.Fatalf("the log ends in segment %d of %d", last, len(segments))
	}
	// Behind the length of the last record, in its segment: no page begins so
	// early in a record.
	inside := int(w.Last%segment) + 4
	zeroFrom := func(n int) func([]byte) []byte {
		return func(b []byte) []byte { clear(b[n:]); return b }
	}
	put := func(at int, v uint64) func([]byte) []byte {
		return func(b []byte) []byte { binary.LittleEndian.PutUint64(b[at:], v); return b }
	}
	for _, f := range []struct {
		name string
		do   func(*testing.T, string)
		kind verify.Kind
		path string
		says string
	}{
		{"flipped", changed(name(1), flip(page*7+4000)), verify.DamagedWAL, "", "checksum mismatch"},
		{"flipped at the end", changed(name(last), flip(inside)), verify.DamagedWAL, filepath.Base(segments[last]), "checksum mismatch"},
		{"torn", changed(name(last), zeroFrom(inside)), verify.TornWAL, filepath.Base(segments[last]), "torn record"},
		{"zeros", changed(name(1), zeroFrom(page*9)), verify.TornWAL, filepath.Base(segments[1]), "zero"},
		{"cut", changed(name(1), func(b []byte) []byte { return b[:page*9+10] }), verify.TornWAL, filepath.Base(segments[1]), "ends at"},
		{"hole", removed(name(1)), verify.MissingWAL, filepath.Base(segments[1]), "is not there"},
		{"last missing", removed(name(last)), verify.MissingWAL, filepath.Base(segments[last]), "is not there"},
		{"first missing", removed(name(0)), verify.MissingWAL, filepath.Base(segments[0]), "is not there"},
		{"all missing", removed("pg_wal"), verify.MissingWAL, "pg_wal", "no such file"},
		{"foreign cluster", changed(name(1), put(24, 12345)), verify.DamagedWAL, filepath.Base(segments[1]), "system identifier 12345"},
		{"other timeline", changed(name(1), func(b []byte) []byte { b[page+4] = 2; return b }), verify.DamagedWAL, filepath.Base(segments[1]), "timeline 2"},
		{"other segment size", changed(name(1), put(32, 2<<20|page<<32)), verify.DamagedWAL, filepath.Base(segments[1]), "segment size"},
	} {
		t.Run(f.name, func(t *testing.T) {
			copied := copyOf(t, dir)
			f.do(t, copied)
			r := verified(t, verify.Options{Directory: copied})
			mustFind(t, r, finding{f.kind, f.path})
			if r.Ranges[0].Good || len(r.Problems) == 1 && !strings.Contains(strings.ToLower(r.Problems[0].String()), f.says) {
				t.Errorf("%v, want %q", r.Problems, f.says)
			}
			if f.path == "pg_wal" { // no server starts without that directory
				mustFind(t, verified(t, verify.Options{Directory: copied, NoWAL: true, SkipChecksums: true}), finding{verify.MissingDirectory, f.path})
				return
			}
			mustBeGood(t, verify.Options{Directory: copied, NoWAL: true, SkipChecksums: true})
		})
	}
	t.Run("end inside a record", func(t *testing.T) {
		copied := copyOf(t, dir)
		rewriteManifest(t, filepath.Join(copied, "backup_manifest"), func(s *manifest.Summary) { s.Ranges[0].End -= 8 })
		mustFind(t, verified(t, verify.Options{Directory: copied}), finding{verify.DamagedWAL, filepath.Base(segments[last])})
	})
	t.Run("end before the start", func(t *testing.T) {
		copied := copyOf(t, dir)
		rewriteManifest(t, filepath.Join(copied, "backup_manifest"), func(s *manifest.Summary) { s.Ranges[0].End = s.Ranges[0].Start - 8 })
		mustFind(t, verified(t, verify.Options{Directory: copied}), finding{verify.DamagedWAL, "backup_manifest"})
	})
}

// rewriteManifest changes a manifest's ranges and makes its checksum fit.
func rewriteManifest(t *testing.T, name string, f func(*manifest.Summary)) {
	t.Helper()
	change(t, name, func(b []byte) []byte {
		var out bytes.Buffer
		s, err := manifest.Read(bytes.NewReader(b), nil)
		must(t, err)
		w, err := manifest.NewWriter(&out, manifest.WriterOptions{Version: s.Version, SystemIdentifier: s.SystemIdentifier})
		must(t, err)
		_, err = manifest.Read(bytes.NewReader(b), w.Add)
		must(t, err)
		f(s)
		must(t, w.Close(s.Ranges))
		return out.Bytes()
	})
}

// repacked lets f change what is compressed.
func repacked(t *testing.T, method compress.Method, f func([]byte) []byte) func([]byte) []byte {
	if method == compress.None {
		return f
	}
	return func(b []byte) []byte {
		var out bytes.Buffer
		w, err := compress.Spec{Method: method, Level: 1}.NewWriter(&out)
		must(t, err)
		_, err = w.Write(f(unpack(t, method, b)))
		must(t, errors.Join(err, w.Close()))
		return out.Bytes()
	}
}

func unpack(t *testing.T, method compress.Method, b []byte) []byte {
	t.Helper()
	z, err := method.NewReader(bytes.NewReader(b))
	must(t, err)
	return readAll(t, z)
}

// cutMember makes a member of a tar file shorter.
func cutMember(t *testing.T, b []byte, name string) []byte {
	t.Helper()
	var out bytes.Buffer
	in, w := tar.NewReader(bytes.NewReader(b)), tar.NewWriter(&out)
	for {
		h, err := in.Next()
		if err == io.EOF {
			must(t, w.Close())
			return out.Bytes()
		}
		must(t, err)
		if h.Name == name {
			h.Size = 8192
		}
		must(t, w.WriteHeader(h))
		_, err = io.CopyN(w, in, h.Size)
		must(t, err)
	}
}

// contents are those of the members of a tar file, without what pads them.
func contents(t *testing.T, b []byte) []byte {
	t.Helper()
	var all []byte
	in := tar.NewReader(bytes.NewReader(b))
	for {
		h, err := in.Next()
		if err == io.EOF {
			return all
		}
		must(t, err)
		all = append(append(all, h.Name...), readAll(t, in)...)
	}
}

// TestFaultsInArchives does one thing after the other to tar sets.
func TestFaultsInArchives(t *testing.T) {
	t.Parallel()
	b := newBed(t, 18)
	for _, method := range []compress.Method{compress.None, compress.Gzip, compress.LZ4, compress.Zstd} {
		args := []string{"-F", "t"}
		if method != compress.None {
			args = append(args, "-Z", "client-"+string(method))
		}
		dir := b.backup(t, args...)
		base := "base.tar" + method.Suffix()
		space := b.oid + ".tar" + method.Suffix()
		unpacked := func(f func([]byte) []byte) func([]byte) []byte { return repacked(t, method, f) }
		second := logstream.SegmentNumber(mustBeGood(t, verify.Options{Directory: dir}).Ranges[0].Start/segment) + 1
		flipInLog, logMethod := func(b []byte) []byte {
			at := bytes.Index(b, []byte(logstream.SegmentSize(segment).FileName(1, second)+"\x00"))
			return flip(at + 512 + 7*8192 + 4000)(b)
		}, compress.None
		if method == compress.Gzip { // the only one for which pg_basebackup compresses it
			flipInLog, logMethod = unpacked(flipInLog), method
		}
		member := func(name string, f func([]byte, int)) func([]byte) []byte {
			return unpacked(func(b []byte) []byte {
				at := bytes.Index(b, []byte(name+"\x00"))
				if at < 0 || at%512 != 0 {
					t.Fatalf("no member %s", name)
				}
				f(b, at)
				return b
			})
		}
		faults := []fault{
			{"member", changed(base, member("base/1/1255", func(b []byte, at int) { b[at+5000] ^= 1 })), []finding{{verify.ChecksumMismatch, "base/1/1255"}}},
			{"pg_control", changed(base, member("global/pg_control", func(b []byte, at int) { b[at+600] ^= 1 })),
				[]finding{{verify.DamagedControlFile, "global/pg_control"}, {verify.ChecksumMismatch, "global/pg_control"}}},
			{"member's size", changed(base, unpacked(func(b []byte) []byte { return cutMember(t, b, "base/1/1255") })), []finding{{verify.SizeMismatch, "base/1/1255"}}},
			{"member twice", changed(base, unpacked(func(b []byte) []byte {
				at := bytes.Index(b, []byte("base/1/PG_VERSION\x00"))
				return slices.Concat(b[at:at+1024], b)
			})), []finding{{verify.DuplicateFile, "base/1/PG_VERSION"}}},
			{"log", changed("pg_wal.tar"+logMethod.Suffix(), flipInLog), []finding{{verify.DamagedWAL, ""}}},
			{"header", changed(base, member("base/1/1255", func(b []byte, at int) { b[at+3] ^= 1 })), []finding{{verify.DamagedArchive, base}}},
			{"cut", changed(base, func(b []byte) []byte { return b[:len(b)/2] }), []finding{{verify.DamagedArchive, base}}},
			{"not expected", func(t *testing.T, dir string) { must(t, os.WriteFile(filepath.Join(dir, "readme"), nil, 0o600)) }, []finding{{verify.UnexpectedFile, "readme"}}},
			{"twice", func(t *testing.T, dir string) {
				must(t, os.Link(filepath.Join(dir, space), filepath.Join(dir, "1"+space)))
			}, nil},
			{"no archive of the log", func(t *testing.T, dir string) {
				list, err := filepath.Glob(filepath.Join(dir, "pg_wal.tar*"))
				must(t, err)
				must(t, os.Remove(list[0]))
			}, []finding{{verify.MissingWAL, ""}}},
			{"archive of the log cut", func(t *testing.T, dir string) {
				list, err := filepath.Glob(filepath.Join(dir, "pg_wal.tar*"))
				must(t, err)
				change(t, list[0], func(b []byte) []byte { return b[:len(b)*3/5] })
			}, []finding{{-1, ""}}},
		}
		for i, f := range faults {
			if i > 0 && f.name != "cut" && (method == compress.Gzip || method == compress.LZ4) {
				continue // behind the decompressor all is the same
			}
			t.Run(string(method)+" "+f.name, func(t *testing.T) {
				copied := copyOf(t, dir)
				f.do(t, copied)
				r := verified(t, verify.Options{Directory: copied})
				switch {
				case f.want == nil: // an archive of a tablespace that nobody has
					if c := r.Counts(); c[verify.ExtraFile] != len(r.Problems) || len(r.Problems) < 2 {
						t.Errorf("%v", r.Problems)
					}
				case f.want[0].kind < 0: // both the archive and the log that is missing
					if len(r.Problems) != 2 || r.Problems[0].Kind != verify.DamagedArchive || !r.Problems[1].Kind.WAL() || r.Ranges[0].Good {
						t.Errorf("%v", r.Problems)
					}
				default:
					mustFind(t, r, f.want...)
				}
			})
		}
		t.Run(string(method)+" missing archive", func(t *testing.T) {
			copied := copyOf(t, dir)
			must(t, os.Remove(filepath.Join(copied, space)))
			r := verified(t, verify.Options{Directory: copied})
			if c := r.Counts(); c[verify.MissingFile] != len(r.Problems) || len(r.Problems) < 2 || !strings.HasPrefix(r.Problems[0].Path, "pg_tblspc/"+b.oid+"/") {
				t.Errorf("%v", r.Problems)
			}
		})
		if method == compress.None {
			continue
		}
		t.Run(string(method)+" each byte counts", func(t *testing.T) {
			content, err := os.ReadFile(filepath.Join(dir, base))
			must(t, err)
			for _, i := range []int{1, 4, 7} {
				copied := copyOf(t, dir)
				broken := flip(len(content) / 8 * i)(slices.Clone(content))
				change(t, filepath.Join(copied, base), func([]byte) []byte { return broken })
				// It may be in padding, or mean other zeros that are as good.
				if r := verified(t, verify.Options{Directory: copied, NoWAL: true}); r.OK() && !bytes.Equal(contents(t, unpack(t, method, broken)), contents(t, unpack(t, method, content))) {
					t.Errorf("byte %d of %d changed unnoticed", len(content)/8*i, len(content))
				}
			}
		})
	}
}

func TestWhatCannotBeLookedAt(t *testing.T) {
	t.Parallel()
	for _, o := range []verify.Options{
		{Directory: filepath.Join(t.TempDir(), "nowhere")},
		{Directory: t.TempDir()},
	} {
		if _, err := verify.Run(t.Context(), o); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	for _, o := range []verify.Options{{}, {Directory: "x", Jobs: -1}, {Directory: "x", Format: "z"}, {Directory: "x", NoWAL: true, WAL: "y"}} {
		if _, err := verify.Run(t.Context(), o); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
