package basebackup

import (
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"sync/atomic"

	"github.com/pgbraid/pgbraid/basebackup/manifest"
	"github.com/pgbraid/pgbraid/internal/durable"
	"github.com/pgbraid/pgbraid/tarx"
)

// Files at the top of the data directory that this side makes.
const (
	manifestName    = "backup_manifest"
	manifestPartial = manifestName + ".tmp"
	controlFile     = "global/pg_control"
	// controlPartial is the name that pg_control has until everything else is
	// whole: no server starts in a directory without it.
	controlPartial = controlFile + ".pgbraid"
)

// dirSink puts archives into directories (plain format). Members go to files
// as they come; what is finished is fsynced beside. Nothing that the server
// names leads out of the directories: each is an os.Root, and no member is
// written through a symbolic link.
type dirSink struct {
	log         *slog.Logger
	directory   string      // the data directory
	fileMode    fs.FileMode // of files that the server does not send
	tablespaces []*Tablespace
	// made are the directories below the data directory that exist before
	// the server names them, by member name.
	made map[string]bool
	// walRoot is where members below pg_wal go.
	walRoot *os.Root

	writer   *durable.Writer
	syncer   *durable.Syncer
	checksum hash.Hash // nil: none is computed
	checker  *manifest.Checker
	parser   *tarx.Parser
	received *atomic.Int64 // bytes, for the progress

	// Of the archive that is being received.
	current *Tablespace
	root    *os.Root
	dirName string   // the directory that dir is, below the archive's root
	dirPath string   // the same as a path
	dir     *os.Root // where the last member went; nil: none is open

	// Of the member that is being received.
	member   tarx.Header
	manifest *os.File // the manifest, while it comes

	dirs []string // every directory that was made, to be fsynced in the end
}

// beginArchive implements archiveSink.
func (s *dirSink) beginArchive(t *Tablespace) error {
	root, err := os.OpenRoot(t.Path)
	if err != nil {
		return err
	}
	s.current, s.root = t, root
	s.parser.Reset(s)
	s.dirs = append(s.dirs, t.Path)
	return nil
}

// archiveData implements archiveSink.
func (s *dirSink) archiveData(p []byte) error {
	s.received.Add(int64(len(p)))
	if _, err := s.parser.Write(p); err != nil {
		return s.inArchive(err)
	}
	return nil
}

// endArchive implements archiveSink.
func (s *dirSink) endArchive() error {
	err := s.parser.Close()
	s.leaveDir()
	err = errors.Join(err, s.root.Close())
	s.root = nil
	return s.inArchive(err)
}

func (s *dirSink) inArchive(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", s.current.archive(), err)
}

// BeginMember implements tarx.Handler.
func (s *dirSink) BeginMember(h *tarx.Header) error {
	s.member = *h
	name, err := tarx.CleanName(h.Name)
	if err != nil {
		return err
	}
	s.member.Name = name
	mode := h.FileMode().Perm()
	switch h.Type {
	case tarx.TypeDirectory:
		return s.makeDir(name, mode)
	case tarx.TypeSymlink:
		return s.makeLink(name)
	}
	return s.createFile(name, mode)
}

// Content implements tarx.Handler.
func (s *dirSink) Content(p []byte) error {
	if s.checksum != nil {
		s.checksum.Write(p) // never fails
	}
	_, err := s.writer.Write(p)
	return err
}

// EndMember implements tarx.Handler.
func (s *dirSink) EndMember() error {
	if s.member.Type != tarx.TypeFile {
		return nil
	}
	f, err := s.writer.Finish()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	if err := s.syncer.Take(f); err != nil {
		return err
	}
	if s.checker == nil {
		return nil
	}
	var sum []byte
	if s.checksum != nil {
		sum = s.checksum.Sum(nil)
	}
	return s.checker.Add(s.pathInBackup(), s.member.Size, sum)
}

// pathInBackup is the name that the manifest has for the present member.
func (s *dirSink) pathInBackup() string {
	if s.current.base() {
		return s.member.Name
	}
	return s.current.link() + "/" + s.member.Name
}

func (s *dirSink) makeDir(name string, mode fs.FileMode) error {
	if s.current.base() && s.made[name] {
		delete(s.made, name) // a second one is refused
		if name == "pg_wal" || path.Dir(name) == "pg_wal" {
			return nil // the log stream writes there; its mode is right
		}
		return s.root.Chmod(name, mode)
	}
	dir, base, err := s.enter(name)
	if err != nil {
		return err
	}
	if err := dir.Mkdir(base, 0o700); err != nil {
		return err
	}
	if mode != 0o700 {
		if err := dir.Chmod(base, mode); err != nil {
			return err
		}
	}
	s.dirs = append(s.dirs, filepath.Join(s.dirPath, base))
	return nil
}

