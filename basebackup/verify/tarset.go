package verify

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/pgbraid/pgbraid/internal/compress"
)

// archive is one tar file of a set.
type archive struct {
	name   string // in the directory
	method compress.Method
	// prefix is what comes before its members' names in the manifest: "", or
	// pg_tblspc/OID/ for a tablespace.
	prefix  string
	path    string
	size    int64
	log     bool // it is an archive of the log, which no manifest lists
	damaged atomic.Bool

	found found // filled when it is read
}

// found is what an archive has that counts beyond the manifest.
type found struct {
	segments  map[string]span     // those of the log
	histories map[string][]byte   // history files of the log
	dirs      map[string]struct{} // directories, of the base archive
	spaces    []string            // OIDs in the tablespace_map
}

const (
	// maxHistory and maxMap bound what is kept of a file, in bytes. A line of
	// either has some hundred at most.
	maxHistory = 4 << 20
	maxMap     = 16 << 20
)

const (
	baseArchive = "base"
	tarSuffix   = ".tar"
)

// readArchiveName tells which archive of a set a name is that of: base, pg_wal
// or a tablespace's OID.
func readArchiveName(name string) (which string, method compress.Method, ok bool) {
	method, rest := compress.BySuffix(name)
	if short, ok := strings.CutSuffix(name, ".tgz"); ok {
		method, rest = compress.Gzip, short+tarSuffix
	}
	which, ok = strings.CutSuffix(rest, tarSuffix)
	if !ok {
		return "", "", false
	}
	if which == baseArchive || which == walName {
		return which, method, true
	}
	oid, err := strconv.ParseUint(which, 10, 32)
	return which, method, err == nil && oid > 0 && strconv.FormatUint(oid, 10) == which
}

// checkTar verifies the archives of a set, then the log.
func (r *run) checkTar(ctx context.Context) error {
	archives, err := r.findArchives()
	if err != nil {
		return err
	}
	if err := r.readArchives(ctx, archives); err != nil {
		return err
	}
	if r.mustReread() {
		if err := r.readArchives(ctx, slices.DeleteFunc(slices.Clone(archives), func(a *archive) bool { return a.log || a.damaged.Load() })); err != nil {
			return err
		}
	}
	damaged := func(name string) bool { return behindDamage(archives, name) }
	if err := r.missing(ctx, damaged); err != nil {
		return err
	}
	r.checkTarLayout(archives)
	if r.o.NoWAL {
		return context.Cause(ctx)
	}
	for _, a := range archives {
		if a.log || r.wal == nil && len(a.found.segments) > 0 {
			r.wal = a
		}
	}
	return r.checkWAL(ctx)
}

// findArchives sorts what is in the directory.
func (r *run) findArchives() (archives []*archive, err error) {
	list, err := os.ReadDir(r.o.Directory)
	if err != nil {
		return nil, err
	}
	for _, d := range list {
		name := d.Name()
		if r.ignores(name) {
			continue
		}
		info, err := os.Stat(filepath.Join(r.o.Directory, name))
		if err != nil {
			r.problem(Problem{Kind: Unreadable, Path: name, Err: err})
			continue
		}
		which, method, ok := readArchiveName(name)
		switch {
		case !info.Mode().IsRegular():
			r.problem(Problem{Kind: NotRegular, Path: name})
			continue
		case !ok:
			r.problem(Problem{Kind: UnexpectedFile, Path: name})
			continue
		case which == walName && (r.o.NoWAL || r.o.WAL != ""):
			continue // the log is not looked for there
		}
		a := &archive{name: name, method: method, size: info.Size(), path: filepath.Join(r.o.Directory, name), log: which == walName}
		if which != baseArchive && !a.log {
			a.prefix = spacesName + "/" + which + "/"
		}
		r.total.Add(a.size)
		archives = append(archives, a)
	}
	return archives, nil
}

// behindDamage tells whether a file may be in the part of an archive that
// cannot be read.
func behindDamage(archives []*archive, name string) bool {
	var of *archive
	for _, a := range archives {
		if !a.log && strings.HasPrefix(name, a.prefix) && (of == nil || len(a.prefix) > len(of.prefix)) {
			of = a
		}
	}
	return of != nil && of.damaged.Load()
}

// readArchives reads the archives, several at a time.
func (r *run) readArchives(ctx context.Context, archives []*archive) error {
	var (
		running sync.WaitGroup
		slots   = make(chan struct{}, r.o.Jobs)
	)
	for _, a := range archives {
		running.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if ctx.Err() == nil {
				r.readArchive(ctx, a)
			}
		})
	}
	running.Wait()
	return context.Cause(ctx)
}

// counted counts what is read through it.
type counted struct {
	io.Reader
	n *atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// pump copies from to to. Reading, with the decompressing, and writing, with
// the checksums, go on side by side. It joins the reading side before it
// returns, so the reader is free afterwards.
func pump(ctx context.Context, to io.Writer, from io.Reader) error {
	type piece struct {
		b   []byte
		err error
	}
	const buffers = 4
	free, full, end := make(chan []byte, buffers), make(chan piece, buffers), make(chan struct{})
	for range buffers {
		free <- make([]byte, bufferSize)
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(full)
		for {
			select {
			case <-end:
				return
			case b := <-free:
				n, err := fill(b, from)
				full <- piece{b[:n], err}
				if err != nil {
					return
				}
			}
		}
	})
	defer reading.Wait()
	defer close(end)
	for p := range full {
		if len(p.b) > 0 {
			if _, err := to.Write(p.b); err != nil {
				return err
			}
		}
		switch {
		case p.err == io.EOF:
			return nil
		case p.err != nil:
			return p.err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		free <- p.b[:bufferSize]
	}
	return nil
}

// fill reads until b is full or from gives an error, which it returns as it
// is: that a decompressor met its end too early is not the end.
func fill(b []byte, from io.Reader) (n int, err error) {
	for n < len(b) && err == nil {
		var more int
		more, err = from.Read(b[n:])
		n += more
	}
	return n, err
}
