package logstream_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgbraid/pgbraid/internal/compress"
	"github.com/pgbraid/pgbraid/internal/pgtest"
	"github.com/pgbraid/pgbraid/logstream"
)

// A directory that another cluster's receiver left is not written to.
func TestDirectoryOfAnotherClusterIsRefused(t *testing.T) {
	s := pgtest.Newest(t)
	first, second := s.Init(t, pgtest.Fresh(), keepAll), s.Init(t, pgtest.Fresh(), keepAll)
	dir := pgtest.TempDir(t)
	first.Start(t)
	a := archive(t, first.ConnString(), logstream.ArchiveOptions{Directory: dir})
	first.SQL(t, "CREATE TABLE t AS SELECT generate_series(1, 1000)")
	a.await(1, first.CurrentLSN(t))
	a.stop()
	before := digests(t, dir)
	second.Start(t)
	second.SQL(t, "SELECT pg_create_physical_replication_slot('keep', true)")
	b := archive(t, second.ConnString(), logstream.ArchiveOptions{Directory: dir, Slot: "new"})
	err := b.end()
	var foreign *logstream.ForeignSegmentError
	if !errors.As(err, &foreign) || fmt.Sprint(foreign.System) != first.SystemIdentifier(t) ||
		fmt.Sprint(foreign.ServerSystem) != second.SystemIdentifier(t) || foreign.Hint() == "" {
		t.Fatalf("got %v", err)
	}
	t.Log(err)
	if after := digests(t, dir); after != before {
		t.Errorf("files before:\n%safter:\n%s", before, after)
	}
	if n := second.Query(t, "SELECT count(*) FROM pg_replication_slots"); n != "1" {
		t.Errorf("%s slots: one was made", n)
	}
}

// Each kind of file may be the newest, and each thing that its header says may
// be another.
func TestForeignSegmentsAreFoundInEveryForm(t *testing.T) {
	s := pgtest.Newest(t)
	c := s.Init(t, keepAll, pgtest.SegmentSize(1))
	c.Start(t)
	end := nextSegment(t, c, mib1)
	n := mib1.Segment(parseLSN(t, end)) - 1
	content, err := os.ReadFile(filepath.Join(c.DataDir, "pg_wal", mib1.FileName(1, n)))
	if err != nil {
		t.Fatal(err)
	}
	name := mib1.FileName(1, n)
	for _, tt := range []struct {
		name, file string
		change     func(p []byte) []byte
		refused    string // in the error; "" for none
	}{
		{"own", name, nil, ""},
		{"own, partial", name + ".partial", nil, ""},
		{"on a younger timeline", mib1.FileName(2, n) + ".partial", func(p []byte) []byte { return p[:5000] }, "timeline 2 is not present"},
		{"system, plain", name, func(p []byte) []byte { p[24]++; return p }, "system identifier"},
		{"system, partial", name + ".partial", func(p []byte) []byte { p[24]++; return p }, "system identifier"},
		{"system, zstd", name + ".zst", func(p []byte) []byte { p[24]++; return p }, "system identifier"},
		{"system, gzip partial", name + ".gz.partial", func(p []byte) []byte { p[24]++; return p }, "system identifier"},
		{"segment size", name, func(p []byte) []byte { p[34] = 0; p[35] = 1; return p }, "segments have 16777216 bytes"},
		{"page address", mib1.FileName(1, n+7), nil, "its name says"},
		{"timeline", name, func(p []byte) []byte { p[4] = 9; return p }, "timeline 9"},
		{"zeros say nothing", name + ".partial", func(p []byte) []byte { clear(p); return p }, ""},
		{"empty says nothing", name + ".partial", func(p []byte) []byte { return nil }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := pgtest.TempDir(t)
			p := append([]byte(nil), content...)
			if tt.change != nil {
				p = tt.change(p)
			}
			m, _ := compress.BySuffix(strings.TrimSuffix(tt.file, ".partial"))
			put(t, dir, tt.file, pack(t, m, p))
			before := digests(t, dir)
			a := archive(t, c.ConnString(), logstream.ArchiveOptions{Directory: dir})
			if tt.refused == "" {
				a.await(1, nextSegment(t, c, mib1))
				a.stop()
				return
			}
			if err := a.end(); err == nil || !strings.Contains(err.Error(), tt.refused) {
				t.Errorf("got %v, want %q", err, tt.refused)
			}
			if after := digests(t, dir); after != before {
				t.Errorf("files before:\n%safter:\n%s", before, after)
			}
		})
	}
}
