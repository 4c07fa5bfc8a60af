//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"time"
)

// catchUp receives WAL that is there already, durably.
func (b *bench) catchUp() (*runner, error) {
	s, err := b.fresh("catch-up", "max_wal_size=1GB")
	if err != nil {
		return nil, err
	}
	// The first slot keeps the log; each run gets a copy of it, which begins
	// where the first one does.
	const message = 256 << 10
	_, err = s.query("SELECT pg_create_physical_replication_slot('first', true)")
	if err != nil {
		return nil, err
	}
	if _, err := s.query(fmt.Sprintf(
		"SELECT count(pg_logical_emit_message(false, 'bench', repeat(md5(g::text), %d))) FROM generate_series(1, %d) g",
		message/32, b.wal<<20/message)); err != nil {
		return nil, err
	}
	end, err := s.query("SELECT pg_current_wal_flush_lsn()")
	if err != nil {
		return nil, err
	}
	// Both tools stop once there is WAL behind the end.
	if _, err := s.query("SELECT pg_logical_emit_message(false, 'bench', 'end'); SELECT pg_switch_wal()"); err != nil {
		return nil, err
	}
	return &runner{
		data: []string{filepath.Join(s.data, "pg_wal")},
		once: func(ours bool, out string) (sample, error) {
			if err := b.account.mkdir(out); err != nil {
				return sample{}, err
			}
			if _, err := s.query("SELECT pg_copy_physical_replication_slot('first', 'run')"); err != nil {
				return sample{}, err
			}
			args := append([]string{"-D", out, "-S", "run", "-E", end, "-n"}, s.connection()...)
			m, err := b.timed(b.receiver(ours), b.receive(ours, args)...)
			if err == nil {
				err = holds(out, int64(b.wal)<<20)
			}
			_, dropErr := s.query("SELECT pg_drop_replication_slot('run')")
			return m, errors.Join(err, dropErr)
		},
		end: func() error {
			return errors.Join(s.stop(), os.RemoveAll(s.data))
		},
	}, nil
}

func (b *bench) receiver(ours bool) string {
	if ours {
		return b.pgbraid
	}
	return filepath.Join(b.bin, "pg_receivewal")
}

// receive are a receiver's arguments, which are the same for both but for the
// command's name.
func (b *bench) receive(ours bool, args []string) []string {
	if ours {
		return append([]string{"receive"}, args...)
	}
	return args
}

// holds sees that at least size bytes were received.
func holds(dir string, size int64) error {
	sum, err := sizeOf(dir)
	if err != nil {
		return err
	}
	if sum < size {
		return fmt.Errorf("%d bytes of WAL were received, and not %d", sum, size)
	}
	return nil
}

// rate is what pgbench says at its end.
var rate = regexp.MustCompile(`tps = ([0-9.]+)`)

// commits counts commits that wait for a receiver to have made them durable.
func (b *bench) commits(clients int) (*runner, error) {
	s, err := b.fresh("commits", "max_wal_size=8GB")
	if err != nil {
		return nil, err
	}
	// The scale is one that no two clients often wait for each other in.
	if err := fillPgbench(min(b.scale, 20))(s); err != nil {
		return nil, err
	}
	return &runner{
		once: func(ours bool, out string) (sample, error) {
			if err := b.account.mkdir(out); err != nil {
				return sample{}, err
			}
			// The time begins for both from the same state of the log.
			if _, err := s.query("CHECKPOINT"); err != nil {
				return sample{}, err
			}
			args := b.receive(ours, []string{"-D", out, "--synchronous", "-n", "-w",
				"-d", fmt.Sprintf("host=%s port=%s user=postgres application_name=bench", b.sockets, s.port)})
			receiver, err := b.launch(b.receiver(ours), args...)
			if err != nil {
				return sample{}, err
			}
			tps, err := s.countCommits(clients)
			m, endErr := receiver.end(syscall.SIGINT)
			m.Value = tps
			return m, errors.Join(err, endErr)
		},
		end: func() error {
			return errors.Join(s.stop(), os.RemoveAll(s.data))
		},
	}, nil
}

// countCommits waits for the receiver and lets commits wait for it for a time.
func (s *server) countCommits(clients int) (tps float64, err error) {
	if err := s.synchronous("bench"); err != nil {
		return 0, err
	}
	// Whoever waits for a receiver that is gone would wait for ever.
	defer func() { err = errors.Join(err, s.synchronous("")) }()
	if err := s.wait("SELECT count(*) = 1 FROM pg_stat_replication WHERE application_name = 'bench' AND sync_state = 'sync'"); err != nil {
		return 0, fmt.Errorf("the receiver is no synchronous standby: %w", err)
	}
	cmd := s.b.account.command(s.b.ctx, s.b.work, syscall.SIGKILL, filepath.Join(s.b.bin, "pgbench"),
		"-N", "-n", "-c", strconv.Itoa(clients), "-j", strconv.Itoa(min(clients, 2)), "-T", strconv.Itoa(s.b.seconds),
		"-h", s.b.sockets, "-p", s.port, "-U", "postgres", "postgres")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	// A receiver that ends early leaves pgbench waiting.
	stuck := time.AfterFunc(time.Duration(s.b.seconds)*time.Second+time.Minute, func() { _ = cmd.Cancel() })
	defer stuck.Stop()
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("pgbench: %w\n%s", err, out.String())
	}
	found := rate.FindStringSubmatch(out.String())
	if found == nil {
		return 0, fmt.Errorf("pgbench tells no rate:\n%s", out.String())
	}
	return strconv.ParseFloat(found[1], 64)
}

// synchronous names the standby that commits wait for, or none.
func (s *server) synchronous(name string) error {
	if _, err := s.query("ALTER SYSTEM SET synchronous_standby_names = '" + name + "'"); err != nil {
		return err
	}
	if _, err := s.query("SELECT pg_reload_conf()"); err != nil {
		return err
	}
	return s.wait("SELECT current_setting('synchronous_standby_names') = '" + name + "'")
}

// wait asks until the answer is yes.
func (s *server) wait(sql string) error {
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		answer, err := s.query(sql)
		if err != nil || answer == "t" {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not in 30 s: %s", sql)
		}
	}
}
