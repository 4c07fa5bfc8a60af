package verify

import (
	"context"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/pgbraid/pgbraid/basebackup/manifest"
)

// bufferSize is how much is read at a time, in bytes: few calls. Larger ones
// are no faster.
const bufferSize = 1 << 20

// hasher computes checksums one after the other.
type hasher struct {
	states [manifest.SHA512 + 1]hash.Hash
	sum    []byte
	skip   bool // nothing is compared
	pages  pageCheck
}

// begin gives the hash to write to; nil where there is none to compare with.
func (h *hasher) begin(e *entry) hash.Hash {
	if h.skip || e.checksum() == "" {
		return nil
	}
	a := e.algorithm
	if h.states[a] == nil {
		h.states[a] = a.New()
	}
	h.states[a].Reset()
	return h.states[a]
}

// matches compares what was written with the manifest.
func (h *hasher) matches(e *entry) bool {
	if h.skip || e.checksum() == "" {
		return true
	}
	h.sum = h.states[e.algorithm].Sum(h.sum[:0])
	return string(h.sum) == e.checksum()
}

// hashAll reads files, several at a time, in the list's order.
func (r *run) hashAll(ctx context.Context, list []int32) error {
	var (
		next    atomic.Int64
		workers sync.WaitGroup
	)
	for range min(r.o.Jobs, len(list)) {
		workers.Go(func() {
			h, buffer := &hasher{skip: r.o.SkipChecksums}, make([]byte, bufferSize)
			for {
				i := next.Add(1) - 1
				if i >= int64(len(list)) || ctx.Err() != nil {
					return
				}
				r.hashFile(ctx, &r.table.entries[list[i]], h, buffer)
			}
		})
	}
	workers.Wait()
	return context.Cause(ctx)
}

// hashFile compares a file with the manifest. When ctx ends it says nothing.
func (r *run) hashFile(ctx context.Context, e *entry, h *hasher, buffer []byte) {
	h.pages.begin(r, e.path())
	size, err := r.sumFile(ctx, e, h, buffer)
	if err == nil && ctx.Err() == nil {
		h.pages.end(r, "")
	}
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		r.problem(Problem{Kind: Unreadable, Path: e.path(), Err: err})
	case size != e.size:
		// It had the right size a moment ago.
		r.problem(Problem{Kind: SizeMismatch, Path: e.path(), Size: size, Want: e.size})
	case !h.matches(e):
		r.problem(Problem{Kind: ChecksumMismatch, Path: e.path()})
	default:
		e.set(good)
		return
	}
	e.set(bad)
}

func (r *run) sumFile(ctx context.Context, e *entry, h *hasher, buffer []byte) (size int64, err error) {
	f, err := os.Open(filepath.Join(r.o.Directory, e.path()))
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }() // only read from
	if e.size > int64(len(buffer)) {
		readAhead(f)
	}
	sum := h.begin(e)
	for ctx.Err() == nil {
		n, err := f.Read(buffer)
		if sum != nil {
			sum.Write(buffer[:n])
		}
		h.pages.write(buffer[:n])
		size += int64(n)
		r.done.Add(int64(n))
		r.read.Add(int64(n))
		switch {
		case err == io.EOF:
			return size, nil
		case err != nil:
			return size, err
		case size > e.size:
			return size, fmt.Errorf("it grew beyond %d bytes while it was read", e.size)
		}
	}
	return size, nil
}
