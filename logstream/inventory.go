package logstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/pgbraid/pgbraid/internal/compress"
)

// Inventory is what lies in a directory of WAL, found out without a server.
type Inventory struct {
	SegmentSize SegmentSize // bytes; 0 if there is no segment
	SystemID    uint64      // 0 where no segment says it
	Major       int         // PostgreSQL release, such as 15; 0 where it is not known
	Timelines   []TimelineInventory
	// Holes are the segments that are missing between the first one and the
	// last one of each timeline's history. A segment that cannot be used, bad
	// or partial, is missing too.
	Holes []SegmentRange
	Bad   []BadFile
	// The files by kind. Bytes are those of the disk, not of WAL.
	Plain, Compressed, Partial FileCount
	Other                      int // files that are neither segment nor history, nor lost
	// Lost is WAL that was received, and that a failover lost. No recovery
	// uses it.
	Lost []LostFile

	// Newest is the end of the last valid record on the newest timeline, as
	// the WAL itself shows; its LSN is 0 if there is none.
	Newest Position
	// LastCommit is when the last transaction that ends near Newest ended, by
	// the server's clock; zero if none is found in the last few segments.
	LastCommit time.Time
}

// Whole tells whether there is WAL, without holes and bad files.
func (i *Inventory) Whole() bool {
	return i.SegmentSize != 0 && len(i.Holes) == 0 && len(i.Bad) == 0
}

// TimelineInventory is one timeline of an Inventory.
type TimelineInventory struct {
	Timeline TimelineID
	Parent   TimelineID // 0 where it is not known
	Fork     LSN        // where Parent was left; 0 where it is not known
	Ranges   []SegmentRange
	Partials []SegmentFile // those of which no complete form is there
}

// SegmentRange is a run of segments of one timeline, First and Last included.
type SegmentRange struct {
	Timeline    TimelineID
	First, Last SegmentNumber
}

// Count is the number of segments.
func (r SegmentRange) Count() uint64 { return uint64(r.Last-r.First) + 1 }

// FileCount counts files.
type FileCount struct {
	Files int
	Bytes int64
}

func (c *FileCount) add(bytes int64) { c.Files++; c.Bytes += bytes }

// BadFile is a file that recovery cannot use.
type BadFile struct {
	Name string
	Err  error
}

// InventoryOptions say how closely the files are looked at.
type InventoryOptions struct {
	// Check reads every segment, compressed or not, along the chain of its pages
	// and records, over the borders of segments and the forks of timelines, and
	// compares their checksums. Without it only names and lengths are looked at, and the WAL of the
	// newest segments.
	Check bool
}

// TakeInventory looks through a directory of WAL, which a receiver may be
// writing to. An error says that it could not be read; faults of the archive
// are in the Inventory.
func TakeInventory(ctx context.Context, dir string, o InventoryOptions) (*Inventory, error) {
	// Files are renamed and removed while they are looked at: then again.
	for attempt := 1; ; attempt++ {
		t := &stocktaking{ctx: ctx, dir: dir, options: o, parents: map[TimelineID]HistoryEntry{}}
		err := t.run()
		if err == nil {
			return &t.Inventory, nil
		}
		if attempt == 5 || !errors.Is(err, errChanged) {
			return nil, err
		}
	}
}

// errChanged says that a file is no longer there.
var errChanged = errors.New("the directory is changing too fast")

// stocktaking is one run of TakeInventory.
type stocktaking struct {
	Inventory
	ctx     context.Context
	dir     string
	options InventoryOptions

	files     []SegmentFile // the newest first
	timelines map[TimelineID]*timelineFiles
	histories []TimelineID // whose files are there
	parents   map[TimelineID]HistoryEntry
}

// timelineFiles are the segments of a timeline, ascending and each once.
type timelineFiles struct {
	complete, partial, bad []SegmentNumber // one that is bad is not in complete
	first, last            SegmentNumber   // of all
}

func (s *stocktaking) run() error {
	names, err := s.list()
	if err != nil {
		return err
	}
	if err := s.findSize(names); err != nil {
		return err
	}
	if err := s.readHistories(); err != nil {
		return err
	}
	if err := s.sort(names); err != nil {
		return err
	}
	if err := s.findHoles(); err != nil {
		return err
	}
	if err := s.findNewest(); err != nil {
		return err
	}
	s.describe()
	return nil
}

// list reads the names, and of these keeps those of segments.
func (s *stocktaking) list() (segments []string, err error) {
	names, err := fileNames(s.dir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		t, history := parseHistoryName(name)
		_, segment := parseSegmentFile(name, MinSegmentSize)
		file, lost := parseLostFile(name)
		switch {
		case history:
			s.histories = append(s.histories, t)
		case segment:
			segments = append(segments, name)
		case lost:
			if info, err := os.Stat(filepath.Join(s.dir, name)); err == nil {
				file.Bytes = info.Size()
			}
			s.Lost = append(s.Lost, file)
		default:
			s.Other++
		}
	}
	slices.Sort(segments)
	slices.Reverse(segments)
	slices.Sort(s.histories)
	slices.SortFunc(s.Lost, func(a, b LostFile) int { return cmp.Compare(a.Name, b.Name) })
	return segments, nil
}

