package basebackup

import (
	"errors"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/pgbraid/pgbraid/basebackup/manifest"
	"github.com/pgbraid/pgbraid/internal/compress"
	"github.com/pgbraid/pgbraid/logstream"
	"github.com/pgbraid/pgbraid/tarx"
)

// message is the size in bytes of what a server sends at once.
const message = 32 << 10

// newSinks makes each kind of sink, in a directory of its own, with a file of
// some size begun in it. Nothing is synced.
func newSinks(t testing.TB, size int64) map[string]sink {
	t.Helper()
	run := func(o Options) *backup {
		o.Directory, o.NoSync = filepath.Join(t.TempDir(), "d"), true
		b := &backup{options: o, log: slog.New(slog.DiscardHandler), tablespaces: []*Tablespace{{}}}
		b.server = logstream.Server{Version: 180000, FileMode: 0o600, DirMode: 0o700, SegmentSize: 16 << 20}
		b.members = newMemberCheck(manifest.CRC32C, false)
		return b
	}
	sinks := map[string]sink{}
	open := func(name string, d destination, b *backup) {
		t.Helper()
		err := errors.Join(d.prepare(), d.place())
		if err != nil {
			t.Fatal(err)
		}
		b.sink, err = d.open()
		s := b.sink
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = errors.Join(s.close(), d.close()) }) // the archive is not whole
		begin(t, s, b.tablespaces[0], size)
		sinks[name] = s
	}
	plain := run(Options{})
	open("plain", &plainDirectory{plain}, plain)
	tar := run(Options{Format: Tar})
	open("tar", &tarDirectory{backup: tar}, tar)
	gzip := run(Options{Format: Tar, clientCompression: compress.Spec{Method: compress.Gzip, Level: 1}})
	open("tar gzip", &tarDirectory{backup: gzip}, gzip)
	zstd := run(Options{Format: Tar, clientCompression: compress.Spec{Method: compress.Zstd, Level: 3}})
	open("tar zstd", &tarDirectory{backup: zstd}, zstd)
	lz4 := run(Options{Format: Tar, clientCompression: compress.Spec{Method: compress.LZ4}})
	open("tar lz4", &tarDirectory{backup: lz4}, lz4)
	return sinks
}

// begin has a sink begin an archive whose one file has the given size.
func begin(t testing.TB, s sink, archive *Tablespace, size int64) {
	t.Helper()
	header, err := tarx.AppendHeader(nil, memberHeader("file", 0o600, size))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.beginArchive(archive), s.archiveData(header)); err != nil {
		t.Fatal(err)
	}
}

func TestContentGoesThroughASinkWithoutAllocation(t *testing.T) {
	piece := make([]byte, message)
	sinks := newSinks(t, 1<<30)
	for _, name := range []string{"plain", "tar"} {
		n := testing.AllocsPerRun(1000, func() {
			if err := sinks[name].archiveData(piece); err != nil {
				t.Fatal(err)
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations a message", name, n)
		}
	}
}

func BenchmarkSink(b *testing.B) {
	piece := make([]byte, message)
	for i := range piece {
		piece[i] = byte(i * i >> 7) // neither random nor all the same
	}
	for name, s := range newSinks(b, 1<<34) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(message)
			b.ReportAllocs()
			for b.Loop() {
				if err := s.archiveData(piece); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
