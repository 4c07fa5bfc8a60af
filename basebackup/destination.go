package basebackup

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/pgbraid/pgbraid/internal/durable"
	"github.com/pgbraid/pgbraid/logstream"
	"golang.org/x/sync/errgroup"
)

// destination is what a backup goes to. Its methods are called in this order,
// each at most once; undo of the run takes back what they noted in
// backup.claims.
type destination interface {
	// check refuses what cannot be filled, before the server is asked for
	// anything.
	check() error
	// prepare makes what does not depend on what the server sends.
	prepare() error
	// store is where the log goes that is streamed beside the backup.
	store() (logstream.Store, error)
	// place decides where each tablespace goes, once the server has told
	// them, and makes room for it.
	place() error
	// open makes what takes the archives.
	open() (sink, error)
	// finish makes a backup of what was received. The manifest, where there
	// is one, agrees with it already.
	finish(ctx context.Context) error
	// close lets go of what is still open, in the end or after a failure.
	close() error
}

// sink takes the archives of one run.
type sink interface {
	archiveSink
	// end says that everything came.
	end() error
	// close lets go of everything, whatever state the sink is in, and returns
	// when all finished files are durable.
	close() error
	// manifestPath is where the manifest is, until it gets its last name.
	manifestPath() string
	// walkFiles names the files that came, as the manifest names them.
	walkFiles(yield func(path string) bool)
}

// chooseDestination is called when the options are complete.
func (b *backup) chooseDestination() destination {
	switch {
	case b.options.toServer():
		return &elsewhere{b}
	case b.options.Output != nil:
		return &output{backup: b}
	case b.options.Format == Tar:
		return &tarDirectory{backup: b}
	}
	return &plainDirectory{b}
}

// newSyncer makes the Syncer of a sink.
func (b *backup) newSyncer() *durable.Syncer {
	return durable.NewSyncer(b.options.NoSync || b.options.SyncMethod == Syncfs)
}

// newWriter makes a writer of a sink's files.
func (b *backup) newWriter() *durable.Writer {
	if b.options.NoDirectIO {
		return durable.NewWriter(!b.options.NoSync)
	}
	return durable.NewDirectWriter(b.options.NoSync)
}

// watchFileSystem opens the file system of a directory that is to be filled, if
// it is to be synced as a whole.
func (b *backup) watchFileSystem(path string) error {
	if b.options.NoSync || b.options.SyncMethod != Syncfs {
		return nil
	}
	f, err := durable.OpenFileSystem(path)
	if err == nil {
		b.fileSystems = append(b.fileSystems, f)
	}
	return err
}

// closeFileSystems lets go of what watchFileSystem opened.
func (b *backup) closeFileSystems() {
	for _, f := range b.fileSystems {
		f.Close()
	}
}

// syncDirs makes durable what the Syncer did not: the names in dirs, each
// directory once, or all of the file systems that were written to.
func (b *backup) syncDirs(dirs []string) error {
	var group errgroup.Group
	group.SetLimit(8)
	switch {
	case b.options.NoSync:
		return nil
	case b.options.SyncMethod == Syncfs:
		for _, f := range b.fileSystems {
			group.Go(f.Sync)
		}
		return group.Wait()
	}
	// The directories that were filled, and what holds their own names.
	for _, c := range b.claims {
		dirs = append(dirs, c.Path)
		for _, made := range c.Made {
			dirs = append(dirs, filepath.Dir(made))
		}
	}
	done := map[string]bool{}
	for _, dir := range dirs {
		if done[dir] {
			continue
		}
		done[dir] = true
		group.Go(func() error { return syncDir(dir) })
	}
	return group.Wait()
}

// rename gives a file of the directory its final name, which nobody has taken.
func (b *backup) rename(from, to string) error {
	from, to = filepath.Join(b.options.Directory, from), filepath.Join(b.options.Directory, to)
	if _, err := os.Lstat(to); err == nil {
		return fmt.Errorf("%q is there already: something else writes into the directory", to)
	}
	rename := durable.Rename
	if b.options.NoSync {
		rename = durable.RenameOnly
	}
	if err := rename(from, to); err != nil {
		return fmt.Errorf("giving a file its final name: %w", err)
	}
	return nil
}

// renameManifest gives the manifest its name: from now on this is a backup.
func (b *backup) renameManifest(from string) error {
	if b.members == nil {
		return nil
	}
	b.log.Debug("renaming backup_manifest.tmp to backup_manifest") // as pg_basebackup says it
	return b.rename(from, manifestName)
}
