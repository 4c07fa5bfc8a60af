// Package metrics lets others watch a receiver of WAL: it serves Prometheus
// metrics, /healthz and /readyz over HTTP. What it serves has positions,
// counts and classes of errors, and no text that came from a server or a
// connection string.
package metrics

import (
	"strings"
	"time"

	"github.com/pgbraid/pgbraid/logstream"
	"github.com/prometheus/client_golang/prometheus"
)

// Receive is the prometheus.Collector of a receiver: its values are asked for
// when they are collected. It is safe for use by several goroutines.
type Receive struct {
	status func() logstream.Status
	fsync  prometheus.Histogram
}

// NewReceive makes a Receive. status must be safe to be called at any time
// from any goroutine.
func NewReceive(status func() logstream.Status) *Receive {
	return &Receive{status: status, fsync: prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    prefix + "fsync_seconds",
		Help:    "Time that it took each time to make WAL durable.",
		Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16), // to 16 s
	})}
}

// ObserveFlush is for logstream.ArchiveOptions.OnFlush.
func (r *Receive) ObserveFlush(took time.Duration) { r.fsync.Observe(took.Seconds()) }

const prefix = "pgbraid_receive_"

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prefix+name, help, labels, nil)
}

var (
	stateDesc       = desc("state", "1 for the state that the receiver is in, 0 for the others.", "state")
	readyDesc       = desc("ready", "1 where /readyz answers 200, else 0.")
	timelineDesc    = desc("timeline", "Timeline of the WAL that is received.")
	receivedDesc    = desc("received_lsn_bytes", "LSN up to which WAL was received. It is the written one: each message is written before the next is read.")
	writtenDesc     = desc("written_lsn_bytes", "LSN up to which WAL is written.")
	flushedDesc     = desc("flushed_lsn_bytes", "LSN up to which WAL is durable.")
	serverDesc      = desc("server_lsn_bytes", "LSN of the end of the server's WAL, as it last said.")
	lagBytesDesc    = desc("lag_bytes", "WAL that the server has and that is not written, or not flushed, here.", "position")
	lagSecondsDesc  = desc("lag_seconds", "Age of the oldest WAL that is not written, or not flushed, here. Without a stream: at least the time since the last message.", "position")
	lastMessageDesc = desc("last_message_timestamp_seconds", "When the server's last message came. One with nothing to say may be silent for hours.")
	stalledDesc     = desc("stalled_seconds", "For how long a write, an fsync or a step of connecting has hung; 0 while nothing does.")
	bytesDesc       = desc("bytes_total", "WAL that was received.")
	segmentsDesc    = desc("segments_total", "Segments that the stream filled and that are durable.")
	reconnectsDesc  = desc("reconnects_total", "Times that the stream was lost, or could not be got back, and was tried again.")
	switchesDesc    = desc("timeline_switches_total", "Timeline switches that were followed.")
	gapsDesc        = desc("gaps_total", "Gaps in the log that were allowed.")
	lostWALDesc     = desc("lost_wal_total", "Times that WAL was set aside that the server which was promoted never had.")
	diskFullDesc    = desc("disk_full", "1 while the receiver waits for room on the disk, else 0.")
	lastErrorDesc   = desc("last_error", "1 for the class of the last error, 0 for the others. It stays when the stream is back.", "class")

	descs = []*prometheus.Desc{
		stateDesc, readyDesc, timelineDesc, receivedDesc, writtenDesc, flushedDesc, serverDesc,
		lagBytesDesc, lagSecondsDesc, lastMessageDesc, stalledDesc, bytesDesc, segmentsDesc, reconnectsDesc,
		switchesDesc, gapsDesc, lostWALDesc, diskFullDesc, lastErrorDesc,
	}

	states = []logstream.State{
		logstream.Connecting, logstream.Identifying, logstream.Streaming, logstream.TimelineEnd,
		logstream.FetchingFromArchive, logstream.Waiting, logstream.Stopped,
	}
	classes = []string{
		logstream.ClassConnection, logstream.ClassDiskFull, logstream.ClassWALMissing, logstream.ClassTimeline,
		logstream.ClassSystem, logstream.ClassSlot, logstream.ClassAuth, logstream.ClassProtocol, logstream.ClassArchive,
		logstream.ClassOther,
	}
)

// stateName is a state as a label has it.
func stateName(s logstream.State) string { return strings.ReplaceAll(string(s), " ", "_") }

// Describe is part of prometheus.Collector.
func (r *Receive) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range descs {
		ch <- d
	}
	r.fsync.Describe(ch)
}

// Collect is part of prometheus.Collector. What is not known yet, such as the
// positions before the first connection, is left out.
func (r *Receive) Collect(ch chan<- prometheus.Metric) {
	now := time.Now()
	s := r.status()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v)
	}
	for _, state := range states {
		gauge(stateDesc, one(s.State == state), stateName(state))
	}
	gauge(readyDesc, one(ready(s, now)))
	class := logstream.ErrorClass(s.LastError)
	for _, c := range classes {
		gauge(lastErrorDesc, one(class == c), c)
	}
	gauge(diskFullDesc, one(s.State == logstream.Waiting && class == logstream.ClassDiskFull))
	if s.Written.Timeline != 0 {
		gauge(timelineDesc, float64(s.Written.Timeline))
		gauge(receivedDesc, float64(s.Written.LSN))
		gauge(writtenDesc, float64(s.Written.LSN))
		gauge(flushedDesc, float64(s.Durable.LSN))
	}
	if s.ServerEnd != 0 {
		gauge(serverDesc, float64(s.ServerEnd))
		written, flushed := lags(s, now)
		gauge(lagBytesDesc, float64(written.bytes), "written")
		gauge(lagBytesDesc, float64(flushed.bytes), "flushed")
		gauge(lagSecondsDesc, written.seconds, "written")
		gauge(lagSecondsDesc, flushed.seconds, "flushed")
	}
	if !s.LastMessage.IsZero() {
		gauge(lastMessageDesc, float64(s.LastMessage.UnixMilli())/1000)
	}
	gauge(stalledDesc, s.Stalled.Seconds())
	counter(bytesDesc, float64(s.Received))
	counter(segmentsDesc, float64(s.Segments))
	counter(reconnectsDesc, float64(s.Lost))
	counter(switchesDesc, float64(s.Switches))
	counter(gapsDesc, float64(s.Gaps))
	counter(lostWALDesc, float64(s.LostWAL))
	r.fsync.Collect(ch)
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// lag is how far one position is behind the server.
type lag struct {
	bytes   uint64
	seconds float64
}

// lags are those of what is written and of what is durable.
func lags(s logstream.Status, now time.Time) (written, flushed lag) {
	var silentSince time.Time
	if !streaming(s) {
		// What the server wrote since then is not known.
		silentSince = s.LastMessage
	}
	behind := func(p logstream.LSN, since time.Time) lag {
		var l lag
		if s.ServerEnd > p {
			l.bytes = uint64(s.ServerEnd - p)
		}
		for _, t := range []time.Time{since, silentSince} {
			if !t.IsZero() {
				l.seconds = max(l.seconds, now.Sub(t).Seconds())
			}
		}
		return l
	}
	return behind(s.Written.LSN, s.WrittenBehind), behind(s.Durable.LSN, s.DurableBehind)
}

func streaming(s logstream.Status) bool {
	return s.State == logstream.Streaming || s.State == logstream.TimelineEnd
}
