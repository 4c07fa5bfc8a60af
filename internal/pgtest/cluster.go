package pgtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	loopback  = "127.0.0.1"
	superuser = "postgres"

	// startTimeout is generous: a standby may have to replay first, and a
	// test machine may be busy.
	startTimeout = 60 * time.Second
	stopTimeout  = 60 * time.Second
)

// Cluster is a data directory with its server, running or not. Its methods
// must not be called from several goroutines at a time, save those that only
// connect (SQL, Query, WaitFor and what builds on them).
type Cluster struct {
	Server Server
	// DataDir is the data directory, PGDATA.
	DataDir string
	// Host is the address, and Port the TCP port, that the server listens on.
	Host string
	Port int
	// SocketDir holds the Unix socket.
	SocketDir string
	// Password is the superuser's if the option Password was given.
	Password string
	// TLS names the certificate files if the option TLS was given.
	TLS TLSFiles

	dir         string // holds everything of the cluster but an adopted data directory
	args        []string
	portLock    *os.File
	proc        *serverProcess
	passwordSet bool
}

// StopMode is a way to shut a server down (PostgreSQL manual, "Shutting Down
// the Server").
type StopMode string

// The modes of pg_ctl stop.
const (
	Smart     StopMode = "smart"     // waits for all clients to leave
	Fast      StopMode = "fast"      // rolls back, then writes a shutdown checkpoint
	Immediate StopMode = "immediate" // no checkpoint: the next start recovers
)

func newCluster(t testing.TB, s Server, o options) *Cluster {
	t.Helper()
	dir, err := acquireDir()
	if err != nil {
		t.Fatalf("temporary directory: %v", err)
	}
	c := &Cluster{Server: s, Host: loopback, Password: o.password, dir: dir, args: o.args}
	t.Cleanup(func() { c.cleanup(t) })
	c.Port, c.portLock, err = reservePort()
	if err != nil {
		t.Fatal(err)
	}
	c.SocketDir = filepath.Join(dir, "s")
	if err := errors.Join(os.Mkdir(c.SocketDir, 0o755), serverAccount().give(c.SocketDir)); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *Cluster) cleanup(t testing.TB) {
	if t.Failed() {
		if log := lastLines(c.Log(), 60); log != "" {
			t.Logf("end of the server log of %s, port %d:\n%s", c.Server, c.Port, log)
		}
	}
	if c.Running() {
		if err := c.end(syscall.SIGQUIT); err != nil {
			t.Errorf("stop %s: %v", c.Server, err)
		}
	}
	c.forgetSharedMemory()
	if c.portLock != nil {
		c.portLock.Close()
	}
	if err := releaseDir(c.dir); err != nil {
		t.Errorf("temporary directory: %v", err)
	}
}

// Start starts the server and waits until it takes connections. A standby
// takes them once it is consistent.
func (c *Cluster) Start(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if err := c.TryStart(ctx); err != nil {
		t.Fatalf("start %s: %v\n%s", c.Server, err, lastLines(c.Log(), 40))
	}
}

// TryStart is Start for a cluster that is expected not to start. If the server
// ends by itself, or does not take connections before ctx ends, it is an
// error, and the server does not run. Log then tells the reason.
func (c *Cluster) TryStart(ctx context.Context) error {
	if c.Running() {
		return errors.New("the server runs already")
	}
	if err := c.launch(); err != nil {
		return err
	}
	if err := c.waitReady(ctx); err != nil {
		if c.Running() {
			err = errors.Join(err, c.end(syscall.SIGQUIT))
		}
		return err
	}
	if c.Password != "" && !c.passwordSet {
		if _, err := c.tryQuery(ctx, "postgres", "ALTER USER postgres PASSWORD '"+strings.ReplaceAll(c.Password, "'", "''")+"'"); err != nil {
			return err
		}
		c.passwordSet = true
	}
	return nil
}

// serverProcess is a running postmaster and all of its children.
type serverProcess struct {
	cmd *exec.Cmd
	// gone is closed when the last process of the server has ended: they
	// all hold the write end of a pipe.
	gone chan struct{}
	// err is how the postmaster ended. It may be read after gone.
	err error
}

