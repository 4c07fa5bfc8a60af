package verify

import (
	"archive/tar"
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/pgbraid/pgbraid/basebackup/manifest"
	"github.com/pgbraid/pgbraid/internal/compress"
)

// FuzzTarSet gives any bytes as the archives of a set: whatever they are, the
// run ends with a report that is not good, for the set lacks what its manifest
// lists.
func FuzzTarSet(f *testing.F) {
	var sample bytes.Buffer
	w := tar.NewWriter(&sample)
	for _, name := range []string{"base/1/1", "global/pg_control", "pg_wal/000000010000000000000002", "000000010000000000000002"} {
		_ = w.WriteHeader(&tar.Header{Name: name, Size: 5, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR, Mode: 0o600})
		_, _ = w.Write([]byte("12345"))
	}
	_ = w.Close()
	for i, m := range []compress.Method{compress.None, compress.Gzip, compress.LZ4, compress.Zstd} {
		packed := sample.Bytes()
		if m != compress.None {
			var out bytes.Buffer
			z, err := compress.Spec{Method: m, Level: 1}.NewWriter(&out)
			if err != nil {
				f.Fatal(err)
			}
			_, _ = z.Write(packed)
			_ = z.Close()
			packed = out.Bytes()
		}
		f.Add(byte(i), packed)
		f.Add(byte(i), packed[:len(packed)/2])
	}
	var list bytes.Buffer
	m, err := manifest.NewWriter(&list, manifest.WriterOptions{Version: 2, SystemIdentifier: 7})
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range []string{"base/1/1", "missing"} {
		if err := m.Add(manifest.File{Path: name, Size: 5, Algorithm: manifest.CRC32C, Checksum: []byte{1, 2, 3, 4}}); err != nil {
			f.Fatal(err)
		}
	}
	if err := m.Close([]manifest.WALRange{{Timeline: 1, Start: 0x2000028, End: 0x2000100}}); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, kind byte, content []byte) {
		dir := t.TempDir()
		suffix := []compress.Method{compress.None, compress.Gzip, compress.LZ4, compress.Zstd}[kind%4].Suffix()
		for _, name := range []string{"base.tar" + suffix, "pg_wal.tar" + suffix} {
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, manifestName), list.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, wal := range []string{"", dir} {
			r, err := Run(context.Background(), Options{Directory: dir, WAL: wal})
			if err != nil || r.OK() || r.Ranges[0].Good || r.Good > 1 {
				t.Fatalf("%v, %+v", err, r)
			}
		}
	})
}

func TestNamesOfArchives(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"base.tar": "base", "base.tar.gz": "base", "pg_wal.tar.zst": "pg_wal", "16384.tar.lz4": "16384", "4294967295.tar": "4294967295",
		"base": "", "base.tar.bz2": "", "base.tar.gz.gz": "", "base2.tar": "", "0.tar": "", "016384.tar": "", "4294967296.tar": "", "-1.tar": "", ".tar": "", "1.tar.": "",
	} {
		if which, _, ok := readArchiveName(name); ok != (want != "") || ok && which != want {
			t.Errorf("%q: %q, %v", name, which, ok)
		}
	}
}
