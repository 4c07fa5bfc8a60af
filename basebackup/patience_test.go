package basebackup_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/basebackup"
	"github.com/pgbraid/pgbraid/internal/pgtest"
	"github.com/pgbraid/pgbraid/internal/pgtest/walsender"
	"github.com/pgbraid/pgbraid/internal/replconn"
)

// shortSilence is a limit that the pauses of these tests exceed,
// and that a server which is merely slow does not reach.
const shortSilence = 2 * time.Second

// outlast lets two silence limits pass. No run may end meanwhile.
func outlast(t *testing.T, what string, all ...*clone) {
	t.Helper()
	over := time.After(2 * shortSilence)
	for _, c := range all {
		select {
		case <-c.done:
			t.Fatalf("%s: the backup ended: %v", what, c.err)
		case <-over:
			over = time.After(0)
		}
	}
}

// Without WAL in the backup, the server keeps the client waiting until its
// archiver has stored all WAL of the backup, however long that takes.
func TestServerMayBeSilentWhileItWaitsForItsArchiver(t *testing.T) {
	t.Parallel()
	forEdges(t, func(t *testing.T, s pgtest.Server) {
		gate := filepath.Join(pgtest.TempDir(t), "gate")
		open := func() {
			if err := os.WriteFile(gate, nil, 0o644); err != nil {
				t.Error(err)
			}
		}
		source := s.Init(t, pgtest.Config("archive_mode = on",
			fmt.Sprintf("archive_command = 'until test -e %s; do sleep 0.05; done'", gate)))
		t.Cleanup(open) // or the archiver's command would outlive the server
		source.Start(t)
		var all []*clone
		for _, form := range []struct {
			format   basebackup.Format
			compress string
			manifest basebackup.ManifestMode
		}{
			{basebackup.Plain, "", ""},
			{basebackup.Tar, "", ""},
			{basebackup.Plain, "", basebackup.WithoutManifest},
			{basebackup.Plain, "server-gzip", ""},
			{basebackup.Tar, "server-gzip", ""},
		} {
			if form.compress != "" && s.Major < 15 {
				continue
			}
			c := newClone(t, source.ConnString())
			c.options.Standby, c.options.WAL = false, basebackup.NoWAL
			c.options.Format, c.options.Compress, c.options.Manifest = form.format, form.compress, form.manifest
			c.options.SilenceLimit = shortSilence
			c.start()
			all = append(all, c)
		}
		if s.Major >= 13 { // before, this wait has no name
			source.WaitFor(t, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'clone' AND wait_event = 'BackupWaitWalArchive'",
				strconv.Itoa(len(all)), 30*time.Second)
		}
		outlast(t, "waiting for the archiver", all...)
		open()
		for _, c := range all {
			c.must()
		}
	})
}

// A server that keeps the backup on its side syncs it without a word.
func TestServerMayBeSilentWhileItKeepsTheBackupOnItsSide(t *testing.T) {
	t.Parallel()
	source := pgtest.Newest(t).Init(t)
	source.Start(t)
	there := pgtest.TempDir(t)
	pgtest.GiveToServer(t, there)
	c := newClone(t, source.ConnString())
	c.options.Standby, c.options.Directory, c.options.WAL = false, "", basebackup.FetchWAL
	c.options.Target, c.options.TargetDetail = basebackup.ServerTarget, filepath.Join(there, "kept")
	c.options.MaxRate = 8 << 10
	c.options.SilenceLimit = shortSilence
	c.start()
	c.await("data", func(p basebackup.Progress) bool { return p.Done > 0 })
	resume := stopWalsender(t, source)
	outlast(t, "the server is busy on its side", c)
	resume()
	c.must()
}

// stopWalsender stops the walsender of a clone until the function returned is
// called, or the test ends.
func stopWalsender(t *testing.T, source *pgtest.Cluster) (resume func()) {
	t.Helper()
	pid, err := strconv.Atoi(source.Query(t, "SELECT pid FROM pg_stat_replication WHERE application_name = 'clone'"))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	resume = func() { _ = syscall.Kill(pid, syscall.SIGCONT) }
	t.Cleanup(resume)
	return resume
}

// While data flows, and once all of it has come, silence is a lost connection.
func TestServerMayNotBeSilentOtherwise(t *testing.T) {
	t.Parallel()
	eachRelease(t, 0, func(p *trap) {
		for _, step := range p.steps()[3:] {
			p.t.Run(string(step), func(t *testing.T) {
				t.Parallel()
				q := newTrap(t, map[int]string{18: "18.4", 14: "14.20", 12: "12.22"}[p.server.Major()])
				q.options.SilenceLimit = 200 * time.Millisecond
				q.backup.Before[step] = walsender.Hang
				err := q.fails("")
				var silent *replconn.SilenceError
				if !errors.As(err, &silent) {
					t.Errorf("error is %v", err)
				}
			})
		}
	})
}

// A server that would wait for its archiver in the end has no reason to be
// silent before, not even after it has told how far it is.
func TestServerMayNotBeSilentInAnArchive(t *testing.T) {
	t.Parallel()
	eachRelease(t, 0, func(p *trap) {
		p.options.WAL, p.options.SilenceLimit = basebackup.NoWAL, 200*time.Millisecond
		archive := p.base().Tar(p.server.Major())
		part := archive[:len(archive)/1024*512] // without pg_control
		p.backup.Instead[walsender.Archive("base.tar")] = func(c *walsender.Conn) error {
			if p.framed() {
				c.CopyData([]byte("nbase.tar\x00\x00"))
				c.CopyData(append([]byte{'d'}, part...))
				c.CopyData(binary.BigEndian.AppendUint64([]byte{'p'}, uint64(len(part))))
			} else {
				c.CopyOut()
				c.CopyData(part)
			}
			c.Hang()
			return walsender.Stop
		}
		err := p.fails("")
		var silent *replconn.SilenceError
		if !errors.As(err, &silent) {
			p.t.Errorf("error is %v", err)
		}
	})
}
