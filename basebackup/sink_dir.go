package basebackup

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/pgbraid/pgbraid/internal/compress"
	"github.com/pgbraid/pgbraid/internal/durable"
	"github.com/pgbraid/pgbraid/internal/pgdata"
	"github.com/pgbraid/pgbraid/tarx"
)

// Files at the top of the data directory that this side makes.
const (
	controlFile = "global/pg_control"
	// controlPartial is the name that pg_control has until everything else is
	// complete: no server starts in a directory without it.
	controlPartial = "global/" + pgdata.Temporary + "pg_control"
	// manifestHere is the manifest's name in a data directory until then.
	manifestHere = pgdata.Temporary + manifestName
)

// dirSink puts archives into directories (plain format). Members go to files
// as they come; what is finished is fsynced beside. Nothing that the server
// names leads out of the directories: each is an os.Root, and no member is
// written through a symbolic link.
type dirSink struct {
	log         *slog.Logger
	directory   string // the data directory
	tablespaces []*Tablespace
	// made are the directories below the data directory that exist before
	// the server names them, by member name.
	made map[string]bool
	// walRoot is where members below pg_wal go.
	walRoot *os.Root

	writer *durable.Writer
	syncer *durable.Syncer
	check  *memberCheck
	parser *tarx.Parser
	// compression is how the server compresses the archives.
	compression  compress.Method
	decompressor *decompressor // of the archive that is being received

	file atomic.Pointer[string] // the last member's name, for the progress

	// Of the archive that is being received.
	current *Tablespace
	root    *os.Root
	dirName string   // the directory that dir is, below the archive's root
	dirPath string   // the same as a path
	dir     *os.Root // where the last member went; nil: none is open

	// Of the member that is being received.
	member tarx.Header

	manifest manifestFile

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
	s.check.archive(t)
	s.dirs = append(s.dirs, t.Path)
	if s.compression != compress.None {
		s.decompressor = decompress(s.compression, s.parser)
	}
	return nil
}

// archiveData implements archiveSink.
func (s *dirSink) archiveData(p []byte) error {
	var err error
	if s.decompressor != nil {
		_, err = s.decompressor.Write(p)
	} else {
		_, err = s.parser.Write(p)
	}
	return s.inArchive(err)
}

// endArchive implements archiveSink.
func (s *dirSink) endArchive() error {
	var err error
	if s.decompressor != nil {
		err = s.decompressor.Close()
		s.decompressor = nil
	}
	if err == nil {
		err = s.parser.Close()
	}
	s.leaveDir()
	err = errors.Join(err, s.root.Close())
	s.root = nil
	return s.inArchive(err)
}

// serverProgress implements archiveSink.
func (s *dirSink) serverProgress(int64) {}

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
	s.file.Store(&name) // not the field, which the next member overwrites
	s.check.begin(name, h)
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
	s.check.content(p)
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
	return s.check.end()
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
	if err := durable.MkdirIn(dir, base, 0o700); err != nil {
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
// here. A data directory has no other links (src/port/tar.c).
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
			return durable.SymlinkIn(dir, t.Path, base)
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
		case manifestName, manifestHere, controlPartial:
			// A server leaves these out: no source has such a file.
			return fmt.Errorf("unexpected member %q", name)
		}
	}
	dir, base, err := s.enter(name)
	if err != nil {
		return err
	}
	// An existing file is a second member of the name: it is refused, and so
	// is whatever a link leads to.
	f, err := durable.OpenFileIn(dir, base, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if mode != 0o600 {
		if err := f.Chmod(mode); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	s.writer.StartSized(f, s.member.Size)
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
func (s *dirSink) manifestData(p []byte) error { return s.manifest.write(p) }

// end implements sink.
func (s *dirSink) end() error { return s.manifest.finish(s.syncer) }

// manifestPath implements sink.
func (s *dirSink) manifestPath() string { return s.manifest.path }

// walkFiles implements sink. It is asked only where files are there that the
// manifest does not list.
func (s *dirSink) walkFiles(yield func(path string) bool) {
	for _, t := range s.tablespaces {
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

// lastFile implements sink.
func (s *dirSink) lastFile() string { return load(&s.file) }

// close lets go of everything, whatever state the sink is in, and returns when
// all finished files are durable.
func (s *dirSink) close() error {
	if s.decompressor != nil {
		s.decompressor.abort()
	}
	s.manifest.abandon()
	s.leaveDir()
	_ = s.walRoot.Close() // nothing is written through these themselves
	if s.root != nil {
		_ = s.root.Close()
	}
	if f := s.writer.Abandon(); f != nil {
		_ = f.Close() // an unfinished member: the backup has failed already
	}
	return s.syncer.Wait()
}
