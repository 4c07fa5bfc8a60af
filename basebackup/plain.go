package basebackup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pgbraid/pgbraid/internal/durable"
	"github.com/pgbraid/pgbraid/logstream"
	"github.com/pgbraid/pgbraid/tarx"
)

// plainDirectory is a data directory that a server can be started in, with its
// tablespaces where they are mapped to.
type plainDirectory struct{ *backup }

// check implements destination.
func (d *plainDirectory) check() error {
	if err := checkTarget("data directory", d.options.Directory); err != nil {
		return err
	}
	if d.options.WALDirectory != "" {
		return checkTarget("WAL directory", d.options.WALDirectory)
	}
	return nil
}

// prepare implements destination.
func (d *plainDirectory) prepare() error {
	data, err := d.makeTarget("data directory", d.options.Directory)
	if err != nil {
		return err
	}
	d.walDir = filepath.Join(data.path, "pg_wal")
	if d.options.WALDirectory != "" {
		wal, err := d.makeTarget("WAL directory", d.options.WALDirectory)
		if err != nil {
			return err
		}
		if err := durable.Symlink(wal.path, d.walDir); err != nil {
			return err
		}
		d.walDir = wal.path
	}
	for _, name := range d.madeDirs() {
		if d.options.WALDirectory != "" && name == "pg_wal" {
			continue
		}
		if err := d.mkdir(filepath.Join(data.path, name)); err != nil {
			return err
		}
	}
	return nil
}

// madeDirs are the directories below the data directory that are made before
// the server names them: the log goes there from the first moment.
func (d *plainDirectory) madeDirs() []string {
	dirs := []string{"pg_wal", "pg_wal/archive_status"}
	if d.server.Version >= 170000 {
		dirs = append(dirs, "pg_wal/summaries")
	}
	return append(dirs, d.inPlaceDirs()...)
}

// inPlaceDirs are the directories of in-place tablespaces, with their parent.
// Their archives come before the one that names them.
func (d *plainDirectory) inPlaceDirs() (dirs []string) {
	for _, t := range d.tablespaces {
		if t.inPlace() {
			if dirs == nil {
				dirs = []string{"pg_tblspc"}
			}
			dirs = append(dirs, t.link())
		}
	}
	return dirs
}

// mkdir makes a directory of the data directory's mode, whatever the mask of
// this process.
func (d *plainDirectory) mkdir(path string) error {
	if err := durable.Mkdir(path, d.server.DirMode); err != nil {
		return err
	}
	return os.Chmod(path, d.server.DirMode)
}

// store implements destination.
func (d *plainDirectory) store() (logstream.Store, error) {
	return logstream.NewDirStore(d.walDir, d.server.SegmentSize, logstream.DirOptions{
		Mode: d.server.FileMode, NoSync: d.options.NoSync, DataDirectory: true,
	}), nil
}

// place implements destination.
func (d *plainDirectory) place() error {
	for _, m := range unused(d.tablespaces, d.options.Tablespaces) {
		d.log.Warn("no tablespace lies where this mapping says", "old", m.Old)
	}
	if err := place(d.tablespaces, d.options.Directory, d.options.Tablespaces); err != nil {
		return err
	}
	for _, name := range d.inPlaceDirs() {
		if err := d.mkdir(filepath.Join(d.options.Directory, name)); err != nil {
			return err
		}
	}
	for _, t := range d.tablespaces {
		if t.base() || t.inPlace() {
			continue
		}
		what := fmt.Sprintf("directory of tablespace %d", t.OID)
		if _, err := d.makeTarget(what, t.Path); err != nil {
			return err
		}
	}
	return nil
}

// open implements destination.
func (d *plainDirectory) open() (sink, error) {
	walRoot, err := os.OpenRoot(d.walDir)
	if err != nil {
		return nil, err
	}
	s := &dirSink{
		log:         d.log,
		directory:   d.options.Directory,
		tablespaces: d.tablespaces,
		made:        map[string]bool{},
		walRoot:     walRoot,
		writer:      d.newWriter(),
		syncer:      d.newSyncer(),
		check:       d.members,
		parser:      tarx.NewParser(nil),
		compression: d.options.serverCompression.Method,
		manifest: manifestFile{
			path: filepath.Join(d.options.Directory, manifestPartial),
			mode: d.server.FileMode,
		},
	}
	for _, name := range d.madeDirs() {
		s.made[name] = true
	}
	return s, nil
}

// finish implements destination. The order matters: everything must be
// durable, then pg_control gets its name, without which no server starts, and
// last of all the manifest, without which it is no backup.
func (d *plainDirectory) finish(ctx context.Context) error {
	if d.options.Standby {
		if err := d.writeStandbyFiles(); err != nil {
			return err
		}
	}
	d.setPhase(phaseSync)
	dirs := d.sink.(*dirSink).dirs
	for _, name := range d.madeDirs() {
		dirs = append(dirs, filepath.Join(d.options.Directory, name))
	}
	if err := d.syncDirs(dirs); err != nil {
		return err
	}
	// From here on it is done in an instant: an interruption that comes later
	// than this finds a whole backup.
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if err := d.rename(controlPartial, controlFile); err != nil {
		return err
	}
	return d.renameManifest()
}

// close implements destination.
func (d *plainDirectory) close() error { return nil }

func (d *plainDirectory) writeStandbyFiles() error {
	root, err := os.OpenRoot(d.options.Directory)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // nothing is written through it itself
	return writeStandbyFiles(root, d.server.Version, d.server.FileMode, d.standbySettings(), !d.options.NoSync)
}

// makeTarget makes a directory to be filled and notes it for undo.
func (b *backup) makeTarget(what, path string) (*target, error) {
	t, err := makeTarget(what, path, b.server.DirMode)
	if t != nil {
		b.targets = append(b.targets, t)
	}
	if err == nil {
		err = b.watchFileSystem(path)
	}
	return t, err
}

// syncDir fsyncs a directory. A parent that this process may write in but not
// read cannot be opened for that; the backup inside does not depend on it
// after the next sync of the file system.
func syncDir(dir string) error {
	err := durable.SyncDir(dir)
	if errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}
