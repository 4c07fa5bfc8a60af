package logstream

import "errors"

// checkFork makes sure that the Store holds no whole record that the server's
// history does not have. It would have received such a one from a primary that
// was ahead of the standby that was promoted. As long as it is in the segment
// at hand it is set aside, and the stream goes on, as that of a standby's and of
// pg_receivewal's does; from a complete segment nothing is taken back.
func (r *Receiver) checkFork(fork LSN) error {
	pos := r.cursor.pos
	ahead := &TimelineError{Position: pos, Server: r.server.timeline, Fork: fork}
	records, ok := r.options.Store.(RecordStore)
	if !ok {
		if pos.LSN > fork {
			return ahead
		}
		return nil
	}
	// Segments that are full and not sealed yet are to be complete ones.
	if err := r.cursor.flush.drain(); err != nil {
		return err
	}
	end, err := records.RecordsEnd(pos.Timeline, fork)
	if err != nil {
		return &StoreError{Err: err}
	}
	if end <= fork {
		return nil
	}
	ahead.Position.LSN = end
	lost, ok := records.(LostStore)
	if !ok {
		return ahead
	}
	files, err := lost.SetAside(pos.Timeline, fork, end)
	switch {
	case errors.Is(err, errKept):
		return ahead
	case err != nil:
		return &StoreError{Err: err}
	}
	r.log.Warn("lost in a failover: the server that was promoted never had WAL that was received; keeping it aside, going on along the server's timeline",
		"timeline", pos.Timeline, "received up to", end.String(), "server left it at", fork.String(), "bytes", uint64(end-fork), "files", files)
	r.mu.Lock()
	r.status.LostWAL++
	r.mu.Unlock()
	return nil
}
