//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// machine is what was measured on, and what.
type machine struct {
	CPU        string  `json:"cpu"`
	Cores      int     `json:"cores"`
	MemoryGB   float64 `json:"memory_gb"`
	FileSystem string  `json:"file_system"`
	Kernel     string  `json:"kernel"`
	Pgbraid    string  `json:"pgbraid"`
	PostgreSQL string  `json:"postgresql"`
}

func describeMachine(b *bench) machine {
	m := machine{
		CPU:        field("/proc/cpuinfo", "model name"),
		Cores:      runtime.NumCPU(),
		FileSystem: fileSystem(b.work),
		PostgreSQL: version(b, filepath.Join(b.bin, "postgres")),
		Pgbraid:    version(b, b.pgbraid),
	}
	var kB float64
	if _, err := fmt.Sscan(field("/proc/meminfo", "MemTotal"), &kB); err == nil {
		m.MemoryGB = float64(int(kB/(1<<20)*10+0.5)) / 10
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = string(u.Release[:bytes.IndexByte(u.Release[:], 0)])
	}
	if m.CPU == "" {
		m.CPU = runtime.GOARCH
	}
	return m
}

// String tells all in two lines.
func (m machine) String() string {
	return fmt.Sprintf("%s, %d cores, %.1f GB of memory, %s, Linux %s\n%s; %s",
		m.CPU, m.Cores, m.MemoryGB, m.FileSystem, m.Kernel, m.Pgbraid, m.PostgreSQL)
}

func version(b *bench, program string) string {
	out, err := b.account.command(context.Background(), b.work, syscall.SIGKILL, program, "--version").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// field is the first value of a name in a file of lines "name : value".
func field(path, name string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if key, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// fileSystem is the kind that a directory is on: that of the longest mount
// point above it.
func fileSystem(dir string) string {
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "unknown file system"
	}
	longest, kind := "", "unknown file system"
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 3 {
			continue
		}
		at := strings.TrimSuffix(f[1], "/")
		if (dir == at || strings.HasPrefix(dir, at+"/")) && len(at) >= len(longest) {
			longest, kind = at, f[2]
		}
	}
	return kind
}
