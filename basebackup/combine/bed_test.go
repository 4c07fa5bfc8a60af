package combine

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/basebackup/manifest"
	"github.com/pgbraid/pgbraid/internal/pgtest"
	"github.com/pgbraid/pgbraid/logstream"
)

const (
	blockSize = 8192
	relation  = "base/5/16384" // a file that tests rebuild
)

// system is a real cluster that made backups are taken of. What most tests
// have for pages are none, so that ours has no checksums of pages.
type system string

const (
	ours        system = "ours"
	foreign     system = "foreign"
	checksummed system = "checksummed"
)

var controls = map[system][]byte{}
var controlsMutex sync.Mutex

// controlOf is the pg_control of a real cluster.
func controlOf(t testing.TB, s system) []byte {
	t.Helper()
	controlsMutex.Lock()
	defer controlsMutex.Unlock()
	if controls[s] == nil {
		opts := map[system][]pgtest.Option{ours: {pgtest.NoChecksums()}, foreign: {pgtest.NoChecksums(), pgtest.Fresh()}}
		c := pgtest.Newest(t).Init(t, opts[s]...)
		controls[s] = read(t, filepath.Join(c.DataDir, controlFile))
	}
	return controls[s]
}

// madeBackup is a backup without a server: files by name.
type madeBackup struct {
	dir      string
	files    map[string][]byte
	start    logstream.LSN
	from     logstream.LSN // 0: a full backup
	noMan    bool
	checksum manifest.Algorithm
}

// made begins a backup that starts at an LSN and is on top of another one.
func made(start, from logstream.LSN, files map[string][]byte) *madeBackup {
	return &madeBackup{start: start, from: from, files: maps.Clone(files), checksum: manifest.CRC32C}
}

func labelText(start, from logstream.LSN) string {
	text := fmt.Sprintf("START WAL LOCATION: %s (file 000000010000000000000002)\nCHECKPOINT LOCATION: %s\n"+
		"BACKUP METHOD: streamed\nBACKUP FROM: primary\nSTART TIME: 2026-11-21 04:14:03 GMT\nLABEL: test\nSTART TIMELINE: 1\n", start, start)
	if from != 0 {
		text += fmt.Sprintf("INCREMENTAL FROM LSN: %s\nINCREMENTAL FROM TLI: 1\n", from)
	}
	return text
}

// write puts the backup into a directory.
func (b *madeBackup) write(t testing.TB, dir string) string {
	t.Helper()
	b.dir = dir
	files := map[string][]byte{
		versionFile:              []byte("18\n"),
		controlFile:              controlOf(t, ours),
		labelFile:                []byte(labelText(b.start, b.from)),
		"postgresql.conf":        []byte("# settings\n"),
		"base/5/PG_VERSION":      []byte("18\n"),
		"pg_wal/archive_status/": nil,
		"pg_tblspc/":             nil,
		"pg_xact/0000":           bytes.Repeat([]byte{0x55}, 8192),
	}
	files["pg_wal/000000010000000000000002"] = []byte("log of " + b.start.String())
	maps.Copy(files, b.files)
	var text bytes.Buffer
	w, err := manifest.NewWriter(&text, manifest.WriterOptions{Version: 2, SystemIdentifier: binary.NativeEndian.Uint64(files[controlFile])})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		put(t, filepath.Join(dir, name), files[name])
		if strings.HasPrefix(name, "pg_wal/") || strings.HasSuffix(name, "/") {
			continue
		}
		entry := manifest.File{Path: name, Size: int64(len(files[name])), ModTime: time.Unix(1700000000, 0), Algorithm: b.checksum}
		if h := b.checksum.New(); h != nil {
			h.Write(files[name])
			entry.Checksum = h.Sum(nil)
		}
		if err := w.Add(entry); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close([]manifest.WALRange{{Timeline: 1, Start: b.start, End: b.start + 0x100}}); err != nil {
		t.Fatal(err)
	}
	if !b.noMan {
		put(t, filepath.Join(dir, manifestFile), text.Bytes())
	}
	return dir
}

