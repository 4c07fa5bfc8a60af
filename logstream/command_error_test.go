package logstream_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/pgbraid/pgbraid/internal/pgtest"
	"github.com/pgbraid/pgbraid/logstream"
)

// Under the stock tool's name a slot is used as it is, and never made: what the
// server says when the stream begins is what is told.
func TestSlotThatIsTakenAsItIsIsNotMade(t *testing.T) {
	t.Parallel()
	for _, s := range pgtest.Servers(t) {
		if s.Major != 14 && s.Major != 15 { // from 15 on the server tells of slots on this connection
			continue
		}
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			c := s.Init(t, keepAll)
			c.Start(t)
			dir := pgtest.TempDir(t)
			first := archive(t, c.ConnString(), logstream.ArchiveOptions{Directory: dir})
			first.await(1, c.CurrentLSN(t))
			first.stop()
			a := archive(t, c.ConnString(), logstream.ArchiveOptions{Directory: dir, Slot: "missing", SlotAsItIs: true, NoLoop: true})
			err := a.end()
			var command *logstream.CommandError
			if !errors.As(err, &command) || !strings.HasPrefix(command.Command, `START_REPLICATION SLOT "missing" `) || !strings.Contains(err.Error(), "does not exist") {
				t.Errorf("it ended with %v", err)
			}
			if n := c.Query(t, "SELECT count(*) FROM pg_replication_slots"); n != "0" {
				t.Errorf("there are %s slots", n)
			}
		})
	}
}
