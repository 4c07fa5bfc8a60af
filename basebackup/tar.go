package basebackup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/pgbraid/pgbraid/internal/compress"
	"github.com/pgbraid/pgbraid/internal/durable"
	"github.com/pgbraid/pgbraid/internal/pgdata"
	"github.com/pgbraid/pgbraid/logstream"
	"github.com/pgbraid/pgbraid/tarx"
)

// partialSuffix is what the base archive's name ends in until everything else
// is durable: without that archive nothing can be restored.
const partialSuffix = ".tmp"

// tarDirectory is a directory of archives: base.tar, one for each tablespace,
// and pg_wal.tar.
type tarDirectory struct {
	*backup
	archives *tarSink
	wal      *tarLog
	base     string // the name that the base archive gets
}

// check implements destination.
func (d *tarDirectory) check() error { return public(d.directory().Check()) }

// directory is the one for the archives. No server uses it: if it is there, its
// mode and its owner are somebody's choice.
func (d *tarDirectory) directory() pgdata.Directory {
	return pgdata.Directory{What: "directory", Path: d.options.Directory, Mode: d.server.DirMode, Log: d.log}
}

// prepare implements destination.
func (d *tarDirectory) prepare() error { return d.claim(d.directory()) }

// store implements destination.
func (d *tarDirectory) store() (logstream.Store, error) {
	f, err := d.create("pg_wal.tar" + d.options.clientCompression.Method.Suffix())
	if err != nil {
		return nil, err
	}
	archive, err := newArchiveFile(f, d.options.clientCompression, d.newWriter())
	if err != nil {
		return nil, err
	}
	d.wal, err = newTarLog(archive, filepath.Join(d.options.Directory, "pg_wal"+partialSuffix), d.server, d.options.NoSync)
	return d.wal, err
}

// create makes a file of the backup.
func (d *tarDirectory) create(name string) (*durable.File, error) {
	return durable.OpenFile(filepath.Join(d.options.Directory, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, d.server.FileMode)
}

// place implements destination.
func (d *tarDirectory) place() error {
	for _, t := range d.tablespaces {
		t.Path = filepath.Join(d.options.Directory, t.archive()+d.suffix())
	}
	return d.checkSpace()
}

// suffix is what the names of archives end in, whoever compresses them.
func (b *backup) suffix() string {
	if m := b.options.serverCompression.Method; m != compress.None {
		return m.Suffix()
	}
	return b.options.clientCompression.Method.Suffix()
}

// open implements destination.
func (d *tarDirectory) open() (sink, error) {
	gathered := d.newWriter()
	d.archives = d.newTarSink(func(t *Tablespace) (*archiveWriter, error) {
		name := filepath.Base(t.Path)
		if t.base() {
			d.base = name
			name += partialSuffix
		}
		f, err := d.create(name)
		if err != nil {
			return nil, err
		}
		return newArchiveFile(f, d.compression(t), gathered)
	})
	d.archives.manifest = manifestFile{
		path: filepath.Join(d.options.Directory, manifestPartial),
		mode: d.server.FileMode,
	}
	return d.archives, nil
}

// newTarSink makes a sink whose archives create makes.
func (b *backup) newTarSink(create func(*Tablespace) (*archiveWriter, error)) *tarSink {
	s := &tarSink{
		create:       create,
		check:        b.members,
		parser:       tarx.NewParser(nil),
		syncer:       b.newSyncer(),
		compression:  b.options.serverCompression.Method,
		unterminated: b.server.Version < 150000,
	}
	if b.options.Standby {
		s.edit = standbyEdit(b.server.Version, b.server.FileMode, b.standbySettings())
	}
	return s
}

// compression is what is done to an archive here. One that the server
// compresses and that is changed here has to be compressed again.
func (b *backup) compression(t *Tablespace) compress.Spec {
	if r := b.options.serverCompression; r.Method != compress.None && t.base() && b.options.Standby {
		if z, err := r.Spec(); err == nil {
			return z
		}
		return compress.Spec{Method: r.Method}
	}
	return b.options.clientCompression
}

// finish implements destination.
func (d *tarDirectory) finish(ctx context.Context) error {
	d.setPhase(phaseSync)
	if d.wal != nil {
		if err := d.wal.finish(); err != nil {
			return fmt.Errorf("pg_wal.tar: %w", err)
		}
	}
	if err := d.syncDirs(nil); err != nil {
		return err
	}
	// From here on it is done in an instant: an interruption that comes later
	// than this finds a whole backup.
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if err := d.rename(d.base+partialSuffix, d.base); err != nil {
		return err
	}
	return d.renameManifest(manifestPartial)
}

// close implements destination.
func (d *tarDirectory) close() error {
	if d.archives != nil {
		d.archives.abandon()
	}
	if d.wal != nil {
		return d.wal.close()
	}
	return nil
}

// output is a tar stream that goes to a writer, with the manifest in it.
type output struct {
	*backup
	archives  *tarSink
	temporary string // the directory that the manifest waits in
}

// check implements destination.
func (o *output) check() error { return nil }

// prepare implements destination.
func (o *output) prepare() error { return nil }

// store implements destination.
func (o *output) store() (logstream.Store, error) { return nil, errors.ErrUnsupported }

// place implements destination.
func (o *output) place() error {
	if n := len(o.tablespaces); n > 1 {
		return fmt.Errorf("can only write single tablespace to stdout, database has %d", n)
	}
	return nil
}

// open implements destination.
func (o *output) open() (_ sink, err error) {
	if o.options.serverCompression.Method != compress.None && o.members != nil {
		return nil, ErrCompressedOutput
	}
	if o.temporary, err = os.MkdirTemp("", "pgbraid-"); err != nil {
		return nil, err
	}
	o.archives = o.newTarSink(func(t *Tablespace) (*archiveWriter, error) {
		return newArchiveOutput(o.options.Output, o.compression(t))
	})
	o.archives.manifest = manifestFile{path: filepath.Join(o.temporary, manifestName), mode: 0o600}
	if o.members != nil {
		o.archives.manifestInside = true
		if o.archives.edit == nil {
			o.archives.edit = &tarEdit{mode: o.server.FileMode}
		}
	}
	return o.archives, nil
}

// finish implements destination. Only now, when all is known to be right, the
// archive gets its end.
func (o *output) finish(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if !o.archives.manifestInside {
		return nil
	}
	return o.archives.putManifest()
}

// close implements destination.
func (o *output) close() error {
	if o.archives != nil {
		o.archives.abandon()
	}
	if o.temporary != "" {
		return durable.RemoveAll(o.temporary)
	}
	return nil
}
