package logstream

import (
	"context"
	"errors"
	"io/fs"
)

// sameHistory tells whether the history of a timeline that is kept is the
// server's. The servers that follow a timeline copy its file as it is, but only
// timelines and LSNs are compared: what recovery goes by. A difference is a
// *HistoryMismatchError. One that cannot be read as a history is none: it is
// of no use to anybody, and same is false.
func (r *Receiver) sameHistory(ctx context.Context, t TimelineID) (same bool, err error) {
	store, ok := r.options.Store.(ReadableStore)
	if !ok {
		return true, nil
	}
	content, err := store.ReadHistory(t)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil // it is kept where it cannot be read from
	}
	if err != nil {
		return false, &StoreError{Err: err}
	}
	server := r.history.before(t)
	if _, known := r.history.SwitchPoint(t); !known {
		if _, server, err = fetchHistory(ctx, r.conn, t); err != nil {
			return false, err
		}
	}
	if err := checkHistory(t.HistoryFileName(), content); err != nil {
		r.log.Warn("the history file that is there cannot be read, it is replaced by the server's", "file", t.HistoryFileName(), "error", err)
		return false, nil
	}
	stored, _ := ParseHistory(content) // it was checked
	if !stored.same(server) {
		return false, &HistoryMismatchError{Timeline: t, Stored: stored, Server: server}
	}
	return true, nil
}