// findSize takes the segment size from the newest segment that says it.
func (s *stocktaking) findSize(names []string) error {
	var fallback SegmentSize
	for _, name := range names {
		if err := context.Cause(s.ctx); err != nil {
			return err
		}
		f, _ := parseSegmentFile(name, MinSegmentSize)
		r, err := f.Open(s.dir)
		if err != nil {
			continue // told later
		}
		h, _, err := readSegmentHeader(r)
		_ = r.Close() // only read from
		if err == nil {
			s.SegmentSize, s.SystemID, s.Major = SegmentSize(h.SegmentSize), h.SystemID, h.Major()
			return nil
		}
		if n, err := f.Length(s.dir); err == nil && f.Method == compress.None && n <= int64(MaxSegmentSize) && SegmentSize(n).Valid() {
			fallback = SegmentSize(n)
		}
	}
	if fallback == 0 && len(names) > 0 {
		return fmt.Errorf("WAL segment size: none of the %d segments in %s says it", len(names), s.dir)
	}
	s.SegmentSize = fallback
	return nil
}

// sort takes the segments apart by timeline, and checks them.
func (s *stocktaking) sort(names []string) error {
	s.timelines = map[TimelineID]*timelineFiles{}
	if s.SegmentSize == 0 {
		return nil
	}
	for _, name := range names {
		f, ok := parseSegmentFile(name, s.SegmentSize)
		if !ok {
			s.bad(name, fmt.Errorf("no segment of %d bytes has this name", s.SegmentSize))
			continue
		}
		s.files = append(s.files, f)
	}
	faults, err := s.examine()
	if err != nil {
		return err
	}
	for i, f := range s.files {
		t := s.timelines[f.Timeline]
		if t == nil {
			t = &timelineFiles{first: f.Number}
			s.timelines[f.Timeline] = t
		}
		t.first, t.last = min(t.first, f.Number), max(t.last, f.Number)
		switch {
		case faults[i] != nil:
			s.bad(f.Name, faults[i])
			t.bad = append(t.bad, f.Number)
		case f.Partial:
			t.partial = append(t.partial, f.Number)
		default:
			t.complete = append(t.complete, f.Number)
		}
	}
	for _, t := range s.timelines {
		t.complete, t.partial, t.bad = once(t.complete), once(t.partial), once(t.bad)
	}
	return nil
}

func once(list []SegmentNumber) []SegmentNumber {
	slices.Sort(list)
	return slices.Compact(list)
}

func (s *stocktaking) bad(name string, err error) {
	s.Bad = append(s.Bad, BadFile{name, err})
}

// readHistories finds out which timeline descends from which.
func (s *stocktaking) readHistories() error {
	for _, t := range s.histories {
		name := t.HistoryFileName()
		content, err := readAll(s.dir, SegmentFile{Name: name}, maxHistory+1)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: %s", errChanged, name)
		}
		if err == nil {
			err = checkHistory(name, content)
		}
		if err != nil {
			s.bad(name, err)
			continue
		}
		h, _ := ParseHistory(content) // it was checked
		for i, e := range h {
			child := h.After(e.Timeline, t)
			// What a timeline's own file says comes before what others say.
			if _, known := s.parents[child]; !known || i == len(h)-1 {
				s.parents[child] = e
			}
		}
	}
	return nil
}

// describe makes the list of timelines of what was found.
func (s *stocktaking) describe() {
	ids := slices.Clone(s.histories)
	for t := range s.timelines {
		ids = append(ids, t)
		// A server cannot follow a history that it does not find.
		if !slices.Contains(s.histories, t) && t > 1 {
			s.bad(t.HistoryFileName(), errors.New("it is missing, and recovery to this timeline needs it"))
		}
	}
	slices.Sort(ids)
	for _, t := range slices.Compact(ids) {
		parent := s.parents[t]
		line := TimelineInventory{Timeline: t, Parent: parent.Timeline, Fork: parent.Switch}
		if files := s.timelines[t]; files != nil {
			line.Ranges = ranges(t, files.complete)
			for _, f := range slices.Backward(s.files) {
				if _, complete := slices.BinarySearch(files.complete, f.Number); f.Timeline == t && f.Partial && !complete {
					line.Partials = append(line.Partials, f)
				}
			}
		}
		s.Timelines = append(s.Timelines, line)
	}
	slices.SortFunc(s.Bad, func(a, b BadFile) int { return cmp.Compare(a.Name, b.Name) })
}

// ranges makes runs of ascending numbers.
func ranges(t TimelineID, numbers []SegmentNumber) (list []SegmentRange) {
	for _, n := range numbers {
		if last := len(list) - 1; last >= 0 && list[last].Last+1 == n {
			list[last].Last = n
		} else {
			list = append(list, SegmentRange{t, n, n})
		}
	}
	return list
}

// examine finds what is wrong with each file, as far as the options say, and
// counts them.
func (s *stocktaking) examine() (faults []error, err error) {
	faults = make([]error, len(s.files))
	for i, f := range s.files {
		if s.ctx.Err() != nil {
			return nil, context.Cause(s.ctx)
		}
		info, err := os.Stat(filepath.Join(s.dir, f.Name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("%w: %s", errChanged, f.Name)
		case err != nil:
			faults[i] = err
			continue
		case f.Partial:
			s.Partial.add(info.Size())
			continue
		case f.Method != compress.None:
			s.Compressed.add(info.Size())
		default:
			s.Plain.add(info.Size())
			if info.Size() != int64(s.SegmentSize) {
				faults[i] = wrongLength(info.Size(), s.SegmentSize)
			}
		}
		if info.Size() == 0 && faults[i] == nil {
			faults[i] = errors.New("it is empty")
		}
	}
	if !s.options.Check {
		return faults, nil
	}
	return faults, s.checkContent(faults)
}

func wrongLength(n int64, want SegmentSize) error {
	return fmt.Errorf("it holds %d bytes, want %d", n, want)
}
