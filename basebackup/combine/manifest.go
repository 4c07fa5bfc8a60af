package combine

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/pgbraid/pgbraid/basebackup/manifest"
	"github.com/pgbraid/pgbraid/internal/durable"
	"github.com/pgbraid/pgbraid/internal/pgdata"
)

const (
	manifestFile    = "backup_manifest"
	manifestPartial = pgdata.Temporary + manifestFile
)

// manifestIndex is what an input's manifest says of its files.
type manifestIndex struct {
	summary *manifest.Summary
	files   map[string]listed
}

// listed is one file.
type listed struct {
	size      int64
	algorithm manifest.Algorithm
	sum       string // the checksum's bytes; "": there is none
}

// readManifest reads a manifest.
func readManifest(ctx context.Context, name string) (*manifestIndex, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read from
	index := &manifestIndex{files: map[string]listed{}}
	index.summary, err = manifest.Read(f, func(file manifest.File) error {
		if _, twice := index.files[file.Path]; twice {
			return fmt.Errorf("duplicate path name in backup manifest: \"%s\"", file.Path)
		}
		index.files[file.Path] = listed{file.Size, file.Algorithm, string(file.Checksum)}
		if len(index.files)%(64<<10) == 0 {
			return context.Cause(ctx)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if index.summary.Version == 1 {
		return nil, fmt.Errorf("%s: backup manifest version 1 does not support incremental backup", name)
	}
	return index, nil
}

// find looks a file up; the nil index lists none.
func (m *manifestIndex) find(name string) (listed, bool) {
	if m == nil {
		return listed{}, false
	}
	l, ok := m.files[name]
	return l, ok
}

// entry is what the result's manifest says of a file.
type entry struct {
	size    int64
	modTime time.Time
	sum     []byte // nil: none was asked for
}

// writeManifest writes the result's manifest, under its temporary name.
func (r *run) writeManifest() error {
	name := r.output(manifestPartial)
	f, err := durable.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, r.modes.file)
	if err != nil {
		return err
	}
	if err := r.writeEntries(f); err != nil {
		_ = f.Close() // it is going to be removed
		return err
	}
	return r.take(f)
}

func (r *run) writeEntries(f *durable.File) error {
	last := r.chain.last()
	w, err := manifest.NewWriter(f, manifest.WriterOptions{
		Version:          last.manifest.summary.Version,
		SystemIdentifier: last.control.SystemIdentifier,
	})
	if err != nil {
		return err
	}
	add := func(name string, e *entry) error {
		file := manifest.File{Path: name, Size: e.size, ModTime: e.modTime}
		if e.sum != nil {
			file.Algorithm, file.Checksum = r.options.checksums, e.sum
		}
		return w.Add(file)
	}
	if err := add(labelFile, &r.tree.label); err != nil {
		return err
	}
	for _, file := range r.tree.files {
		if !file.listed {
			continue
		}
		if err := add(file.name, &file.entry); err != nil {
			return err
		}
	}
	return w.Close(last.manifest.summary.Ranges)
}
