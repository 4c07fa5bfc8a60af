package verify

import (
	"fmt"
	"math"
	"strings"
	"sync"

	"github.com/pgbraid/pgbraid/internal/controlfile"
	"github.com/pgbraid/pgbraid/internal/pgpage"
)

// ErrNoPageChecksums says that pages were to be checked, and that those of the
// cluster have no checksums.
var ErrNoPageChecksums error = noPageChecksums{}

type noPageChecksums struct{}

func (noPageChecksums) Error() string {
	return "data checksums are not enabled in the cluster: its pages have none to check"
}

// Hint is advice for the person who sees the error.
func (noPageChecksums) Hint() string { return "Leave out --pages: all else is verified without." }

// PageReport is what was found of data pages.
type PageReport struct {
	// Checked says that they were looked at.
	Checked bool
	// Files is how many files they are in, Pages how many there are.
	Files, Pages int64
	// New are those that were added and never written to, which have no
	// checksum. Torn are those whose checksum is wrong, and that were changed
	// while the backup was taken: a server does not look at them, since
	// replaying the backup's WAL mends them. Bad are those that no server
	// would read. All others are good.
	New, Torn, Bad int64
}

// PagesError says which pages of a file are bad.
type PagesError struct {
	// Blocks are the numbers of the first, within their relation; Bad is how
	// many there are.
	Blocks []uint32
	Bad    int64
	// Fault says why the pages of an incremental file cannot be told from one
	// another; it is empty where they can.
	Fault string
}

func (e *PagesError) Error() string {
	if e.Bad == 0 {
		return e.Fault
	}
	var numbers []string
	for _, b := range e.Blocks {
		numbers = append(numbers, fmt.Sprint(b))
	}
	text := "block "
	if e.Bad > 1 {
		text = "blocks "
	}
	text += strings.Join(numbers, ", ")
	if more := e.Bad - int64(len(e.Blocks)); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	if e.Fault != "" {
		text += "; " + e.Fault
	}
	return text
}

// pages is what a run knows of data pages. In tar archives pg_control, which
// tells whether there are checksums, comes after most of them: until then they
// are taken for what most clusters have, and what is found is kept.
type pages struct {
	mutex    sync.Mutex
	geometry pgpage.Geometry
	window   pgpage.Window
	known    bool // pg_control was read
	wrong    bool // and says that the pages so far were taken for what they are not
	again    bool // the archives are read for their pages only
	report   PageReport
	found    []Problem
}

// preparePages begins. The manifest says where the backup's WAL begins and
// ends, as backup_label does for the beginning.
func (r *run) preparePages() {
	r.pages.geometry = pgpage.DefaultGeometry
	r.pages.window = pgpage.Window{Start: math.MaxUint64, End: math.MaxUint64}
	if ranges := r.summary.Ranges; len(ranges) > 0 { // the newest is the first
		r.pages.window = pgpage.Window{Start: uint64(ranges[len(ranges)-1].Start), End: uint64(ranges[0].End)}
	}
}

// learnPages takes over what pg_control says of pages. Where they have no
// checksums that ends the run.
func (r *run) learnPages(control *controlfile.Control) {
	if !r.o.Pages {
		return
	}
	if control.ChecksumVersion != pgpage.ChecksumsOn {
		r.stop(ErrNoPageChecksums)
		return
	}
	p := &r.pages
	p.mutex.Lock()
	defer p.mutex.Unlock()
	g := pgpage.Geometry{BlockSize: int(control.BlockSize), SegmentBlocks: control.SegmentBlocks}
	if !g.Valid() {
		return // no server has such; they remain unchecked
	}
	p.known = true
	if g != p.geometry {
		p.geometry, p.wrong = g, p.report.Files > 0
	}
}

// hasPages tells whether the pages of a file can be checked.
func (r *run) hasPages(name string) bool {
	if !r.o.Pages || !r.pages.known {
		return false
	}
	_, ok := pgpage.ParsePath(name)
	return ok
}

// pageCheck checks the pages of one file after another.
type pageCheck struct {
	checker pgpage.Checker
	on      bool
	name    string
}

// begin begins a file, if it is one of pages and they are to be checked.
func (c *pageCheck) begin(r *run, name string) {
	c.on = false
	if !r.o.Pages {
		return
	}
	if relation, ok := pgpage.ParsePath(name); ok {
		c.on, c.name = true, name
		r.pages.mutex.Lock()
		defer r.pages.mutex.Unlock()
		c.checker.Begin(r.pages.geometry, r.pages.window, relation)
		r.pages.report.Files++
	}
}

func (c *pageCheck) write(p []byte) {
	if c.on {
		c.checker.Write(p)
	}
}

// end notes what was found in the file, which is in that archive.
func (c *pageCheck) end(r *run, archive string) {
	if !c.on {
		return
	}
	c.on = false
	tally, p := c.checker.End(), &r.pages
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.report.Pages += tally.Pages
	p.report.New += tally.New
	p.report.Torn += tally.Torn
	p.report.Bad += tally.Bad
	if tally.Bad > 0 || tally.Fault != "" {
		p.found = append(p.found, Problem{Kind: DamagedPages, Path: c.name, Archive: archive,
			Err: &PagesError{Blocks: tally.Blocks, Bad: tally.Bad, Fault: tally.Fault}})
	}
	if p.known && !p.wrong {
		r.tellPages()
	}
}

// tellPages makes problems of what was found so far.
func (r *run) tellPages() {
	for _, problem := range r.pages.found {
		if e := r.table.find(problem.Path); e != nil {
			e.set(suspect)
		}
		r.problem(problem)
	}
	r.pages.found = nil
}

// mustReread tells whether archives must be read once more, since their pages
// are not what they were taken for, and prepares for that.
func (r *run) mustReread() bool {
	p := &r.pages
	if !p.wrong {
		return false
	}
	p.wrong, p.again, p.report, p.found = false, true, PageReport{}, nil
	return true
}

// finishPages adds to the report what is known of pages. Without a pg_control,
// which is a problem of its own, nobody knows whether they have checksums.
func (r *run) finishPages() {
	if !r.o.Pages || !r.pages.known {
		return
	}
	r.tellPages()
	r.pages.report.Checked = true
	r.report.Pages = r.pages.report
}
