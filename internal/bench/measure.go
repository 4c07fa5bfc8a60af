//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// sample is one run of a tool.
type sample struct {
	Value float64 // seconds, or commits a second
	CPU   float64 // seconds of the tool, user and system, on all processors
	RSS   float64 // MB at most
	Out   float64 // MB that it left: a compressor may be quick and leave more
}

// running is a tool at work.
type running struct {
	name  string
	cmd   *exec.Cmd
	said  *bytes.Buffer
	start time.Time
	done  chan error
	took  time.Duration // belongs to the waiting goroutine until done is read
	rss   atomic.Int64  // bytes
}

// launch starts a tool.
func (b *bench) launch(name string, args ...string) (*running, error) {
	r := &running{name: filepath.Base(name), said: &bytes.Buffer{}, done: make(chan error, 1)}
	r.cmd = b.account.command(b.ctx, b.work, syscall.SIGKILL, name, args...)
	r.cmd.Stdout, r.cmd.Stderr = io.Discard, r.said
	r.start = time.Now()
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go r.watch(ended)
	go func() {
		err := r.cmd.Wait()
		r.took = time.Since(r.start)
		close(ended)
		r.done <- err
	}()
	return r, nil
}

// watch keeps the most memory that the tool ever had, a second process of its
// own not counted. The kernel's account of an ended process begins with the
// memory of the one that started it, which for a small tool is the larger; that
// of a living one does not.
func (r *running) watch(ended <-chan struct{}) {
	status := fmt.Sprintf("/proc/%d/status", r.cmd.Process.Pid)
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		if text, err := os.ReadFile(status); err == nil {
			if _, rest, found := strings.Cut(string(text), "\nVmHWM:"); found {
				var kB int64
				if _, err := fmt.Sscan(rest, &kB); err == nil {
					r.rss.Store(max(r.rss.Load(), kB<<10))
				}
			}
		}
		select {
		case <-ended:
			return
		case <-ticker.C:
		}
	}
}

// end sends a signal, unless that is 0, and waits for the tool's end. What it
// used includes its own children.
func (r *running) end(sig syscall.Signal) (sample, error) {
	if sig != 0 {
		_ = r.cmd.Process.Signal(sig) // it may have ended, which the wait tells
	}
	err := <-r.done
	m := sample{Value: r.took.Seconds(), RSS: float64(r.rss.Load()) / (1 << 20)}
	if state := r.cmd.ProcessState; state != nil {
		m.CPU = (state.UserTime() + state.SystemTime()).Seconds()
	}
	if err != nil {
		return m, fmt.Errorf("%s: %w\n%s", r.name, err, r.said)
	}
	return m, nil
}

// timed runs a tool to its end.
func (b *bench) timed(name string, args ...string) (sample, error) {
	r, err := b.launch(name, args...)
	if err != nil {
		return sample{}, err
	}
	return r.end(0)
}

// measure runs the two tools of a row in turn.
func (b *bench) measure(row *row) (m measured, err error) {
	runner, err := row.begin(b)
	if err != nil {
		return m, err
	}
	if runner.end != nil {
		defer func() { err = errors.Join(err, runner.end()) }()
	}
	m = measured{Name: row.name, Title: row.title, Stock: row.stock, Rate: row.rate}
	for n := range b.pairs {
		for _, ours := range []bool{true, false} {
			out := filepath.Join(b.work, fmt.Sprintf("out%d-%t", n, ours))
			defer func() { err = errors.Join(err, os.RemoveAll(out)) }()
			s, err := b.once(runner, ours, out)
			if err != nil {
				return m, err
			}
			if ours {
				m.Pgbraid = append(m.Pgbraid, s)
			} else {
				m.Theirs = append(m.Theirs, s)
			}
		}
	}
	return m, nil
}

// once runs a tool with the page cache in the same state each time: what is
// read is in it, and nothing of before waits to be written.
func (b *bench) once(r *runner, ours bool, out string) (s sample, err error) {
	for _, dir := range r.data {
		if err := readAll(dir); err != nil {
			return s, err
		}
	}
	if err := b.settle(); err != nil {
		return s, err
	}
	if !r.keeps {
		defer func() { err = errors.Join(err, os.RemoveAll(out)) }()
	}
	if s, err = r.once(ours, out); err != nil {
		return s, err
	}
	size, err := sizeOf(out)
	s.Out = float64(size) / (1 << 20)
	return s, err
}

// sizeOf are the bytes of all files below a directory, which need not be there.
func sizeOf(dir string) (sum int64, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == dir {
			return nil
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			sum += info.Size()
		}
		return err
	})
	return sum, err
}

// readAll brings files into the page cache. Those that a running server
// removes meanwhile do not matter.
func readAll(dir string) error {
	buf := make([]byte, 1<<20)
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		defer f.Close()
		for {
			if _, err := f.Read(buf); err == io.EOF {
				return nil
			} else if err != nil {
				return err
			}
		}
	})
}
