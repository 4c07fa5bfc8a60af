package verify

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pgbraid/pgbraid/logstream"
)

// checkHistory makes sure that a server that is started from the backup can
// follow the log from each timeline to the next: the history file of the
// newest one names all that it descends from (readTimeLineHistory in
// src/backend/access/transam/timeline.c). Without it the server takes the
// oldest for another history and does not start.
func (r *run) checkHistory(place walPlace) {
	ranges := r.report.Ranges
	if r.o.AsPgVerifybackup || len(ranges) < 2 {
		return
	}
	newest := ranges[0]
	name := newest.Timeline.HistoryFileName()
	damaged := func(err error) {
		r.problem(Problem{Kind: DamagedWAL, Path: name, Timeline: newest.Timeline, LSN: newest.Start, Err: err})
	}
	content, err := place.history(name)
	if errors.Is(err, fs.ErrNotExist) && r.o.WAL != "" && r.report.Format == FormatPlain {
		// The server looks into its own directory too.
		content, err = readHistory(filepath.Join(r.o.Directory, walName, name))
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.problem(Problem{Kind: MissingHistory, Path: name, Timeline: newest.Timeline})
		return
	case err != nil:
		damaged(err)
		return
	}
	history, err := logstream.ParseHistory(content)
	if err != nil {
		damaged(err)
		return
	}
	for _, older := range ranges[1:] {
		switch fork, found := history.SwitchPoint(older.Timeline); {
		case !found:
			damaged(fmt.Errorf("it does not name timeline %d", older.Timeline))
			return
		case fork != older.End:
			damaged(fmt.Errorf("it leaves timeline %d at %s, the manifest at %s", older.Timeline, fork, older.End))
			return
		}
	}
}

// readHistory reads a history file.
func readHistory(name string) ([]byte, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, err
	case info.Size() > maxHistory:
		return nil, fmt.Errorf("%d bytes are too many for a history file", info.Size())
	}
	return os.ReadFile(name)
}