func (c *Cluster) launch() error {
	log, err := os.OpenFile(c.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	alive, held, err := os.Pipe()
	if err != nil {
		return err
	}
	defer held.Close()

	args := append([]string{"-D", c.DataDir,
		"-c", "port=" + strconv.Itoa(c.Port),
		"-c", "listen_addresses=" + c.Host,
		"-c", "unix_socket_directories=" + c.SocketDir}, c.args...)
	// Not through pg_ctl: the server must be this process's own child for
	// the kernel to end it with us.
	cmd := exec.Command(c.Server.program("postgres"), args...)
	cmd.Dir = c.SocketDir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{held}
	asServer(cmd, syscall.SIGQUIT)
	if err := start(cmd); err != nil {
		alive.Close()
		return err
	}
	p := &serverProcess{cmd: cmd, gone: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		_, _ = io.Copy(io.Discard, alive)
		alive.Close()
		close(p.gone)
	}()
	c.proc = p
	return nil
}

// waitReady waits for the status line that the postmaster writes into its
// lock file (pg_ctl start goes by it too).
func (c *Cluster) waitReady(ctx context.Context) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		lines := c.lockFileLines()
		if len(lines) >= 8 && strings.TrimSpace(lines[0]) == strconv.Itoa(c.proc.cmd.Process.Pid) {
			if status := strings.TrimSpace(lines[7]); status == "ready" || status == "standby" {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-c.proc.gone:
			return fmt.Errorf("the server ended: %w", cmp.Or(c.proc.err, errors.New("exit status 0")))
		case <-ctx.Done():
			return fmt.Errorf("the server takes no connections: %w", ctx.Err())
		}
	}
}

func (c *Cluster) lockFileLines() []string {
	text, err := os.ReadFile(filepath.Join(c.DataDir, "postmaster.pid"))
	if err != nil {
		return nil
	}
	return strings.Split(string(text), "\n")
}

// forgetSharedMemory removes what a killed server left: the seventh line of
// its lock file has the segment's key and identifier.
func (c *Cluster) forgetSharedMemory() {
	lines := c.lockFileLines()
	if c.proc == nil || len(lines) < 7 || strings.TrimSpace(lines[0]) != strconv.Itoa(c.proc.cmd.Process.Pid) {
		return
	}
	if fields := strings.Fields(lines[6]); len(fields) == 2 {
		if id, err := strconv.Atoi(fields[1]); err == nil {
			removeSharedMemory(id)
		}
	}
}

// Running tells whether any process of the server runs.
func (c *Cluster) Running() bool {
	if c.proc == nil {
		return false
	}
	select {
	case <-c.proc.gone:
		return false
	default:
		return true
	}
}

// end sends the postmaster a signal and waits until all its processes ended.
func (c *Cluster) end(sig syscall.Signal) error {
	if err := c.proc.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-c.proc.gone:
		return nil
	case <-time.After(stopTimeout):
	}
	_ = c.proc.cmd.Process.Kill()
	select {
	case <-c.proc.gone:
	case <-time.After(stopTimeout):
	}
	return fmt.Errorf("still running %v after %v", stopTimeout, sig)
}

// Stop shuts the server down and waits until it is gone. It does nothing if
// the server does not run.
func (c *Cluster) Stop(t testing.TB, mode StopMode) {
	t.Helper()
	sig := map[StopMode]syscall.Signal{Smart: syscall.SIGTERM, Fast: syscall.SIGINT, Immediate: syscall.SIGQUIT}[mode]
	if sig == 0 {
		t.Fatalf("stop: unknown mode %q", mode)
	}
	if !c.Running() {
		return
	}
	if err := c.end(sig); err != nil {
		t.Fatalf("stop %s: %v", c.Server, err)
	}
}

// Kill ends the postmaster by SIGKILL, as a crash would, and waits until its
// children have noticed.
func (c *Cluster) Kill(t testing.TB) {
	t.Helper()
	if !c.Running() {
		return
	}
	if err := c.end(syscall.SIGKILL); err != nil {
		t.Fatalf("kill %s: %v", c.Server, err)
	}
}

// Restart stops the server in the given mode and starts it again on the same
// port.
func (c *Cluster) Restart(t testing.TB, mode StopMode) {
	t.Helper()
	c.Stop(t, mode)
	c.Start(t)
}

// Reload has the server read its configuration files again.
func (c *Cluster) Reload(t testing.TB) {
	t.Helper()
	c.SQL(t, "SELECT pg_reload_conf()")
}

// Configure appends lines to postgresql.conf. They hold from the next Start
// or Reload on.
func (c *Cluster) Configure(t testing.TB, lines ...string) {
	t.Helper()
	appendFile(t, filepath.Join(c.DataDir, "postgresql.conf"), strings.Join(lines, "\n")+"\n")
}

func (c *Cluster) logPath() string { return filepath.Join(c.dir, "server.log") }

// Log is what the server has logged so far. The file is outside the data
// directory.
func (c *Cluster) Log() string {
	text, _ := os.ReadFile(c.logPath())
	return string(text)
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "\n")
}
