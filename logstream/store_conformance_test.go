package logstream_test

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/pgbraid/pgbraid/internal/compress"
	"github.com/pgbraid/pgbraid/logstream"
	"github.com/pgbraid/pgbraid/logstream/storetest"
)

func TestDirStoreKeepsThePromisesOfStore(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]logstream.DirOptions{
		"plain":          {},
		"without fsync":  {NoSync: true},
		"data directory": {DataDirectory: true},
		"gzip":           {NoSync: true, Compression: compress.Spec{Method: compress.Gzip}},
		"lz4":            {NoSync: true, Compression: compress.Spec{Method: compress.LZ4}},
		"zstd":           {Compression: compress.Spec{Method: compress.Zstd, Workers: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, func(t *testing.T) storetest.Opened { return openDir(t, o) })
		})
	}
}

func openDir(t *testing.T, o logstream.DirOptions) storetest.Opened {
	dir := t.TempDir()
	if o.DataDirectory {
		if err := os.Mkdir(filepath.Join(dir, "archive_status"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	reopen := func() logstream.Store { return logstream.NewDirStore(dir, storetest.SegmentSize, o) }
	return storetest.Opened{
		Store: reopen(), Reopen: reopen, FinishSeals: o.DataDirectory,
		ReadHistory: func(timeline logstream.TimelineID) []byte {
			content, _ := os.ReadFile(filepath.Join(dir, timeline.HistoryFileName())) // nil is the answer
			return content
		},
		Read: func(timeline logstream.TimelineID, n logstream.SegmentNumber) (content []byte, sealed, ok bool) {
			list, err := logstream.ListSegments(dir, storetest.SegmentSize)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range list {
				if f.Timeline != timeline || f.Number != n {
					continue
				}
				if ok {
					t.Errorf("%s is there besides another form", f.Name)
					continue
				}
				r, err := f.Open(dir)
				if err != nil {
					t.Fatal(err)
				}
				if content, err = io.ReadAll(r); err != nil {
					t.Fatal(err)
				}
				_ = r.Close() // was only read from
				sealed, ok = !f.Partial, true
			}
			return content, sealed, ok
		},
	}
}
