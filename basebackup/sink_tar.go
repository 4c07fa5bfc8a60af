package basebackup

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/pgbraid/pgbraid/internal/compress"
	"github.com/pgbraid/pgbraid/internal/durable"
	"github.com/pgbraid/pgbraid/tarx"
)

// tarSink keeps archives as archives. They are taken apart all the same, so
// that each member is held against the manifest; their bytes go on unchanged
// but for the base archive when something is to be put into it.
type tarSink struct {
	// create makes the archive of a tablespace.
	create func(t *Tablespace) (*archiveWriter, error)
	check  *memberCheck
	parser *tarx.Parser
	syncer *durable.Syncer
	// compression is how the server compresses the archives.
	compression compress.Method
	// unterminated says that the server leaves out the two blocks at an
	// archive's end.
	unterminated bool
	// edit is what is changed in the base archive; nil: nothing.
	edit *tarEdit
	// manifestInside keeps the base archive open: the manifest goes there.
	manifestInside bool

	// Of the archive that is being received.
	current      *Tablespace
	out          *archiveWriter
	rewriter     *rewriter // nil: it goes on as it came
	decompressor *decompressor

	manifest manifestFile
	file     atomic.Pointer[string] // the last member's name, for the progress
}

// beginArchive implements archiveSink.
func (s *tarSink) beginArchive(t *Tablespace) error {
	out, err := s.create(t)
	if err != nil {
		return err
	}
	s.current, s.out, s.rewriter = t, out, nil
	if t.base() && s.edit != nil {
		s.rewriter = newRewriter(out, s.edit)
	}
	s.check.archive(t)
	s.parser.Reset(&tarMembers{sink: s})
	if s.compression != compress.None && s.looksInside() {
		s.decompressor = decompress(s.compression, s.parser)
	}
	return nil
}

// looksInside tells whether what a compressed archive holds is of interest.
func (s *tarSink) looksInside() bool { return s.check != nil || s.rewriter != nil }

// archiveData implements archiveSink.
func (s *tarSink) archiveData(p []byte) error {
	if s.rewriter == nil {
		if _, err := s.out.Write(p); err != nil {
			return err
		}
	}
	var err error
	switch {
	case s.decompressor != nil:
		_, err = s.decompressor.Write(p)
	case s.compression == compress.None:
		_, err = s.parser.Write(p)
	}
	return s.inArchive(err)
}

// endArchive implements archiveSink.
func (s *tarSink) endArchive() error {
	if err := s.inArchive(s.endStream()); err != nil {
		return err
	}
	if s.rewriter != nil {
		if err := s.rewriter.addMissing(); err != nil {
			return err
		}
		if s.manifestInside {
			return nil
		}
	}
	return s.endOutput()
}

// endStream ends what takes the archive apart.
func (s *tarSink) endStream() error {
	if s.decompressor != nil {
		err := s.decompressor.Close()
		s.decompressor = nil
		if err != nil {
			return err
		}
	}
	return s.parser.Close()
}

// endOutput ends the archive that is being written.
func (s *tarSink) endOutput() error {
	var err error
	switch {
	case s.rewriter != nil:
		err = s.rewriter.Close()
	case s.unterminated:
		_, err = s.out.Write(tarx.Trailer)
	}
	if err != nil {
		return err
	}
	out := s.out
	s.out = nil
	f, err := out.finish()
	if err != nil {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
		return err
	}
	if f == nil {
		return nil
	}
	return s.syncer.Take(f)
}

func (s *tarSink) inArchive(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", s.current.archive(), err)
}

// manifestData implements archiveSink.
func (s *tarSink) manifestData(p []byte) error { return s.manifest.write(p) }

// serverProgress implements archiveSink.
func (s *tarSink) serverProgress(int64) {}

// end implements sink.
func (s *tarSink) end() error { return s.manifest.finish(s.syncer) }

// close implements sink. An archive that waits for the manifest stays open.
func (s *tarSink) close() error {
	if s.decompressor != nil {
		s.decompressor.abort()
		s.decompressor = nil
	}
	s.manifest.abandon()
	return s.syncer.Wait()
}

// abandon lets go of an archive that was not finished.
func (s *tarSink) abandon() {
	if s.out != nil {
		s.out.abandon()
		s.out = nil
	}
}

// putManifest writes the manifest into the archive that waited for it, and
// ends that.
func (s *tarSink) putManifest() error {
	f, err := os.Open(s.manifest.path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read from
	if err := s.rewriter.copyManifest(f); err != nil {
		return err
	}
	return s.endOutput()
}

// manifestPath implements sink.
func (s *tarSink) manifestPath() string { return s.manifest.path }

// walkFiles implements sink. The names are in the archives; that some are not
// in the manifest is told without them.
func (s *tarSink) walkFiles(func(string) bool) {}

// lastFile implements sink.
func (s *tarSink) lastFile() string { return load(&s.file) }

func load(name *atomic.Pointer[string]) string {
	if p := name.Load(); p != nil {
		return *p
	}
	return ""
}

// tarMembers takes the members of one archive of a tarSink.
type tarMembers struct {
	sink *tarSink
}

// BeginMember implements tarx.Handler.
func (m *tarMembers) BeginMember(h *tarx.Header) error {
	// Whoever unpacks the archive trusts it as far as we did.
	name, err := tarx.CleanName(h.Name)
	if err != nil {
		return err
	}

	s := m.sink
	s.file.Store(&name)
	s.check.begin(name, h)
	if s.rewriter != nil {
		return s.rewriter.BeginMember(h)
	}
	return nil
}

// Content implements tarx.Handler.
func (m *tarMembers) Content(p []byte) error {
	m.sink.check.content(p)
	if m.sink.rewriter != nil {
		return m.sink.rewriter.Content(p)
	}
	return nil
}

// EndMember implements tarx.Handler.
func (m *tarMembers) EndMember() error {
	if err := m.sink.check.end(); err != nil {
		return err
	}
	if m.sink.rewriter != nil {
		return m.sink.rewriter.EndMember()
	}
	return nil
}
