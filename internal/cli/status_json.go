package cli

import (
	"strconv"
	"time"

	"github.com/pgbraid/pgbraid/logstream"
)

// statusResult is what --json writes.
type statusResult struct {
	Directory        string           `json:"directory"`
	Whole            bool             `json:"whole"`
	SegmentSize      uint32           `json:"segment_size,omitempty"`
	SystemIdentifier string           `json:"system_identifier,omitempty"`
	ServerMajor      int              `json:"server_major,omitempty"`
	NewestLSN        string           `json:"newest_lsn,omitempty"`
	NewestTimeline   uint32           `json:"newest_timeline,omitempty"`
	LastCommit       *time.Time       `json:"last_commit,omitempty"`
	Timelines        []statusTimeline `json:"timelines"`
	Holes            []statusRange    `json:"holes"`
	Lost             []statusLost     `json:"lost"`
	Bad              []statusBad      `json:"bad"`
	Plain            statusFiles      `json:"plain"`
	Compressed       statusFiles      `json:"compressed"`
	Partial          statusFiles      `json:"partial"`
	OtherFiles       int              `json:"other_files"`
}

type statusTimeline struct {
	Timeline uint32        `json:"timeline"`
	Parent   uint32        `json:"parent,omitempty"`
	ForkLSN  string        `json:"fork_lsn,omitempty"`
	Ranges   []statusRange `json:"ranges"`
	Partials []string      `json:"partials"`
}

type statusRange struct {
	Timeline uint32 `json:"timeline"`
	First    string `json:"first"`
	Last     string `json:"last"`
	Segments uint64 `json:"segments"`
	From     string `json:"from_lsn"`
	To       string `json:"to_lsn"`
}

type statusLost struct {
	Name     string `json:"name"`
	Timeline uint32 `json:"timeline"`
	From     string `json:"from_lsn"`
	To       string `json:"to_lsn"`
}

type statusBad struct {
	Name  string `json:"name"`
	Error string `json:"error"`
}

type statusFiles struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
}

func newStatusResult(dir string, i *logstream.Inventory) statusResult {
	out := statusResult{
		Directory: dir, Whole: i.Whole(), SegmentSize: uint32(i.SegmentSize), ServerMajor: i.Major,
		Timelines: []statusTimeline{}, Holes: newStatusRanges(i.SegmentSize, i.Holes), Lost: []statusLost{}, Bad: []statusBad{},
		Plain: statusFiles(i.Plain), Compressed: statusFiles(i.Compressed), Partial: statusFiles(i.Partial), OtherFiles: i.Other,
	}
	if i.SystemID != 0 {
		out.SystemIdentifier = strconv.FormatUint(i.SystemID, 10)
	}
	if i.Newest.LSN != 0 {
		out.NewestLSN, out.NewestTimeline = i.Newest.LSN.String(), uint32(i.Newest.Timeline)
	}
	if !i.LastCommit.IsZero() {
		out.LastCommit = &i.LastCommit
	}
	for _, t := range i.Timelines {
		line := statusTimeline{
			Timeline: uint32(t.Timeline), Parent: uint32(t.Parent),
			Ranges: newStatusRanges(i.SegmentSize, t.Ranges), Partials: []string{},
		}
		if t.Parent != 0 {
			line.ForkLSN = t.Fork.String()
		}
		for _, f := range t.Partials {
			line.Partials = append(line.Partials, f.Name)
		}
		out.Timelines = append(out.Timelines, line)
	}
	for _, f := range i.Lost {
		out.Lost = append(out.Lost, statusLost{f.Name, uint32(f.Timeline), f.From.String(), f.To.String()})
	}
	for _, b := range i.Bad {
		out.Bad = append(out.Bad, statusBad{b.Name, b.Err.Error()})
	}
	return out
}

func newStatusRanges(size logstream.SegmentSize, list []logstream.SegmentRange) []statusRange {
	out := []statusRange{}
	for _, r := range list {
		out = append(out, newStatusRange(size, r))
	}
	return out
}

func newStatusRange(size logstream.SegmentSize, r logstream.SegmentRange) statusRange {
	return statusRange{
		Timeline: uint32(r.Timeline), First: size.FileName(r.Timeline, r.First), Last: size.FileName(r.Timeline, r.Last),
		Segments: r.Count(), From: size.Start(r.First).String(), To: size.Start(r.Last + 1).String(),
	}
}
