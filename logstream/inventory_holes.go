package logstream

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
)

// findHoles finds which segments are missing. A timeline needs all of its own
// from its fork on, and those of its ancestors up to where each was left. What
// lies before the first segment of a history is not missing: the archive began
// there.
func (s *stocktaking) findHoles() error {
	needed := s.neededByDescendants()
	for t, upTo := range needed {
		from, ok := s.firstNeeded(t)
		if !ok {
			continue
		}
		files := s.timelines[t]
		if files == nil {
			files = &timelineFiles{}
		}
		var present []SegmentNumber
		present = append(present, files.complete...)
		for _, n := range files.partial {
			if _, complete := slices.BinarySearch(files.complete, n); complete {
				continue
			}
			// The last one of a timeline may be partial, unless others were
			// built upon all of it.
			ok := n == files.last && n > upTo
			if !ok {
				var err error
				if ok, err = walReachesEnd(s.dir, s.SegmentSize, t, n); err != nil {
					ok = false // it cannot be read
				}
			}
			if ok {
				present = append(present, n)
			}
		}
		if err := s.missing(t, from, max(upTo, files.last), once(present)); err != nil {
			return err
		}
	}
	slices.SortFunc(s.Holes, func(a, b SegmentRange) int {
		return cmp.Or(cmp.Compare(a.Timeline, b.Timeline), cmp.Compare(a.First, b.First))
	})
	return nil
}

// neededByDescendants tells for each timeline of which there are segments, or
// which such a one descends from, up to which segment others were built upon
// it.
func (s *stocktaking) neededByDescendants() map[TimelineID]SegmentNumber {
	needed := map[TimelineID]SegmentNumber{}
	for t := range s.timelines {
		needed[t] = max(needed[t], 0)
		for {
			e, ok := s.parents[t]
			if !ok {
				break
			}
			// The segment of the fork is a part of the younger timeline.
			needed[e.Timeline] = max(needed[e.Timeline], s.begin(t)-1)
			t = e.Timeline
		}
	}
	return needed
}

// begin is the first segment that can be of a timeline: the one in which it
// left its parent.
func (s *stocktaking) begin(t TimelineID) SegmentNumber {
	return max(1, s.SegmentSize.Segment(s.parents[t].Switch))
}

// firstNeeded is the segment from which on nothing of timeline t may be
// missing.
func (s *stocktaking) firstNeeded(t TimelineID) (first SegmentNumber, ok bool) {
	for child := t; ; {
		e, found := s.parents[child]
		if !found {
			break
		}
		if files := s.timelines[e.Timeline]; files != nil && files.first <= s.begin(child) {
			return s.begin(t), true
		}
		child = e.Timeline
	}
	if files := s.timelines[t]; files != nil {
		return files.first, true
	}
	return 0, false
}

// missing notes the holes between from and to.
func (s *stocktaking) missing(t TimelineID, from, to SegmentNumber, present []SegmentNumber) error {
	hole := func(first, last SegmentNumber) error {
		if last < first {
			return nil
		}
		// A file that is renamed while the directory is read may be listed
		// under neither name.
		for _, n := range []SegmentNumber{first, last} {
			if s.appeared(t, n) {
				return errChanged
			}
		}
		s.Holes = append(s.Holes, SegmentRange{t, first, last})
		return nil
	}
	next := from
	for _, n := range present {
		if n < next || n > to {
			continue
		}
		if err := hole(next, n-1); err != nil {
			return err
		}
		next = n + 1
	}
	if to < next {
		return nil
	}
	return hole(next, to)
}

// appeared tells whether a complete form of a segment is there that was not
// listed.
func (s *stocktaking) appeared(t TimelineID, n SegmentNumber) bool {
	if files := s.timelines[t]; files != nil {
		if _, bad := slices.BinarySearch(files.bad, n); bad {
			return false
		}
	}
	for _, f := range forms(s.SegmentSize.FileName(t, n)) {
		if f.Partial {
			continue
		}
		if _, err := os.Stat(filepath.Join(s.dir, f.Name)); err == nil {
			return true
		}
	}
	return false
}