// put makes a file and its directories; one whose name ends in a slash is a
// directory.
func put(t testing.TB, name string, content []byte) {
	t.Helper()
	dir := filepath.Dir(name)
	if content == nil {
		dir = name
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if content == nil {
		return
	}
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// incremental is the content of a file of changed blocks.
func incremental(truncation uint32, blocks map[uint32][]byte) []byte {
	order := binary.NativeEndian
	b := order.AppendUint32(nil, incrementalMagic)
	b = order.AppendUint32(b, uint32(len(blocks)))
	b = order.AppendUint32(b, truncation)
	numbers := slices.Sorted(maps.Keys(blocks))
	for _, n := range numbers {
		b = order.AppendUint32(b, n)
	}
	if len(blocks) > 0 && len(b)%blockSize != 0 {
		b = append(b, make([]byte, blockSize-len(b)%blockSize)...)
	}
	for _, n := range numbers {
		b = append(b, blocks[n]...)
	}
	return b
}

// block is a page that tells itself from others.
func block(stamp int) []byte {
	return bytes.Repeat(binary.NativeEndian.AppendUint64(nil, uint64(stamp)), blockSize/8)
}

// written writes the backups one after another into a new directory.
func written(t testing.TB, backups ...*madeBackup) (root string, dirs []string) {
	t.Helper()
	root = t.TempDir()
	return root, writtenIn(t, root, backups...)
}

func writtenIn(t testing.TB, root string, backups ...*madeBackup) (dirs []string) {
	t.Helper()
	for n, b := range backups {
		dirs = append(dirs, b.write(t, filepath.Join(root, fmt.Sprintf("in%d", n))))
	}
	return dirs
}

// options are those of most tests.
func testOptions(t testing.TB, root string, dirs []string) Options {
	return Options{Inputs: dirs, Output: filepath.Join(root, "out"), NoSync: true, Logger: testLogger(t)}
}

func testLogger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(testLog{t}, nil))
}

type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Logf("%s", bytes.TrimSpace(p))
	return len(p), nil
}

// mustRun is Run with a check of the result's manifest against its files.
func mustRun(t testing.TB, o Options) *Result {
	t.Helper()
	result, err := Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	if !o.NoManifest {
		mustVerify(t, o.Output)
	}
	return result
}

// mustVerify holds a directory against its manifest.
func mustVerify(t testing.TB, dir string) *manifest.Summary {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, manifestFile))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	listed := map[string]bool{labelFile: false}
	summary, err := manifest.Read(f, func(m manifest.File) error {
		listed[m.Path] = true
		if strings.HasPrefix(m.Path, "pg_wal/") {
			t.Errorf("%s is in the manifest", m.Path)
		}
		content := read(t, filepath.Join(dir, m.Path))
		if int64(len(content)) != m.Size {
			t.Errorf("%s has %d bytes, %d in the manifest", m.Path, len(content), m.Size)
		}
		if h := m.Algorithm.New(); h != nil {
			if h.Write(content); !bytes.Equal(h.Sum(nil), m.Checksum) {
				t.Errorf("%s has another checksum in the manifest", m.Path)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range treeOf(t, dir) {
		if !listed[name] && name != manifestFile && !strings.HasPrefix(name, "pg_wal/") {
			t.Errorf("%s is not in the manifest", name)
		}
	}
	return summary
}

// treeOf is every file below dir, also behind links to directories, by name.
func treeOf(t testing.TB, dir string) map[string]fs.FileInfo {
	t.Helper()
	files := map[string]fs.FileInfo{}
	var walk func(name string)
	walk = func(name string) {
		entries, err := os.ReadDir(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			below := path.Join(name, e.Name())
			info, err := os.Stat(filepath.Join(dir, below))
			if err != nil {
				t.Fatal(err)
			}
			if info.IsDir() {
				walk(below)
			} else {
				files[below] = info
			}
		}
	}
	walk("")
	return files
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// runProgram runs a program of PostgreSQL's, which must succeed.
func runProgram(t testing.TB, program string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, program, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", filepath.Base(program), err, out)
	}
}

// mustLeaveNothing checks what a run that failed has to keep.
func mustLeaveNothing(t testing.TB, root string, inputs []string) {
	t.Helper()
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if name := filepath.Join(root, e.Name()); !slices.Contains(inputs, name) {
			t.Errorf("left behind: %s", name)
		}
	}
}
