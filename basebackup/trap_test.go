package basebackup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pgbraid/pgbraid/basebackup"
	"github.com/pgbraid/pgbraid/internal/pgtest"
	"github.com/pgbraid/pgbraid/internal/pgtest/walsender"
)

// trap is a clone from a scripted walsender, which does what no real one does
// when asked.
type trap struct {
	t       *testing.T
	server  *walsender.Server
	wal     *walsender.WAL
	backup  *walsender.Backup
	options basebackup.Options

	root   string // holds everything that a clone could touch
	space  string // where tablespace 16385 lies
	log    pgtest.Output
	before map[string]string
	result *basebackup.Result
}

// trapReleases are one release for each form that a base backup has on the
// wire: one COPY for all, a COPY for each archive, and that without a manifest.
var trapReleases = []string{"18.4", "14.20", "12.22"}

// newTrap makes a server that has a data directory and one tablespace, and
// beside the directories to fill some that are somebody else's.
func newTrap(t *testing.T, version string) *trap {
	t.Helper()
	p := &trap{t: t, root: t.TempDir()}
	p.server = walsender.New(t, walsender.Options{Version: version})
	p.wal = walsender.NewWAL(0x2000000, 0x3000000)
	p.server.ServeWAL(p.wal)
	p.space = filepath.Join(p.root, "space")
	p.backup = walsender.SampleBackup()
	p.backup.AddTablespace(16385, p.space)
	p.backup.Before, p.backup.Instead, p.backup.After = map[walsender.Step]walsender.Hook{}, map[walsender.Step]walsender.Hook{}, map[walsender.Step]walsender.Hook{}
	for name, text := range map[string]string{
		"beside/file": "somebody's", "beside/pg_tblspc/1/x": "somebody's", "evil": "was there before", "PG_VERSION": "9",
	} {
		path := filepath.Join(p.root, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	p.options = basebackup.Options{Directory: filepath.Join(p.root, "made", "data"), FastCheckpoint: true, Patience: -1, NoSync: true}
	return p
}

// trapTimeout is far more than any of these clones needs: one that is still
// running then hangs.
const trapTimeout = 15 * time.Second

// run clones. Whatever happens, what lies beside must be as it was.
func (p *trap) run() error {
	p.t.Helper()
	p.before = trapTree(p.t, p.root)
	err := p.runUnchecked()
	after := trapTree(p.t, p.root)
	for name, is := range p.before {
		if after[name] != is {
			p.t.Errorf("%s was %q, is %q", name, is, after[name])
		}
	}
	return err
}

// runUnchecked is run for a clone that may change what is there.
func (p *trap) runUnchecked() error {
	p.t.Helper()
	p.server.ServeBackup(p.backup)
	p.options.Logger = slog.New(slog.NewTextHandler(&p.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	config, err := pgconn.ParseConfig(p.server.ConnString() + " replication=true")
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, stop := context.WithTimeoutCause(context.Background(), trapTimeout, errTrapHangs)
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.result, err = basebackup.Run(ctx, config, p.options)
	}()
	select {
	case <-done:
	case <-time.After(2 * trapTimeout):
		p.t.Fatal("the clone hangs, and its context cannot end it")
	}
	if errors.Is(err, errTrapHangs) {
		p.t.Errorf("the clone hangs: %v", err)
	}
	return err
}

var errTrapHangs = errors.New("time limit of the test")

// fails clones, and wants an error with that text and nothing left behind.
func (p *trap) fails(want string) error {
	p.t.Helper()
	err := p.run()
	if err == nil {
		p.t.Errorf("no error, want one with %q", want)
		return nil
	}
	if !strings.Contains(err.Error(), want) {
		p.t.Errorf("error is %q, want one with %q", err, want)
	}
	for name, is := range trapTree(p.t, p.root) {
		if _, there := p.before[name]; !there {
			p.t.Errorf("left behind: %s, %q", name, is)
		}
	}
	return err
}

// succeeds clones, and wants every file as the server sent it.
func (p *trap) succeeds() {
	p.t.Helper()
	if err := p.run(); err != nil {
		p.t.Fatalf("%v\n%s", err, p.log.String())
	}
	p.checkFiles()
}

func (p *trap) checkFiles() {
	p.t.Helper()
	sent := 0
	for i := range p.backup.Tablespaces {
		space := &p.backup.Tablespaces[i]
		dir := p.options.Directory
		if space.OID != 0 {
			dir = p.result.Tablespaces[slices.IndexFunc(p.result.Tablespaces, func(t *basebackup.Tablespace) bool { return t.OID == space.OID })].Path
		}
		for _, m := range space.Members {
			if m.Linkname != "" || strings.HasSuffix(m.Name, "/") {
				continue
			}
			sent++
			got, err := os.ReadFile(filepath.Join(dir, m.Name))
			if m.Name == "postgresql.auto.conf" {
				got = got[:min(len(got), len(m.Content))]
			}
			if err != nil || !bytes.Equal(got, m.Content) {
				p.t.Errorf("%s in %s: %d bytes, want the %d that were sent: %v", m.Name, space.Name(), len(got), len(m.Content), err)
			}
		}
	}
	if sent == 0 {
		p.t.Error("no files were sent")
	}
	if _, err := os.Lstat(filepath.Join(p.options.Directory, "global", "pgsql_tmp.pgbraid.pg_control")); !errors.Is(err, fs.ErrNotExist) {
		p.t.Errorf("pg_control has its interim name: %v", err)
	}
	if _, err := os.Lstat(filepath.Join(p.options.Directory, "backup_manifest")); (err == nil) != (p.server.Major() >= 13) {
		p.t.Errorf("manifest: %v", err)
	}
	name := walsender.SegmentName(1, 0x2000000, 16<<20)
	got, err := os.ReadFile(filepath.Join(p.options.Directory, "pg_wal", name))
	upTo := p.backup.End.LSN
	if err != nil || len(got) != 16<<20 || !bytes.Equal(got[0x28:upTo-0x2000000], p.wal.Bytes(1, 0x2000028, upTo)) {
		p.t.Errorf("WAL segment %s: %d bytes: %v", name, len(got), err)
	}
}

// base is the archive of the data directory.
func (p *trap) base() *walsender.Tablespace {
	return &p.backup.Tablespaces[slices.IndexFunc(p.backup.Tablespaces, func(t walsender.Tablespace) bool { return t.OID == 0 })]
}

// add puts members into the data directory, before pg_control, whether one of
// that name is there or not.
func (p *trap) add(members ...walsender.Member) {
	base := p.base()
	base.Members = slices.Insert(base.Members, len(base.Members)-1, members...)
}

// framed tells whether the server sends one COPY for all.
func (p *trap) framed() bool { return p.server.Major() >= 15 }

// eachRelease runs f against each form of a base backup, from release oldest
// on.
func eachRelease(t *testing.T, oldest int, f func(p *trap)) {
	t.Helper()
	for _, version := range trapReleases {
		t.Run(version, func(t *testing.T) {
			p := newTrap(t, version)
			if p.server.Major() < oldest {
				return
			}
			f(p)
		})
	}
}

// trapTree is everything below a directory: modes, content and links.
func trapTree(t testing.TB, root string) map[string]string {
	t.Helper()
	tree := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text := info.Mode().String()
		switch info.Mode().Type() {
		case 0:
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += " " + string(content)
		case fs.ModeSymlink:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			text += " " + to
		}
		tree[path] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestSampleBackupIsClonedFromEachRelease(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"10.23", "11.22", "12.22", "13.23", "14.20", "15.15", "16.11", "17.7", "18.4", "19devel", "18beta1"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			p := newTrap(t, version)
			p.options.WALDirectory = filepath.Join(p.root, "wal")
			p.succeeds()
			if to, err := os.Readlink(filepath.Join(p.options.Directory, "pg_tblspc", "16385")); err != nil || to != p.space {
				t.Errorf("tablespace's link leads to %q: %v", to, err)
			}
			total := int64(0)
			for i := range p.backup.Tablespaces {
				total += int64(len(p.backup.Tablespaces[i].Tar(p.server.Major())))
			}
			// The server's own count is cumulative over the archives.
			if p.result.Bytes != total {
				t.Errorf("%d bytes were counted, want %d", p.result.Bytes, total)
			}
		})
	}
}

func TestServerThatIsTooOldOrStrange(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		options walsender.Options
		want    string
	}{
		"9.6":                    {walsender.Options{Version: "9.6.24"}, `"9.6.24" is too old`},
		"no version":             {walsender.Options{Parameters: map[string]string{"server_version": "-"}}, "too old"},
		"float timestamps":       {walsender.Options{Parameters: map[string]string{"integer_datetimes": "off"}}, "integer_datetimes"},
		"segment size":           {walsender.Options{SegmentSize: "17MB"}, "17MB"},
		"no segment size":        {walsender.Options{SegmentSize: "big"}, "big"},
		"directory mode":         {walsender.Options{DataDirectoryMode: "rwx"}, "data_directory_mode"},
		"identifier":             {walsender.Options{SystemID: "0x17"}, "0x17"},
		"identifier beyond 2^64": {walsender.Options{SystemID: "18446744073709551616"}, "18446744073709551616"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newTrap(t, "18.4")
			p.server = walsender.New(t, test.options)
			p.server.ServeWAL(p.wal)
			p.fails(test.want)
			if slices.ContainsFunc(p.server.Queries(), func(q string) bool { return strings.HasPrefix(q, "BASE_BACKUP") }) {
				t.Error("the backup was begun nevertheless")
			}
		})
	}
}

// The server may cut its data anywhere, and so may the network.
func TestBackupMayComeInPiecesOfAnySize(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 7, 511, 513, 100_000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			eachRelease(t, 0, func(p *trap) {
				p.backup.MessageSize = size
				p.succeeds()
			})
		})
	}
	t.Run("bytes on the network", func(t *testing.T) {
		t.Parallel()
		eachRelease(t, 0, func(p *trap) {
			p.backup.Before[walsender.StepStart] = func(c *walsender.Conn) error { c.Split(5, 0); return nil }
			p.succeeds()
		})
	})
}
