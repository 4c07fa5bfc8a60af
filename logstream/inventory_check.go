package logstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"runtime"
	"slices"

	"github.com/pgbraid/pgbraid/internal/walread"
	"golang.org/x/sync/errgroup"
)

// runLength is how many segments are read one after another. Others are read
// at the same time; each run reads the segment before it once more.
const runLength = 16

// checkContent reads all WAL along its chain, several runs at once: page
// headers, the links from record to record, and the checksums of records, over
// the borders of segments and over the forks of timelines.
func (s *stocktaking) checkContent(faults []error) error {
	group, ctx := errgroup.WithContext(s.ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for _, run := range s.runs(faults) {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error { return s.checkRun(ctx, run, faults) })
	}
	for i, f := range s.files {
		if f.Partial && faults[i] == nil {
			faults[i] = s.checkPartial(f)
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return context.Cause(s.ctx)
}

// segmentRun are complete segments of a timeline without a gap between, each
// with the indexes of its files, the one to be preferred first.
type segmentRun struct {
	timeline TimelineID
	first    SegmentNumber
	last     SegmentNumber // of the timeline in the directory, also a partial one
	files    [][]int
}

func (s *stocktaking) runs(faults []error) []*segmentRun {
	files := map[TimelineID]map[SegmentNumber][]int{}
	last := map[TimelineID]SegmentNumber{}
	for i, f := range s.files {
		last[f.Timeline] = max(last[f.Timeline], f.Number)
		if f.Partial || faults[i] != nil {
			continue
		}
		if files[f.Timeline] == nil {
			files[f.Timeline] = map[SegmentNumber][]int{}
		}
		files[f.Timeline][f.Number] = append(files[f.Timeline][f.Number], i)
	}
	var list []*segmentRun
	for t, byNumber := range files {
		numbers := make([]SegmentNumber, 0, len(byNumber))
		for n := range byNumber {
			numbers = append(numbers, n)
		}
		slices.Sort(numbers)
		var run *segmentRun
		for _, n := range numbers {
			indexes := byNumber[n]
			slices.SortFunc(indexes, func(a, b int) int { return s.rank(a) - s.rank(b) })
			if run == nil || run.first+SegmentNumber(len(run.files)) != n || len(run.files) == runLength {
				run = &segmentRun{timeline: t, first: n, last: last[t]}
				list = append(list, run)
			}
			run.files = append(run.files, indexes)
		}
	}
	return list
}

// rank is the place of a file among the forms of its segment.
func (s *stocktaking) rank(i int) int {
	f := s.files[i]
	return slices.IndexFunc(forms(s.SegmentSize.FileName(f.Timeline, f.Number)), func(form SegmentFile) bool { return form.Name == f.Name })
}

// checkRun reads the segments of a run.
func (s *stocktaking) checkRun(ctx context.Context, run *segmentRun, faults []error) error {
	c := &continuity{
		store: NewDirStore(s.dir, s.SegmentSize, DirOptions{}), size: s.SegmentSize, system: s.SystemID,
		log: slog.New(slog.DiscardHandler),
	}
	chain, err := c.before(run.timeline, run.first)
	if err != nil {
		return err
	}
	for k, indexes := range run.files {
		n := run.first + SegmentNumber(k)
		var next *walread.Chain
		for _, i := range indexes {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			own := chain
			own.LimitTimeline(uint32(run.timeline))
			err := s.checkSegment(ctx, s.files[i], &own)
			var end *walread.EndError
			if errors.As(err, &end) && n == run.last && s.endsThere(run.timeline, n, end) {
				err = nil
			} else if err == nil && next == nil {
				next = &own
			}
			if err == nil {
				err = s.checkFork(c, s.files[i])
			}
			if end != nil && err != nil && LSN(end.LSN) < s.SegmentSize.Start(n) {
				err = fmt.Errorf("%w; the record begins in an earlier segment, and the fault may lie there", err)
			}
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%w: %s", errChanged, s.files[i].Name)
			}
			faults[i] = err
		}
		if next == nil {
			if chain, err = c.anew(n + 1); err != nil {
				return err
			}
			continue
		}
		chain = *next
	}
	return nil
}

// checkSegment makes sure that a complete segment is what its name says, of
// this cluster, as long as it must be, and goes on from where the chain is.
func (s *stocktaking) checkSegment(ctx context.Context, f SegmentFile, chain *walread.Chain) (err error) {
	r, err := f.Open(s.dir)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // only read from
	page, err := s.checkHeader(f, r)
	if err != nil {
		return err
	}
	if err := chain.Feed(page); err != nil {
		return err
	}
	buffer := make([]byte, packBuffer)
	for read := int64(len(page)); ; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := r.Read(buffer)
		read += int64(n)
		if read > int64(s.SegmentSize) {
			return fmt.Errorf("it holds more than %d bytes", s.SegmentSize)
		}
		if err := chain.Feed(buffer[:n]); err != nil {
			return err
		}
		switch {
		case errors.Is(err, io.EOF) && read != int64(s.SegmentSize):
			return wrongLength(read, s.SegmentSize)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// checkHeader reads the long header of a segment, and gives its bytes.
func (s *stocktaking) checkHeader(f SegmentFile, r io.Reader) ([]byte, error) {
	h, page, err := readSegmentHeader(r)
	if err != nil {
		return nil, err
	}
	switch {
	case SegmentSize(h.SegmentSize) != s.SegmentSize:
		return nil, fmt.Errorf("it is of segments of %d bytes", h.SegmentSize)
	case h.SystemID != s.SystemID:
		return nil, fmt.Errorf("it is of the cluster with the system identifier %d", h.SystemID)
	case h.Address != uint64(s.SegmentSize.Start(f.Number)) || h.Timeline > uint32(f.Timeline):
		return nil, fmt.Errorf("it begins at %s", Position{TimelineID(h.Timeline), LSN(h.Address)})
	}
	return page, nil
}

// checkPartial looks at a partial segment's header: it may end anywhere, and
// not even begin.
func (s *stocktaking) checkPartial(f SegmentFile) error {
	r, err := f.Open(s.dir)
	if err != nil {
		return nil // of no use, and none is needed
	}
	defer func() { _ = r.Close() }() // only read from
	if _, err := s.checkHeader(f, r); err != nil && !errors.Is(err, errNoWAL) && !torn(err) {
		return err
	}
	return nil
}

// endsThere tells whether the last segment of a timeline, which need not be
// full where it was left, just has no more WAL from there on.
func (s *stocktaking) endsThere(t TimelineID, n SegmentNumber, end *walread.EndError) bool {
	source, err := walread.NewSegments(uint32(s.SegmentSize), func(number uint64) (walread.SegmentFile, error) {
		if SegmentNumber(number) != n {
			return nil, fs.ErrNotExist
		}
		return OpenSegmentFile(s.dir, s.SegmentSize, t, n)
	})
	if err != nil {
		return false
	}
	reach, err := walread.EndOfWAL(source, uint64(s.SegmentSize.Start(n)), walread.Options{SegmentSize: uint32(s.SegmentSize)})
	if errors.Join(err, source.Close()) != nil {
		return false
	}
	return reach.Stop.Ending != walread.Invalid && reach.End == end.LSN
}

// checkFork compares the first segment of a timeline with what the timelines
// that it descends from have of it.
func (s *stocktaking) checkFork(c *continuity, f SegmentFile) error {
	history := c.ancestors(f.Timeline)
	if len(history) == 0 || s.SegmentSize.Segment(history[len(history)-1].Switch) != f.Number {
		return nil
	}
	for _, e := range slices.Backward(history) {
		if e.Switch <= s.SegmentSize.Start(f.Number) {
			break
		}
		parent, err := c.open(e.Timeline, f.Number, e.Switch, 0)
		if err != nil {
			return err
		}
		if parent == nil {
			continue
		}
		defer parent.close()
		return s.compareFork(c, f, parent)
	}
	return nil
}

func (s *stocktaking) compareFork(c *continuity, f SegmentFile, parent *kept) error {
	r, err := f.Open(s.dir)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // only read from
	at := Position{f.Timeline, s.SegmentSize.Start(f.Number)}
	if c.chain, err = c.anew(f.Number); err != nil {
		return err
	}
	buffer := make([]byte, packBuffer)
	for parent.left > 0 {
		n, err := io.ReadFull(r, buffer[:min(int64(len(buffer)), parent.left)])
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		same, ended, err := parent.compare(buffer[:n])
		if err != nil || ended {
			return err
		}
		if same < n {
			var diverged *DivergedError
			if err := c.judge(parent, at, same, buffer[:n]); errors.As(err, &diverged) {
				return fmt.Errorf("it differs from %s at %s, before the timelines part", parent.name, diverged.Differs)
			}
			return nil
		}
		if c.chain.Feed(buffer[:n]) != nil {
			return nil // told already
		}
		at.LSN += LSN(n)
	}
	return nil
}
