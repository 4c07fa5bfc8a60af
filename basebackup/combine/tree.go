package combine

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
)

// directory is one of the result.
type directory struct {
	name   string // relative to the data directory; "" for that itself
	input  string // the last input's
	output string
	place  string // the directory to be filled that output lies in
}

// member is the name of something in the directory, relative to the data
// directory.
func (d *directory) member(base string) string { return path.Join(d.name, base) }

// file is one of the result.
type file struct {
	name string // relative to the data directory
	dir  *directory
	base string
	// incremental says that the last input has only changes of it.
	incremental bool
	// listed says that the result's manifest lists it.
	listed bool
	// size is in bytes. Of an incremental file it is a guess.
	size  int64
	entry entry
}

// input is the file's path in the last input.
func (f *file) input() string {
	if f.incremental {
		return filepath.Join(f.dir.input, incrementalPrefix+f.base)
	}
	return filepath.Join(f.dir.input, f.base)
}

// tablespace is one that is not a directory of the data directory.
type tablespace struct {
	oid  uint32
	from string // in the last input
	path string
}

func (t *tablespace) link() string { return fmt.Sprintf("pg_tblspc/%d", t.oid) }

// tree is everything that the result will have.
type tree struct {
	dirs        []*directory // each after the one that it lies in
	files       []*file      // in the order of the manifest
	tablespaces []*tablespace
	label       entry
	// found is how many of the files that the last input's manifest lists
	// there are.
	found int
}

// modes are those of what is made.
type modes struct{ dir, file fs.FileMode }

// walk lists what the last input has.
func (r *run) walk(ctx context.Context) (*tree, error) {
	last := r.chain.last()
	info, err := os.Stat(last.dir)
	if err != nil {
		return nil, err
	}
	// A cluster is its owner's alone, or its group may read it (PostgreSQL
	// manual, initdb --allow-group-access).
	r.modes = modes{0o700, 0o600}
	if info.Mode().Perm()&0o050 == 0o050 {
		r.modes = modes{0o750, 0o640}
	}
	t := &tree{}
	if t.tablespaces, err = r.findTablespaces(); err != nil {
		return nil, err
	}
	w := &walker{run: r, tree: t}
	if err := w.walk(ctx, &directory{"", last.dir, r.options.Output, r.options.Output}); err != nil {
		return nil, err
	}
	for _, space := range t.tablespaces {
		if err := w.walk(ctx, &directory{space.link(), space.from, space.path, space.path}); err != nil {
			return nil, err
		}
	}
	return t, r.checkListed(t)
}

// findTablespaces looks for links in pg_tblspc and decides where each goes.
func (r *run) findTablespaces() ([]*tablespace, error) {
	last := r.chain.last()
	entries, err := os.ReadDir(last.path("pg_tblspc"))
	if err != nil {
		return nil, err
	}
	var list []*tablespace
	used := map[int]bool{}
	for _, e := range entries {
		oid, ok := parseOID(e.Name())
		if !ok || e.Type() != fs.ModeSymlink {
			continue
		}
		link := last.path("pg_tblspc/" + e.Name())
		from, err := os.Readlink(link)
		if err != nil {
			return nil, err
		}
		if !filepath.IsAbs(from) {
			return nil, fmt.Errorf("target of symbolic link \"%s\" is relative", link)
		}
		from = filepath.Clean(from)
		n := slices.IndexFunc(r.options.Tablespaces, func(m TablespaceMapping) bool { return m.Old == from })
		if n < 0 {
			return nil, &MappingError{from}
		}
		used[n] = true
		t := &tablespace{oid, from, r.options.Tablespaces[n].New}
		for _, other := range list {
			if other.path == t.path {
				return nil, fmt.Errorf("tablespaces with OIDs %d and %d both point at directory \"%s\"", other.oid, oid, t.path)
			}
		}
		list = append(list, t)
	}
	for n, m := range r.options.Tablespaces {
		if !used[n] {
			r.log.Warn("tablespace mapping fits no tablespace of the last backup", "old", m.Old, "new", m.New)
		}
	}
	return list, nil
}

// MappingError says that a tablespace has no place in the result.
type MappingError struct{ Path string }

func (e *MappingError) Error() string {
	return fmt.Sprintf("tablespace at \"%s\" has no tablespace mapping", e.Path)
}

// Hint is advice for the person who sees the error.
func (e *MappingError) Hint() string {
	return "Say where to put it: -T " + strings.ReplaceAll(e.Path, "=", `\=`) + "=NEWDIR"
}

// parseOID reads the name of an entry of pg_tblspc.
func parseOID(name string) (uint32, bool) {
	n, err := strconv.ParseUint(name, 10, 32)
	return uint32(n), err == nil && n != 0 && strconv.FormatUint(n, 10) == name
}

type walker struct {
	*run
	tree *tree
}