// makeLink makes the link to a tablespace, which leads to where that is put
// here. A data directory has no other links (PROTOCOL.md 2.3).
func (s *dirSink) makeLink(name string) error {
	if !s.current.base() || path.Dir(name) != "pg_tblspc" {
		return fmt.Errorf("unexpected symbolic link %q", name)
	}
	for _, t := range s.tablespaces {
		if !t.base() && t.link() == name {
			dir, base, err := s.enter(name)
			if err != nil {
				return err
			}
			return dir.Symlink(t.Path, base)
		}
	}
	// The tablespace was made after the backup began. Replaying the log makes
	// it, and the link.
	s.log.Warn("left out the link to a tablespace that is newer than the backup", "link", name)
	return nil
}

func (s *dirSink) createFile(name string, mode fs.FileMode) error {
	if s.current.base() {
		switch name {
		case controlFile:
			name = controlPartial
		case manifestName, manifestPartial, controlPartial:
			return fmt.Errorf("unexpected member %q", name)
		}
	}
	dir, base, err := s.enter(name)
	if err != nil {
		return err
	}
	// An existing file is a second member of the name: it is refused, and so
	// is whatever a link leads to.
	f, err := dir.OpenFile(base, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if mode != 0o600 {
		if err := f.Chmod(mode); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	s.writer.Start(f)
	if s.checksum != nil {
		s.checksum.Reset()
	}
	return nil
}

// enter opens the directory that a member lies in. The last one is kept open,
// since a server sends directory by directory.
func (s *dirSink) enter(name string) (dir *os.Root, base string, err error) {
	parent, base := path.Split(name)
	parent = path.Clean(parent)
	if s.dir != nil && s.dirName == parent {
		return s.dir, base, nil
	}
	s.leaveDir()
	root, at, below := s.root, s.current.Path, parent
	if s.current.base() {
		if rest, ok := cutDir(parent, "pg_wal"); ok {
			root, at, below = s.walRoot, s.walRoot.Name(), rest
		}
	}
	if err := refuseLinks(root, below); err != nil {
		return nil, "", err
	}
	opened, err := root.OpenRoot(below)
	if err != nil {
		return nil, "", err
	}
	s.dirName, s.dirPath, s.dir = parent, filepath.Join(at, below), opened
	return opened, base, nil
}

// cutDir is p without its first directory, if that is dir.
func cutDir(p, dir string) (rest string, ok bool) {
	if p == dir {
		return ".", true
	}
	if len(p) > len(dir) && p[:len(dir)] == dir && p[len(dir)] == '/' {
		return p[len(dir)+1:], true
	}
	return "", false
}

// refuseLinks makes sure that no part of the path is a symbolic link. os.Root
// refuses one that leads out; one that leads to another place inside is the
// work of no honest server either.
func refuseLinks(root *os.Root, dir string) error {
	for p := dir; p != "."; p = path.Dir(p) {
		info, err := root.Lstat(p)
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return fmt.Errorf("member below %q, which is not a directory", p)
		}
	}
	return nil
}

func (s *dirSink) leaveDir() {
	if s.dir != nil {
		_ = s.dir.Close() // a directory that was only looked up in
		s.dir = nil
	}
}

// manifestData implements archiveSink.
func (s *dirSink) manifestData(p []byte) error {
	if s.manifest == nil {
		f, err := os.OpenFile(filepath.Join(s.directory, manifestPartial), os.O_WRONLY|os.O_CREATE|os.O_EXCL, s.fileMode)
		if err != nil {
			return err
		}
		s.manifest = f
		s.writer.Start(f)
	}
	_, err := s.writer.Write(p)
	return err
}

// endManifest finishes the file that the manifest was written to.
func (s *dirSink) endManifest() error {
	if s.manifest == nil {
		return nil
	}
	s.manifest = nil
	f, err := s.writer.Finish()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	return s.syncer.Take(f)
}

// close lets go of everything, whatever state the sink is in, and returns when
// all finished files are durable.
func (s *dirSink) close() error {
	s.leaveDir()
	_ = s.walRoot.Close() // nothing is written through these themselves
	if s.root != nil {
		_ = s.root.Close()
	}
	if f := s.writer.Active(); f != nil {
		_ = f.Close() // an unfinished member: the backup has failed already
	}
	return s.syncer.Wait()
}
