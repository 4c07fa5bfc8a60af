package metrics

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/pgbraid/pgbraid/logstream"
)

// maxSilence is how long a server may send nothing while it has WAL that did
// not come. A server that has none is silent by right: as long as it gets
// status messages it does not send keepalives of its own accord.
const maxSilence = time.Minute

const (
	// notReadyAfter is how long a write or an fsync may take before others
	// should know: a disk that is only slow is faster.
	notReadyAfter = 30 * time.Second
	// deadAfter is when there is no more hope that it returns.
	deadAfter = 5 * time.Minute
)

// alive tells whether the receiver works, be it only at getting the stream
// back: each step of that has a limit. One that hangs for long does not work.
func alive(s logstream.Status) bool {
	return s.State != logstream.Stopped && s.Stalled < deadAfter
}

// ready tells whether WAL comes in, from the server or from the archive, and
// gets to the disk.
func ready(s logstream.Status, now time.Time) bool {
	switch {
	case s.Stalled >= notReadyAfter:
		return false
	case s.State == logstream.FetchingFromArchive:
		return true
	case !streaming(s):
		return false
	case s.WrittenBehind.IsZero():
		return true
	}
	since := s.WrittenBehind
	if s.LastMessage.After(since) {
		since = s.LastMessage
	}
	return now.Sub(since) <= maxSilence
}

// health is the body of /healthz and /readyz. It has no error's text, which
// may name hosts and users.
type health struct {
	State          string   `json:"state"`
	Alive          bool     `json:"alive"`
	Ready          bool     `json:"ready"`
	Timeline       uint32   `json:"timeline,omitempty"`
	Written        string   `json:"written_lsn,omitempty"`
	Flushed        string   `json:"flushed_lsn,omitempty"`
	Server         string   `json:"server_lsn,omitempty"`
	LagBytes       *uint64  `json:"flushed_lag_bytes,omitempty"`
	LagSeconds     *float64 `json:"flushed_lag_seconds,omitempty"`
	MessageSeconds *float64 `json:"seconds_since_last_message,omitempty"`
	StalledSeconds float64  `json:"stalled_seconds"`
	Reconnects     int      `json:"reconnects"`
	Gaps           int      `json:"gaps"`
	LostWAL        int      `json:"lost_wal"`
	LastError      string   `json:"last_error_class,omitempty"`
}

func newHealth(s logstream.Status, now time.Time) health {
	h := health{
		State: stateName(s.State), Alive: alive(s), Ready: ready(s, now),
		StalledSeconds: s.Stalled.Seconds(),
		Reconnects:     s.Lost, Gaps: s.Gaps, LostWAL: s.LostWAL, LastError: logstream.ErrorClass(s.LastError),
	}
	if s.Written.Timeline != 0 {
		h.Timeline = uint32(s.Written.Timeline)
		h.Written, h.Flushed = s.Written.LSN.String(), s.Durable.LSN.String()
	}
	if s.ServerEnd != 0 {
		h.Server = s.ServerEnd.String()
		_, flushed := lags(s, now)
		h.LagBytes, h.LagSeconds = &flushed.bytes, &flushed.seconds
	}
	if !s.LastMessage.IsZero() {
		silence := now.Sub(s.LastMessage).Seconds()
		h.MessageSeconds = &silence
	}
	return h
}

// serveHealth answers 200 where good holds, else 503.
func (r *Receive) serveHealth(good func(health) bool) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		h := newHealth(r.status(), time.Now())
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		if !good(h) {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(h) // the client may have left
	}
}
