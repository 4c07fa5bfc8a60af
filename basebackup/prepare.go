package basebackup

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pgbraid/pgbraid/internal/replconn"
	"github.com/pgbraid/pgbraid/logstream"
)

// checkTargets refuses directories that hold something, before the server is
// asked for anything.
func (b *backup) checkTargets() error {
	if err := checkTarget("data directory", b.options.Directory); err != nil {
		return err
	}
	if b.options.WALDirectory != "" {
		if err := checkTarget("WAL directory", b.options.WALDirectory); err != nil {
			return err
		}
	}
	return nil
}

// connect makes the connection for the base backup and asks what is to be
// known.
func (b *backup) connect(ctx context.Context) error {
	b.setPhase(phaseConnecting)
	c, err := replconn.Connect(ctx, b.config)
	if err != nil {
		return err
	}
	b.conn = c
	c.OnNotice = func(n *pgconn.Notice) { b.log.Warn("server: "+n.Message, "severity", n.Severity) }
	// The log has to come from this very server.
	b.config = c.Pin(b.config)

	b.server, err = logstream.Describe(ctx, c)
	return err
}

// makeTargets makes the directories that do not depend on what the server
// sends.
func (b *backup) makeTargets() error {
	data, err := b.makeTarget("data directory", b.options.Directory)
	if err != nil {
		return err
	}
	b.walDir = filepath.Join(data.path, "pg_wal")
	if b.options.WALDirectory != "" {
		wal, err := b.makeTarget("WAL directory", b.options.WALDirectory)
		if err != nil {
			return err
		}
		if err := os.Symlink(wal.path, b.walDir); err != nil {
			return err
		}
		b.walDir = wal.path
	}
	for _, name := range b.madeDirs() {
		if b.options.WALDirectory != "" && name == "pg_wal" {
			continue
		}
		if err := b.mkdir(filepath.Join(data.path, name)); err != nil {
			return err
		}
	}
	return nil
}

// madeDirs are the directories below the data directory that are made before
// the server names them: the log goes there from the first moment.
func (b *backup) madeDirs() []string {
	dirs := []string{"pg_wal", "pg_wal/archive_status"}
	if b.server.Version >= 170000 {
		dirs = append(dirs, "pg_wal/summaries")
	}
	return append(dirs, b.inPlaceDirs()...)
}

// inPlaceDirs are the directories of in-place tablespaces, with their parent.
// Their archives come before the one that names them.
func (b *backup) inPlaceDirs() (dirs []string) {
	for _, t := range b.tablespaces {
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
func (b *backup) mkdir(path string) error {
	if err := os.Mkdir(path, b.server.DirMode); err != nil {
		return err
	}
	return os.Chmod(path, b.server.DirMode)
}

// makeTarget makes a directory to be filled and notes it for undo.
func (b *backup) makeTarget(what, path string) (*target, error) {
	t, err := makeTarget(what, path, b.server.DirMode)
	if t != nil {
		b.targets = append(b.targets, t)
	}
	return t, err
}

// makeTablespaceTargets makes the directories of the tablespaces, once the
// server has told them.
func (b *backup) makeTablespaceTargets() error {
	for _, name := range b.inPlaceDirs() {
		if err := b.mkdir(filepath.Join(b.options.Directory, name)); err != nil {
			return err
		}
	}
	for _, t := range b.tablespaces {
		if t.base() || t.inPlace() {
			continue
		}
		what := fmt.Sprintf("directory of tablespace %d", t.OID)
		if _, err := b.makeTarget(what, t.Path); err != nil {
			return err
		}
	}
	return nil
}

// prepareLog makes the second connection and the slot before the backup
// begins: a server that has no room for them says so now, and not after its
// checkpoint.
func (b *backup) prepareLog(ctx context.Context) error {
	o := &b.options
	slot := logstream.Slot{Name: o.Slot, Create: o.CreateSlot, Temporary: o.Slot == "" && !o.NoSlot}
	b.receiver = logstream.NewReceiver(b.config, logstream.Options{
		SystemIdentifier: b.server.SystemIdentifier,
		SegmentSize:      b.server.SegmentSize,
		Store: logstream.NewDirStore(b.walDir, b.server.SegmentSize, logstream.DirOptions{
			Mode: b.server.FileMode, NoSync: o.NoSync, DataDirectory: true,
		}),
		Slot:           slot,
		StatusInterval: o.StatusInterval,
		GiveUpAfter:    o.Patience,
		Logger:         o.Logger,
	})
	b.follower.Store(b.receiver)
	if err := b.receiver.Prepare(ctx); err != nil {
		return fmt.Errorf("log stream: %w", err)
	}
	return nil
}
