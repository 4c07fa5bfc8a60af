package logstream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"

	"github.com/pgbraid/pgbraid/internal/compress"
	"golang.org/x/sync/errgroup"
)

// checkContent reads the header of each complete segment and decompresses it,
// several at once.
func (s *stocktaking) checkContent(faults []error) error {
	group, ctx := errgroup.WithContext(s.ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, f := range s.files {
		if f.Partial || faults[i] != nil {
			continue
		}
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			err := s.checkSegment(f)
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%w: %s", errChanged, f.Name)
			}
			faults[i] = err
			return ctx.Err()
		})
	}
	return group.Wait()
}

// checkSegment makes sure that a complete segment is what its name says, of
// this cluster, and as long as it must be.
func (s *stocktaking) checkSegment(f SegmentFile) (err error) {
	r, err := f.Open(s.dir)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // only read from
	h, page, err := readSegmentHeader(r)
	if err != nil {
		return err
	}
	switch {
	case SegmentSize(h.SegmentSize) != s.SegmentSize:
		return fmt.Errorf("it is of segments of %d bytes", h.SegmentSize)
	case h.SystemID != s.SystemID:
		return fmt.Errorf("it is of the cluster with the system identifier %d", h.SystemID)
	case h.Address != uint64(s.SegmentSize.Start(f.Number)) || h.Timeline > uint32(f.Timeline):
		return fmt.Errorf("it begins at %s", Position{TimelineID(h.Timeline), LSN(h.Address)})
	case f.Method == compress.None:
		return nil // its length is known
	}
	whole := io.MultiReader(bytes.NewReader(page), r)
	n, err := io.Copy(io.Discard, io.LimitReader(whole, int64(s.SegmentSize)+1))
	if err == nil && n != int64(s.SegmentSize) {
		err = wrongLength(n, s.SegmentSize)
	}
	return err
}
