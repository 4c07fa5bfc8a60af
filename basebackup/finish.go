package basebackup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/pgbraid/pgbraid/basebackup/manifest"
	"github.com/pgbraid/pgbraid/internal/durable"
	"golang.org/x/sync/errgroup"
)

// finish makes of the files that were received a cluster that can be started.
// The order matters: the manifest must agree, everything must be durable, then
// pg_control gets its name, without which no server starts, and last of all
// the manifest, without which it is no backup.
func (b *backup) finish(ctx context.Context) error {
	if err := b.checkManifest(); err != nil {
		return err
	}
	root, err := os.OpenRoot(b.options.Directory)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // nothing is written through it itself
	conninfo := b.options.PrimaryConnInfo
	if conninfo == "" {
		conninfo = connInfo(b.config)
	}
	settings := standbySettings(b.server.Version, conninfo, b.options.Slot)
	if err := writeStandbyFiles(root, b.server.Version, b.server.FileMode, settings, !b.options.NoSync); err != nil {
		return err
	}
	b.setPhase(phaseSync)
	if err := b.syncDirs(); err != nil {
		return err
	}
	// From here on it is done in an instant: an interruption that comes later
	// than this finds a whole backup.
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if err := b.rename(controlPartial, controlFile); err != nil {
		return err
	}
	if b.checker == nil {
		return nil
	}
	return b.rename(manifestPartial, manifestName)
}

// checkManifest compares what was received with what the server says it sent.
func (b *backup) checkManifest() error {
	if b.checker == nil {
		return nil
	}
	b.setPhase(phaseManifest)
	f, err := os.Open(filepath.Join(b.options.Directory, manifestPartial))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read from
	b.checker.Rescan = b.walkFiles
	_, err = b.checker.Check(f, manifest.Expect{
		SystemIdentifier: b.server.SystemIdentifier,
		Timeline:         b.start.Timeline,
		Start:            b.start.LSN,
		EndTimeline:      b.end.Timeline,
		End:              b.end.LSN,
	})
	if err != nil {
		return fmt.Errorf("backup manifest: %w", err)
	}
	return nil
}

// walkFiles names the files that are there, as the manifest names them. It is
// asked only where some are that the manifest does not list.
func (b *backup) walkFiles(yield func(path string) bool) {
	for _, t := range b.tablespaces {
		prefix := ""
		if !t.base() {
			prefix = t.link() + "/"
		}
		// What cannot be read is not named; that it is there was counted.
		_ = filepath.WalkDir(t.Path, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return nil
			}
			name, err := filepath.Rel(t.Path, path)
			if err == nil && !yield(prefix+strings.Replace(name, controlPartial, controlFile, 1)) {
				return filepath.SkipAll
			}
			return nil
		})
	}
}

// syncDirs makes the names of all files durable: each directory once, when
// nothing more is made in it. The files themselves were synced beside the
// stream.
func (b *backup) syncDirs() error {
	if b.options.NoSync {
		return nil
	}
	dirs := b.sink.dirs
	for _, name := range b.madeDirs() {
		dirs = append(dirs, filepath.Join(b.options.Directory, name))
	}
	for _, t := range b.targets {
		dirs = append(dirs, t.path)
		for _, made := range t.made {
			dirs = append(dirs, filepath.Dir(made))
		}
	}
	var group errgroup.Group
	group.SetLimit(8)
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

// syncDir fsyncs a directory. A parent that this process may write in but not
// read cannot be opened for that; the standby inside does not depend on it
// after the next sync of the file system.
func syncDir(dir string) error {
	err := durable.SyncDir(dir)
	if errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

func (b *backup) rename(from, to string) error {
	from, to = filepath.Join(b.options.Directory, from), filepath.Join(b.options.Directory, to)
	if b.options.NoSync {
		return os.Rename(from, to)
	}
	return durable.Rename(from, to)
}
