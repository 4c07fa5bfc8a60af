package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/internal/compress"
	"github.com/pgbraid/pgbraid/logstream"
)

var updateStatus = flag.Bool("update-status", false, "write testdata/status anew")

// statusSamples are inventories whose text and JSON testdata/status holds.
func statusSamples() map[string]*logstream.Inventory {
	const size = logstream.SegmentSize(16 << 20)
	commit := time.Date(2026, 3, 4, 5, 6, 7, 890e6, time.UTC)
	one := logstream.TimelineInventory{
		Timeline: 1,
		Ranges:   []logstream.SegmentRange{{Timeline: 1, First: 1, Last: 4}},
		Partials: []logstream.SegmentFile{{Name: "000000010000000000000005.partial", Timeline: 1, Number: 5, Partial: true}},
	}
	two := logstream.TimelineInventory{
		Timeline: 2, Parent: 1, Fork: 0x5001238,
		Ranges:   []logstream.SegmentRange{{Timeline: 2, First: 5, Last: 0x104}, {Timeline: 2, First: 0x106, Last: 0x106}},
		Partials: []logstream.SegmentFile{{Name: "000000020000000100000007.gz.partial", Timeline: 2, Number: 0x107, Method: compress.Gzip, Partial: true}},
	}
	return map[string]*logstream.Inventory{
		"empty": {},
		"begun": {
			SegmentSize: size, Partial: logstream.FileCount{Files: 1, Bytes: 16 << 20},
			Timelines: []logstream.TimelineInventory{{Timeline: 1, Partials: one.Partials}},
		},
		"whole": {
			SegmentSize: size, SystemID: 7300000000000000001, Major: 18,
			Timelines: []logstream.TimelineInventory{one},
			Plain:     logstream.FileCount{Files: 4, Bytes: 64 << 20}, Partial: logstream.FileCount{Files: 1, Bytes: 16 << 20},
			Newest: logstream.Position{Timeline: 1, LSN: 0x5ABCDE8}, LastCommit: commit,
		},
		"faults": {
			SegmentSize: size, SystemID: 7300000000000000001, Major: 15,
			Timelines: []logstream.TimelineInventory{one, two, {Timeline: 3, Parent: 1, Fork: 0x4000000}, {Timeline: 4, Parent: 2, Fork: 0x106000028}},
			Holes:     []logstream.SegmentRange{{Timeline: 2, First: 0x105, Last: 0x105}},
			Bad:       []logstream.BadFile{{Name: "000000020000000100000005.gz", Err: errors.New("it holds 5 bytes\nwant \x1b[31m16777216")}},
			Plain:     logstream.FileCount{Files: 4, Bytes: 64 << 20}, Compressed: logstream.FileCount{Files: 258, Bytes: 1234567890},
			Partial: logstream.FileCount{Files: 2, Bytes: 17 << 20}, Other: 3,
			Lost: []logstream.LostFile{{
				Name: "000000010000000000000005.lost-0-5001238-0-5001368", Timeline: 1, From: 0x5001238, To: 0x5001368, Bytes: 16 << 20,
			}},
			Newest: logstream.Position{Timeline: 2, LSN: 0x107000060},
		},
	}
}

func TestStatusShowsTheInventory(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 4, 7, 8, 9, 0, time.UTC)
	for name, i := range statusSamples() {
		object, err := json.MarshalIndent(newStatusResult("/wal", i), "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		fault := faultsOf("/wal", i)
		if (fault == nil) != i.Whole() {
			t.Errorf("%s: %v, and whole is %t", name, fault, i.Whole())
		}
		text := statusText("/wal", i, now)
		if fault != nil {
			text += fault.Error() + "\n"
		}
		for path, got := range map[string][]byte{name + ".text": []byte(text), name + ".json": append(object, '\n')} {
			path = filepath.Join("testdata", "status", path)
			if *updateStatus {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %v, got\n%s", path, err, got)
			}
		}
	}
}
