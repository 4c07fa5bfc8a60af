package combine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgbraid/pgbraid/basebackup/manifest"
	"github.com/pgbraid/pgbraid/internal/pgpage"
	"github.com/pgbraid/pgbraid/logstream"
)

// page is one as a server writes it: the block of that number, last changed
// at an LSN.
func page(number uint32, lsn logstream.LSN, stamp int) []byte {
	b := block(stamp)
	order := binary.NativeEndian
	order.PutUint32(b, uint32(lsn>>32))
	order.PutUint32(b[4:], uint32(lsn))
	for at, field := range []uint16{0, 28, 8000, blockSize, blockSize + 4} { // flags, lower, upper, special, size and version
		order.PutUint16(b[10+2*at:], field)
	}
	order.PutUint16(b[8:], pgpage.Checksum(b, number))
	return b
}

// pagedBackups are a full backup and two on top of it, of pages with
// checksums.
func pagedBackups(t *testing.T, of manifest.Algorithm) []*madeBackup {
	copied := "base/5/16385.1"
	backups := []*madeBackup{
		made(0x2000028, 0, map[string][]byte{
			relation: bytes.Join([][]byte{page(0, 0x1000000, 1), page(1, 0x1000000, 2), make([]byte, blockSize), page(3, 0x1000000, 4)}, nil),
			copied:   bytes.Join([][]byte{page(131072, 0x1000000, 5), page(131073, 0x1000000, 6)}, nil),
		}),
		made(0x3000028, 0x2000028, map[string][]byte{
			changes: incremental(4, map[uint32][]byte{1: page(1, 0x2000100, 7)}),
			"base/5/" + incrementalPrefix + "16385.1": incremental(2, nil),
		}),
		made(0x4000028, 0x3000028, map[string][]byte{
			changes: incremental(4, map[uint32][]byte{3: page(3, 0x3000100, 8)}),
			"base/5/" + incrementalPrefix + "16385.1": incremental(2, nil),
			"base/5/16386": page(0, 0x3000100, 9),
		}),
	}
	for _, b := range backups {
		b.checksum = of
		b.files[controlFile] = controlOf(t, checksummed)
	}
	return backups
}

// TestBadPagesAreFound is about what a manifest does not tell: it has no
// checksums, or the page was bad on the server already.
func TestBadPagesAreFound(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		input int
		file  string
		at    int
		block uint32
	}{
		"unchanged":                       {0, relation, 100, 0},
		"in a middle backup":              {1, changes, blockSize + 100, 1},
		"in the last backup":              {2, changes, blockSize + 100, 3},
		"in a file of the full backup":    {0, "base/5/16385.1", blockSize + 100, 131073},
		"in a file of the last backup":    {2, "base/5/16386", 200, 0},
		"in a page that was not used yet": {0, relation, 2*blockSize + 7000, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, of := range []manifest.Algorithm{manifest.None, manifest.CRC32C} {
				backups := pagedBackups(t, of)
				backups[test.input].files[test.file][test.at] ^= 1
				root, dirs := written(t, backups...)
				for _, method := range methods {
					o := testOptions(t, root, dirs)
					o.Method = method
					_, err := Run(context.Background(), o)
					var damage *DamageError
					if !errors.As(err, &damage) || damage.Kind != BadPage || damage.Block != test.block || damage.Path != filepath.Join(dirs[test.input], test.file) {
						t.Errorf("%s, %s: %v", of, method, err)
					}
					mustLeaveNothing(t, root, dirs)
				}
				o := testOptions(t, root, dirs)
				o.DryRun = true
				if _, err := Run(context.Background(), o); err == nil {
					t.Error("a dry run did not find it")
				}
				// As it was on the server: pg_combinebackup says nothing.
				o = testOptions(t, root, dirs)
				o.AsPgCombinebackup = true
				if _, err := Run(context.Background(), o); (err == nil) != (of == manifest.CRC32C) {
					t.Errorf("%s: %v", of, err)
				}
				o.NoVerify, o.Output = true, filepath.Join(root, "taken")
				if _, err := Run(context.Background(), o); err != nil {
					t.Errorf("%s: %v", of, err)
				}
			}
		})
	}
}

// TestGoodAndTornPagesAreTaken has pages that a server does not complain of,
// and one that was half written when the full backup read it.
func TestGoodAndTornPagesAreTaken(t *testing.T) {
	t.Parallel()
	for _, of := range []manifest.Algorithm{manifest.None, manifest.SHA224} {
		backups := pagedBackups(t, of)
		torn := page(0, 0x2000030, 77)
		copy(torn[4096:], page(0, 0x1000000, 1)[4096:])
		copy(backups[0].files[relation], torn)
		root, dirs := written(t, backups...)
		for _, method := range methods {
			o := testOptions(t, root, dirs)
			o.Method, o.Output = method, filepath.Join(root, "out "+string(method))
			mustRun(t, o)
		}
	}
}

// TestWhatCannotBeCheckedIsTold has manifests without checksums.
func TestWhatCannotBeCheckedIsTold(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		backups []*madeBackup
		want    string
	}{
		"pages with checksums":    {pagedBackups(t, manifest.None), `"of which the pages were checked"=3`},
		"pages without checksums": {sharedBackups(manifest.None), `"of which the pages were checked"=0`},
		"no manifest":             {sharedBackups(manifest.CRC32C), `"of which the pages were checked"=0`},
		"all":                     {sharedBackups(manifest.CRC32C), ""},
	} {
		if name == "no manifest" {
			test.backups[0].noMan = true
		}
		root, dirs := written(t, test.backups...)
		var said strings.Builder
		o := testOptions(t, root, dirs)
		o.Logger = slog.New(slog.NewTextHandler(&said, nil))
		mustRun(t, o)
		told := strings.Contains(said.String(), "it could not be checked whether these files are as they were")
		if told != (test.want != "") || !strings.Contains(said.String(), test.want) {
			t.Errorf("%s: %s", name, said.String())
		}
	}
}
