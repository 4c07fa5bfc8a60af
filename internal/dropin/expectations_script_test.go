package dropin

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgbraid/pgbraid/internal/pgtest/walsender"
)

// toScript makes the tools connect to a scripted server.
func (b *bed) toScript(t *testing.T, s *walsender.Server) *bed {
	t.Helper()
	host, port, err := net.SplitHostPort(s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	with := *b
	with.env = append(append([]string{}, b.env...), "PGHOST="+host, "PGPORT="+port, "PGUSER=replicator", "PGSSLMODE=disable")
	return &with
}

// TestThatRefusalsAreTold has the server refuse, end the session or hang up at
// each step of a backup, and speak before.
func TestThatRefusalsAreTold(t *testing.T) {
	t.Parallel()
	faults := map[string]walsender.Hook{
		"refused": func(c *walsender.Conn) error {
			c.Fail("53400", "no more of that", "There was enough of it.", "Ask for less.")
			return walsender.Stop
		},
		"ended": func(c *walsender.Conn) error {
			c.Fatal("57P01", "terminating connection due to administrator command")
			return walsender.Stop
		},
		"lost": walsender.Cut,
	}
	steps := []walsender.Step{walsender.StepStart, walsender.StepTablespaces, walsender.StepCopyOut, walsender.Archive("base.tar"), walsender.StepManifest, walsender.StepCopyDone, walsender.StepEnd, walsender.StepComplete}
	for _, release := range []string{"14.4", "15.1", "18.4"} {
		for _, step := range steps {
			for name, fault := range faults {
				t.Run(release+"/"+string(step)+"/"+name, func(t *testing.T) {
					server := walsender.New(t, walsender.Options{Version: release})
					backup := walsender.SampleBackup()
					backup.Before = map[walsender.Step]walsender.Hook{
						walsender.StepStart: func(c *walsender.Conn) error {
							c.Notice("WARNING", "01000", "it is late", "It is after midnight.", "Sleep.")
							c.Notice("NOTICE", "00000", "it is later")
							return nil
						},
					}
					backup.Instead = map[walsender.Step]walsender.Hook{step: fault}
					server.ServeBackup(backup)
					newBed(t, "pg_basebackup").toScript(t, server).alikeIn(t, nil, "-D", "d", "-N", "-v", "-X", "none")
				})
			}
		}
	}
}

// refusals are what the tools are asked for while the server refuses a command.
var refusals = []struct{ command, tool, line string }{
	{"SHOW data_directory_mode", "pg_receivewal", "-D . -n"},
	{"SHOW wal_segment_size", "pg_receivewal", "-D . -n"},
	{"IDENTIFY_SYSTEM", "pg_receivewal", "-D . -n"},
	{"IDENTIFY_SYSTEM", "pg_receivewal", "--create-slot -S one"},
	{"IDENTIFY_SYSTEM", "pg_receivewal", "--drop-slot -S one"},
	{"CREATE_REPLICATION_SLOT", "pg_receivewal", "--create-slot -S one -v"},
	{"DROP_REPLICATION_SLOT", "pg_receivewal", "--drop-slot -S kept -v"},
	{"READ_REPLICATION_SLOT", "pg_receivewal", "-D . -n -v -S kept -E 0/3000100"},
	{"START_REPLICATION", "pg_receivewal", "-D . -n -v -E 0/3000100"},
	{"START_REPLICATION", "pg_receivewal", "-D . -n -S kept -E 0/3000100"},
	{"TIMELINE_HISTORY", "pg_receivewal", "-D . -n -E 0/3000100"},
	{"SHOW data_directory_mode", "pg_basebackup", "-D d -N -X none"},
	{"UPLOAD_MANIFEST", "pg_basebackup", "-D d -N -X none -i /dev/null"},
	{"BASE_BACKUP", "pg_basebackup", "-D d -N -X none -v"},
	{"CREATE_REPLICATION_SLOT", "pg_basebackup", "-D d -N -C -S one"},
}

// TestThatRefusedCommandsAreTold has the server refuse a command, or hang up.
func TestThatRefusedCommandsAreTold(t *testing.T) {
	t.Parallel()
	for _, release := range []string{"14.4", "15.1", "18.4"} {
		for _, r := range refusals {
			if release == "14.4" && (r.command == "READ_REPLICATION_SLOT" || r.command == "UPLOAD_MANIFEST" || strings.Contains(r.line, "-S kept -E")) {
				continue // it has none, and the script knows no SQL to ask for slots
			}
			for name, fault := range map[string]walsender.Hook{
				"refused": walsender.Failing("53400", "no more of that", "There was enough of it.", "Ask for less."),
				"lost":    walsender.Cut,
			} {
				t.Run(release+"/"+r.tool+"/"+r.command+"/"+name, func(t *testing.T) {
					server := walsender.New(t, walsender.Options{Version: release})
					wal := walsender.NewWAL(0x2000000, 0x2000000)
					wal.Promote(0x2000000, 2, 0x3000200)
					server.ServeWAL(wal)
					server.ServeBackup(walsender.SampleBackup())
					server.AddSlot("kept", walsender.Slot{})
					server.Handle(r.command, fault)
					newBed(t, r.tool).toScript(t, server).alikeIn(t, nil, words(r.line)...)
				})
			}
		}
	}
}

// TestThatRemovedWALIsTold has a directory go on where the server no longer has
// the WAL.
func TestThatRemovedWALIsTold(t *testing.T) {
	t.Parallel()
	for _, release := range []string{"14.4", "18.4"} {
		server := walsender.New(t, walsender.Options{Version: release})
		wal := walsender.NewWAL(0x2000000, 0x5000000)
		wal.Remove(0x4000000)
		server.ServeWAL(wal)
		b := newBed(t, "pg_receivewal").toScript(t, server)
		for _, line := range []string{"-D . -n", "-D . -n -v"} {
			b.alikeIn(t, func(dir string) {
				_ = os.WriteFile(filepath.Join(dir, "000000010000000000000002"), wal.Segment(1, 0x2000000, server.SegmentSize()), 0o600)
			}, words(line)...)
		}
	}
}