func (w *walker) walk(ctx context.Context, d *directory) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	w.tree.dirs = append(w.tree.dirs, d)
	entries, err := os.ReadDir(d.input)
	if err != nil {
		return err
	}
	incrementals := hasIncrementals(d.name)
	for _, e := range entries {
		base := e.Name()
		kind := e.Type()
		if d.name == "" && kind == fs.ModeSymlink && base == "pg_wal" {
			// The log may lie elsewhere in the input, and lies in the data
			// directory of the result.
			kind = fs.ModeDir
		}
		if d.name == "pg_tblspc" && kind == fs.ModeSymlink {
			if _, ok := parseOID(base); ok {
				continue // a tablespace
			}
		}
		switch {
		case kind == fs.ModeDir:
			below := &directory{d.member(base), filepath.Join(d.input, base), filepath.Join(d.output, base), d.place}
			if err := w.walk(ctx, below); err != nil {
				return err
			}
			continue
		case kind == fs.ModeSymlink:
			w.log.Warn(fmt.Sprintf("skipping symbolic link \"%s\"", filepath.Join(d.input, base)))
			continue
		case kind != 0:
			w.log.Warn(fmt.Sprintf("skipping special file \"%s\"", filepath.Join(d.input, base)))
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if d.name == "" {
			if skip, err := w.special(base, info); err != nil {
				return err
			} else if skip {
				continue
			}
		}
		f := &file{dir: d, base: base, size: info.Size()}
		if incrementals {
			f.base, f.incremental = strings.CutPrefix(base, incrementalPrefix)
		}
		f.name = d.member(f.base)
		if err := w.add(f, d.member(base)); err != nil {
			return err
		}
	}
	return nil
}

// special tells which files of the data directory itself are not simply
// brought over.
func (w *walker) special(base string, info fs.FileInfo) (skip bool, err error) {
	switch base {
	case labelFile:
		if _, ok := w.chain.last().manifest.find(base); ok {
			w.tree.found++
		}
		return true, nil
	case manifestFile, manifestPartial:
		return true, nil
	case mapFile:
		if info.Size() == 0 {
			return false, nil
		}
		if _, ok := w.chain.last().manifest.find(base); ok {
			w.tree.found++
		}
		return true, w.checkMap()
	}
	return false, nil
}

// mapFile names the tablespaces' places on the source server. A backup taken
// as tar archives has it. A server that finds it makes links to these places,
// instead of those that the result has.
const mapFile = "tablespace_map"

// checkMap makes sure that each tablespace that the map names is there.
func (w *walker) checkMap() error {
	last := w.chain.last()
	text, err := readSmall(last.path(mapFile), 16<<20)
	if err != nil {
		return err
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		name, _, _ := strings.Cut(lines.Text(), " ")
		if _, ok := parseOID(name); !ok {
			continue // the rest of a path with a line break
		}
		if _, err := os.Lstat(last.path("pg_tblspc/" + name)); err != nil {
			return fmt.Errorf("tablespace %s of %s is not in pg_tblspc: %w", name, last.path(mapFile), err)
		}
	}
	w.log.Warn("left out tablespace_map: the links in pg_tblspc say where the tablespaces are", "file", last.path(mapFile))
	return nil
}

// add takes a file, which the last input's manifest lists as listedName.
func (w *walker) add(f *file, listedName string) error {
	inLog := inWAL(f.name)
	last := w.chain.last()
	l, ok := last.manifest.find(listedName)
	switch {
	case ok:
		w.tree.found++
		if l.size != f.size && w.strict() && !changesLater(f.name) {
			return &DamageError{Path: f.input(), Kind: SizeDiffers, Size: f.size, Want: l.size}
		}
	case last.manifest != nil && !inLog && w.strict() && !changesLater(f.name):
		return &DamageError{Path: f.input(), Kind: NotListed}
	case last.manifest != nil && !inLog:
		w.log.Warn(fmt.Sprintf("manifest file \"%s\" contains no entry for file \"%s\"", last.path(manifestFile), listedName))
	}
	// Servers list none of the log but what shows whether it was archived.
	f.listed = ok || !inLog
	w.tree.files = append(w.tree.files, f)
	return nil
}

// size adds up the bytes of the result, and looks at the beginning of each
// file that has to be rebuilt.
func (r *run) size(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(r.options.Jobs)
	g := r.geometry()
	for chunk := range slices.Chunk(r.tree.files, 256) {
		group.Go(func() error {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			for _, f := range chunk {
				if !f.incremental {
					continue
				}
				if err := f.guess(g); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	var total int64
	for _, f := range r.tree.files {
		total += f.size
	}
	r.setTotal(total)
	return nil
}

// guess sets the size that an incremental file's result has at least.
func (f *file) guess(g geometry) error {
	in, info, err := openRegular(f.input())
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // only read from
	_, truncation, err := readCounts(in, info.Size(), g)
	if err != nil {
		return describeHeader(f.input(), err)
	}
	f.size = int64(truncation) * g.blockSize
	return nil
}

func (r *run) geometry() geometry {
	control := r.chain.last().control
	return geometry{int64(control.BlockSize), control.SegmentBlocks}
}
