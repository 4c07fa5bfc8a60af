//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is a running cluster.
type server struct {
	b    *bench
	data string
	port string // names the socket; there is no TCP
	log  string
	cmd  *exec.Cmd
	done chan error // gives the end of cmd once
}

// kept starts the cluster of that name. One that is not there yet is made and
// filled first; it gets its name last of all, when it is whole and on the disk.
func (b *bench) kept(name string, fill func(*server) error) (*server, error) {
	version, err := b.tool("postgres", "--version")
	if err != nil {
		return nil, err
	}
	fields := strings.Fields(version)
	data := filepath.Join(b.dir, "clusters", fmt.Sprintf("%s-pg%s", name, fields[2]))
	if _, err := os.Stat(data); err == nil {
		return b.start(data)
	}
	making := filepath.Join(b.work, name)
	if err := b.initdb(making); err != nil {
		return nil, err
	}
	// Nothing is lost if this machine crashes now: the cluster is made anew.
	s, err := b.start(making, "fsync=off", "max_wal_size=8GB", "maintenance_work_mem=512MB")
	if err != nil {
		return nil, err
	}
	if err := errors.Join(fill(s), s.stop()); err != nil {
		return nil, err
	}
	if err := b.settle(); err != nil {
		return nil, err
	}
	if err := os.Rename(making, data); err != nil {
		return nil, err
	}
	return b.start(data)
}

// fresh makes and starts a cluster for one row.
func (b *bench) fresh(name string, settings ...string) (*server, error) {
	data := filepath.Join(b.work, name)
	if err := b.initdb(data); err != nil {
		return nil, err
	}
	return b.start(data, settings...)
}

func (b *bench) initdb(data string) error {
	_, err := b.tool("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
	return err
}

// start starts a cluster and waits until it takes connections.
func (b *bench) start(data string, settings ...string) (*server, error) {
	s := &server{b: b, data: data, port: strconv.Itoa(5432 + len(b.servers)), done: make(chan error, 1)}
	s.log = filepath.Join(b.work, "server-"+s.port+".log")
	args := []string{"-D", data, "-p", s.port}
	for _, setting := range append([]string{
		"listen_addresses=", "unix_socket_directories=" + b.sockets, "shared_buffers=256MB",
		"autovacuum=off", "max_wal_senders=10", "max_replication_slots=10", "checkpoint_timeout=1h",
	}, settings...) {
		args = append(args, "-c", setting)
	}
	log, err := os.Create(s.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s.cmd = b.account.command(b.ctx, data, syscall.SIGQUIT, filepath.Join(b.bin, "postgres"), args...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	process := s.cmd
	s.cmd.Cancel = func() error { return process.Process.Signal(syscall.SIGINT) }
	s.cmd.WaitDelay = 0 // a server that is killed leaves its shared memory behind
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { s.done <- process.Wait() }()
	b.servers = append(b.servers, s)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		_, err := s.query("SELECT 1")
		if err == nil {
			return s, nil
		}
		select {
		case end := <-s.done:
			s.done <- end
			return nil, fmt.Errorf("server: %w\n%s", end, s.said())
		case <-b.ctx.Done():
			return nil, b.ctx.Err()
		default:
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("server does not take connections: %w\n%s", err, s.said())
		}
	}
}

// said is what the server wrote.
func (s *server) said() string {
	text, _ := os.ReadFile(s.log)
	return string(text)
}

// stop ends the server in good order, or at least ends it. A server that has
// ended already is left alone.
func (s *server) stop() error {
	if s.cmd == nil {
		return nil
	}
	cmd := s.cmd
	s.cmd = nil
	_ = cmd.Process.Signal(syscall.SIGINT) // it may have ended
	select {
	case err := <-s.done:
		if err != nil && s.b.ctx.Err() == nil {
			return fmt.Errorf("server: %w\n%s", err, s.said())
		}
		return nil
	case <-time.After(2 * time.Minute):
		_ = cmd.Process.Signal(syscall.SIGQUIT)
		<-s.done
		return errors.New("server: did not stop in 2 minutes, and was ended at once")
	}
}

// connection are the options that all tools have.
func (s *server) connection() []string {
	return []string{"-h", s.b.sockets, "-p", s.port, "-U", "postgres", "-w"}
}

func (s *server) query(sql string) (string, error) {
	out, err := s.b.tool("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1",
		"-h", s.b.sockets, "-p", s.port, "-U", "postgres", "-d", "postgres", "-c", sql)
	return strings.TrimSpace(out), err
}

// fillPgbench makes pgbench's tables.
func fillPgbench(scale int) func(*server) error {
	return func(s *server) error {
		if _, err := s.b.tool("pgbench", "-i", "-q", "-s", strconv.Itoa(scale),
			"-h", s.b.sockets, "-p", s.port, "-U", "postgres", "postgres"); err != nil {
			return err
		}
		_, err := s.query("CHECKPOINT")
		return err
	}
}

// fillTables makes n tables of one page each.
func fillTables(n int) func(*server) error {
	return func(s *server) error {
		// A transaction has room for the locks of some tables only.
		_, err := s.query(fmt.Sprintf(`DO $$ BEGIN
			FOR i IN 1..%d LOOP
				EXECUTE format('CREATE TABLE t%%s AS SELECT %%s AS a', i, i);
				IF i %% 500 = 0 THEN COMMIT; END IF;
			END LOOP;
		END $$`, n))
		if err == nil {
			_, err = s.query("CHECKPOINT")
		}
		return err
	}
}
