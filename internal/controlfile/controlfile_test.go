package controlfile_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgbraid/pgbraid/internal/controlfile"
	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// TestReadAgreesWithTheServer compares what is read with what the server says
// of itself, on clusters that differ in all that can.
func TestReadAgreesWithTheServer(t *testing.T) {
	t.Parallel()
	for _, s := range pgtest.Servers(t) {
		for name, opts := range map[string][]pgtest.Option{
			"checksums":    nil,
			"no checksums": {pgtest.NoChecksums(), pgtest.SegmentSize(1)},
		} {
			if s.Major < 11 && name != "checksums" {
				opts = opts[:1]
			}
			t.Run(s.String()+" "+name, func(t *testing.T) {
				t.Parallel()
				c := s.Init(t, opts...)
				c.Start(t)
				c.SQL(t, "CHECKPOINT")
				got := read(t, c)
				want := c.Query(t, `SELECT system_identifier || ' ' || pg_control_version || ' ' || catalog_version_no FROM pg_control_system()`)
				want += " " + c.Query(t, `SELECT (checkpoint_lsn - '0/0') || ' ' || (redo_lsn - '0/0') || ' ' || timeline_id FROM pg_control_checkpoint()`)
				want += " " + c.Query(t, `SELECT database_block_size || ' ' || blocks_per_segment || ' ' || bytes_per_wal_segment || ' ' || data_page_checksum_version FROM pg_control_init()`)
				text := fmt.Sprint(got.SystemIdentifier, got.Version, got.CatalogVersion, got.Checkpoint, got.Redo, got.Timeline,
					got.BlockSize, got.SegmentBlocks, got.WALSegmentSize, got.ChecksumVersion)
				if text != want {
					t.Errorf("got  %s\nwant %s", text, want)
				}
				if got.State != controlfile.InProduction {
					t.Errorf("state %q", got.State)
				}
				modified := c.Query(t, "SELECT extract(epoch FROM pg_control_last_modified)::bigint FROM pg_control_system()")
				if fmt.Sprint(got.ModTime.Unix()) != modified {
					t.Errorf("written at %d, want %s", got.ModTime.Unix(), modified)
				}
				c.Stop(t, pgtest.Fast)
				if got := read(t, c).State; got != controlfile.ShutDown {
					t.Errorf("state %q", got)
				}
			})
		}
	}
}

func path(c *pgtest.Cluster) string { return filepath.Join(c.DataDir, "global", "pg_control") }

func read(t *testing.T, c *pgtest.Cluster) controlfile.Control {
	t.Helper()
	control, err := controlfile.Read(path(c))
	if err != nil {
		t.Fatal(err)
	}
	return control
}

// TestEveryFlippedBitIsNoticed flips each bit of the data and its checksum.
func TestEveryFlippedBitIsNoticed(t *testing.T) {
	t.Parallel()
	c := pgtest.Newest(t).Init(t)
	content, err := os.ReadFile(path(c))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := controlfile.Parse(content); err != nil {
		t.Fatal(err)
	}
	noticed := 0
	for bit := range 512 * 8 {
		content[bit/8] ^= 1 << (bit % 8)
		if _, err := controlfile.Parse(content); errors.Is(err, controlfile.ErrCRC) {
			noticed++
		}
		content[bit/8] ^= 1 << (bit % 8)
	}
	// All but the zeros after the checksum.
	if noticed < 280*8 || noticed > 320*8 {
		t.Errorf("%d flipped bits noticed", noticed)
	}
}

func TestFileThatIsNone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing")
	if _, err := controlfile.Read(missing); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	short := filepath.Join(dir, "short")
	if err := os.WriteFile(short, make([]byte, 511), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := controlfile.Read(short); !errors.Is(err, controlfile.ErrTooShort) || !strings.Contains(err.Error(), short) {
		t.Errorf("short: %v", err)
	}
	zeros := filepath.Join(dir, "zeros")
	if err := os.WriteFile(zeros, make([]byte, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := controlfile.Read(zeros); !errors.Is(err, controlfile.ErrCRC) {
		t.Errorf("zeros: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(make([]byte, 8192))
	f.Add(binary.NativeEndian.AppendUint64(make([]byte, 208, 8192), 0x4132D68700000000)[:512])
	f.Fuzz(func(t *testing.T, b []byte) {
		control, err := controlfile.Parse(b)
		if err == nil && len(b) < 512 {
			t.Error(control)
		}
	})
}
