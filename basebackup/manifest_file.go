package basebackup

import (
	"errors"
	"io/fs"
	"os"

	"github.com/pgbraid/pgbraid/internal/durable"
)

const (
	manifestName = "backup_manifest"
	// manifestPartial is its name among archives until these are complete.
	manifestPartial = manifestName + ".tmp"
)

// manifestFile takes the manifest as it comes. Nothing is made before its
// first byte.
type manifestFile struct {
	path string
	mode fs.FileMode
	file *durable.File
	out  *durable.Writer
}

func (m *manifestFile) write(p []byte) error {
	if m.file == nil {
		f, err := durable.OpenFile(m.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, m.mode)
		if err != nil {
			return err
		}
		m.file = f
		m.out = durable.NewWriter(false)
		m.out.Start(f)
	}
	_, err := m.out.Write(p)
	return err
}

// finish hands the file to the syncer.
func (m *manifestFile) finish(syncer *durable.Syncer) error {
	if m.file == nil {
		return nil
	}
	m.file = nil
	f, err := m.out.Finish()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	return syncer.Take(f)
}

// abandon closes a file that was not finished.
func (m *manifestFile) abandon() {
	if m.file != nil {
		_ = m.file.Close() // the backup has failed already
		m.file = nil
	}
}
