// Package progress shows a person how far a base backup is.
//
// Counting is the run's work, drawing is this package's: the run fills in a
// [Snapshot] about five times a second and at each phase change, and hands it
// to a [Renderer].
//
//	r := progress.New(os.Stderr)
//	defer r.Finish()
//	log := slog.New(slog.NewTextHandler(progress.NewWriter(os.Stderr, r), nil))
//	r.Update(snapshot)
//
// No renderer starts a goroutine, and none fails: a terminal that went away
// must not end a backup, so errors in writing to it are dropped.
package progress

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/term"
)

// Phase is what a run is busy with. The phases of a base backup follow each
// other in this order; a run may leave some out.
type Phase int

// The phases of a run.
const (
	// Connecting lasts until BASE_BACKUP is sent.
	Connecting Phase = iota
	// WaitingForCheckpoint lasts until the server answers BASE_BACKUP with the
	// start position: it makes a checkpoint first, and then, when sizes were
	// asked for, looks at every file of the cluster.
	WaitingForCheckpoint
	// Copying is the tar data. Done and Total count it.
	Copying
	// FinishingWAL waits for the log stream to reach the backup's end position.
	FinishingWAL
	// Syncing makes what is left durable.
	Syncing
	// CheckingManifest compares what was received with the manifest.
	CheckingManifest
	// Verifying reads a finished backup again. Done and Total count it.
	Verifying
	// Done is the end of a run that succeeded.
	Done
)

var phaseNames = [...]string{
	"connecting", "waiting-for-checkpoint", "copying", "finishing-wal",
	"syncing", "checking-manifest", "verifying", "done",
}

// String is the phase's name in logs, such as finishing-wal.
func (p Phase) String() string {
	if p < 0 || int(p) >= len(phaseNames) {
		return fmt.Sprintf("phase-%d", int(p))
	}
	return phaseNames[p]
}

// measured tells whether Done and Total mean this phase.
func (p Phase) measured() bool {
	return p == Copying || p == Verifying
}

// Snapshot is the state of a run at one moment. It holds plain values only,
// so a renderer may keep it.
type Snapshot struct {
	Phase Phase
	// Started and PhaseStarted are when the run and its phase began. When one
	// is zero, the renderer counts from the first Update that it saw.
	Started, PhaseStarted time.Time

	// Done and Total count bytes; a Total of 0 is unknown. The server's sizes
	// are kB in tablespace rows and bytes in progress messages (PostgreSQL
	// manual, "Streaming Replication Protocol"), and they are estimates: when Done exceeds Total, Done is shown as
	// the total too.
	Done, Total int64

	// Tablespace is the number, from 1 on, of the one that is being received;
	// Tablespaces is how many there are. 0 is unknown.
	Tablespace, Tablespaces int

	// File is the member that is being received: the server's text, which is
	// not trusted, and shown through Sanitize.
	File string

	// WALTimeline and WALPosition (an LSN) are how far the log stream is, and
	// WALEnd the LSN that it must reach; 0 is unknown. WALState is the
	// stream's state, such as "streaming" or "reconnecting"; any other than
	// "streaming" is shown.
	WALTimeline         uint32
	WALPosition, WALEnd uint64
	WALState            string

	// CheckpointFast says that an immediate checkpoint was asked for already.
	CheckpointFast bool
}

// total is Total, grown to Done when the estimate was too low.
func (s Snapshot) total() int64 {
	if s.Total <= 0 {
		return 0
	}
	return max(s.Total, s.Done)
}

// percent is 0 to 100, and 100 only when nothing is missing.
func (s Snapshot) percent() int {
	total := s.total()
	switch {
	case total == 0 || s.Done <= 0:
		return 0
	case s.Done == total:
		return 100
	}
	return min(99, int(float64(s.Done)/float64(total)*100))
}

// Renderer draws snapshots somewhere. Update should be called about five
// times a second, also when nothing has changed, and at each phase change.
// Finish ends the drawing; it may be called twice, and an Update after it
// draws nothing. Both are safe to call from several goroutines.
type Renderer interface {
	Update(Snapshot)
	Finish()
}

// Discard is the Renderer that draws nothing.
var Discard Renderer = discard{}

type discard struct{}

func (discard) Update(Snapshot) {}
func (discard) Finish()         {}

// New picks the renderer that suits f: a bar when f is a terminal that can
// move its cursor, else plain lines every 5 seconds.
func New(f *os.File) Renderer {
	if !Interactive(f) {
		return NewLines(f, 0)
	}
	return NewTerminal(f, func() int {
		width, _, err := term.GetSize(int(f.Fd()))
		if err != nil {
			return 0
		}
		return width
	})
}

// Interactive tells whether a bar can be drawn on f: it is a terminal, and
// TERM does not say that it is a dumb one.
func Interactive(f *os.File) bool {
	return capable(os.Getenv("TERM")) && term.IsTerminal(int(f.Fd()))
}
