//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// prepare makes the temporary directory, and sees to it that the account which
// the servers run as reaches that and the server programs.
func (d *demo) prepare() {
	var err error
	d.account, err = serverAccount()
	check(err)
	d.bin, err = filepath.Abs(d.bin)
	check(err)
	if _, err := os.Stat(d.bin + "/initdb"); err != nil {
		check(fmt.Errorf("no server (scripts/postgres.sh 18 brings one): %w", err))
	}
	parent := os.TempDir()
	// The command line is to be copied: its paths must need no quotes.
	if strings.ContainsAny(parent, " \t\n'\"\\=$&;|<>()*?`#~!{}[]") || !d.account.reaches(parent) {
		parent = "/tmp"
	}
	d.dir, err = os.MkdirTemp(parent, "pgbraid-demo-")
	check(err)
	check(os.Chmod(d.dir, 0o711))
	d.password = strings.ToLower(rand.Text()[:12])
	if !d.account.reaches(d.bin) { // a checkout below /root, for one
		check(os.CopyFS(d.dir+"/postgres", os.DirFS(filepath.Dir(d.bin))))
		d.give("postgres")
		d.bin = d.dir + "/postgres/bin"
	}
}

// initdb makes a cluster. It has a password, since every user of this machine
// reaches a server on loopback.
func (d *demo) initdb(name string) {
	d.mkdir(name)
	check(os.WriteFile(d.dir+"/password", []byte(d.password), 0o600))
	d.give("password")
	cmd := exec.CommandContext(d.ctx, d.bin+"/initdb", "-D", d.dir+"/"+name, "-U", "postgres", "-A", "scram-sha-256", "--pwfile", d.dir+"/password",
		"-E", "UTF8", "--no-locale", "--no-sync", "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "max_wal_size=2GB")
	d.account.runs(cmd, d.dir, syscall.SIGKILL)
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if out, err := cmd.CombinedOutput(); err != nil {
		check(fmt.Errorf("initdb: %w\n%s", err, out))
	}
}

// server is one running PostgreSQL.
type server struct {
	ctx      context.Context
	port     int
	password string
	log      string
	cmd      *exec.Cmd
	exited   chan struct{}
	conn     *pgconn.PgConn // for row
}

// start starts a server, and waits until it takes connections.
func (d *demo) start(name string) *server {
	s := &server{ctx: d.ctx, port: freePort(), password: d.password, log: d.dir + "/" + name + ".log", exited: make(chan struct{})}
	log, err := os.Create(s.log)
	check(err)
	defer log.Close()
	s.cmd = exec.Command(d.bin+"/postgres", "-D", d.dir+"/"+name, "-c", fmt.Sprintf("port=%d", s.port))
	s.cmd.Stdout, s.cmd.Stderr = log, log
	d.account.runs(s.cmd, d.dir, syscall.SIGQUIT)
	check(s.cmd.Start())
	go func() {
		_ = s.cmd.Wait()
		close(s.exited)
	}()
	defer func() {
		if s.conn == nil { // a check failed: nobody else knows the server yet
			_ = s.kill()
		}
	}()
	d.wait(name+" taking connections", func() bool {
		check(s.failure())
		s.conn, err = s.connect()
		return err == nil
	})
	return s
}

func (s *server) connect() (*pgconn.PgConn, error) {
	return pgconn.Connect(s.ctx, fmt.Sprintf("host=127.0.0.1 port=%d user=postgres password=%s dbname=postgres sslmode=disable", s.port, s.password))
}

// row runs SQL, and gives the first row of the last statement's result.
func (s *server) row(sql string) (row []string) {
	results, err := s.conn.Exec(s.ctx, sql).ReadAll()
	if last := len(results) - 1; err == nil && len(results[last].FieldDescriptions) > 0 {
		if len(results[last].Rows) == 0 {
			err = fmt.Errorf("no row from: %s", strings.Join(strings.Fields(sql), " "))
		} else {
			for _, value := range results[last].Rows[0] {
				row = append(row, string(value))
			}
		}
	}
	if err != nil {
		check(errors.Join(fmt.Errorf("server on port %d: %w", s.port, err), s.failure()))
	}
	return row
}

// failure tells how a server has ended, if it has, with the end of its log.
func (s *server) failure() error {
	select {
	case <-s.exited:
		text, _ := os.ReadFile(s.log)
		return fmt.Errorf("server on port %d ended: %s\n%s", s.port, s.cmd.ProcessState, text[max(0, len(text)-1000):])
	default:
		return nil
	}
}

// kill shuts the server down at once, as pg_ctl stop -m immediate does.
func (s *server) kill() error {
	_ = s.cmd.Process.Signal(syscall.SIGQUIT)
	select {
	case <-s.exited:
		return nil
	case <-time.After(15 * time.Second):
	}
	_ = s.cmd.Process.Kill()
	<-s.exited
	return fmt.Errorf("server on port %d did not stop within 15 seconds", s.port)
}

// freePort finds a port below those that the kernel gives to outgoing
// connections, one of which could take it meanwhile.
func freePort() int {
	for range 100 {
		port := 20000 + mathrand.IntN(12000)
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			l.Close()
			return port
		}
	}
	check(errors.New("no free TCP port from 20000 to 31999"))
	return 0
}
