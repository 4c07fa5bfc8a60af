//go:build linux

package main

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

const debianBin = "/usr/lib/postgresql/15/bin"

// reachable is a directory that the servers' user reaches, unlike t.TempDir.
func reachable(t *testing.T, parent string) string {
	t.Helper()
	dir, err := os.MkdirTemp(parent, "pgbraid-benchtest-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// small are options for a run that only shows that all works, in memory where
// that can be. In pgbraid's place is a program that ends well and does nothing.
func small(t *testing.T) options {
	t.Helper()
	dir, data := reachable(t, "/tmp"), "/tmp"
	if _, err := os.Stat("/dev/shm"); err == nil {
		data = "/dev/shm"
	}
	o := options{
		pgbraid: filepath.Join(dir, "pgbraid"), bin: debianBin, dir: filepath.Join(reachable(t, data), "bench"),
		scale: 1, tables: 50, wal: 16, seconds: 1, pairs: 1,
		json: filepath.Join(dir, "bench.json"), svg: filepath.Join(dir, "bench.svg"),
	}
	if err := os.WriteFile(o.pgbraid, []byte("#!/bin/sh\nexit 0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	// The servers get a signal when the thread that started them ends.
	runtime.LockOSThread()
	return o
}

// nothingLeft sees that a run left only what is kept.
func nothingLeft(t *testing.T, o options) {
	t.Helper()
	entries, err := os.ReadDir(o.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "clusters" && e.Name() != "lock" {
			t.Errorf("%s is left", e.Name())
		}
	}
	running, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range running {
		if text, err := os.ReadFile(file); err == nil && strings.Contains(string(text), o.dir) {
			t.Errorf("this runs on: %q", text)
		}
	}
}

func TestEveryRowMeasuresBothTools(t *testing.T) {
	t.Parallel()
	o := small(t)
	o.pgbraid += "-real"
	build := exec.Command("go", "build", "-buildvcs=false", "-o", o.pgbraid, "../../cmd/pgbraid")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var text strings.Builder
	if err := run(context.Background(), o, &text); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, o)

	written, err := os.ReadFile(o.json)
	if err != nil {
		t.Fatal(err)
	}
	type runs struct {
		Runs []struct {
			Value float64 `json:"value"`
			CPU   float64 `json:"cpu_seconds"`
			RSS   float64 `json:"max_rss_mb"`
			Out   float64 `json:"output_mb"`
		} `json:"runs"`
	}
	var result struct {
		Rows []struct {
			Name    string             `json:"name"`
			Ratio   map[string]float64 `json:"ratio"`
			Pgbraid runs               `json:"pgbraid"`
			Stock   runs               `json:"stock"`
		} `json:"rows"`
	}
	if err := json.Unmarshal(written, &result); err != nil {
		t.Fatal(err)
	}
	if len(result.Rows) != len(rows) {
		t.Fatalf("%d rows, want %d\n%s", len(result.Rows), len(rows), text.String())
	}
	for i, r := range result.Rows {
		if r.Name != rows[i].name || !strings.Contains(text.String(), "("+r.Name+")") {
			t.Errorf("row %d is %s", i, r.Name)
		}
		for _, side := range []runs{r.Pgbraid, r.Stock} {
			if len(side.Runs) != o.pairs || side.Runs[0].Value <= 0 || side.Runs[0].CPU <= 0 || side.Runs[0].RSS <= 0 {
				t.Errorf("%s: %+v", r.Name, side)
				continue
			}
			if left := side.Runs[0].Out > 0; left != (r.Name != "verify") {
				t.Errorf("%s: %v MB were left", r.Name, side.Runs[0].Out)
			}
		}
		if got, want := r.Ratio["value"], r.Pgbraid.Runs[0].Value/r.Stock.Runs[0].Value; math.Abs(got-want) > 1e-6 {
			t.Errorf("%s: ratio %v, want %v", r.Name, got, want)
		}
	}

	picture, err := os.Open(o.svg)
	if err != nil {
		t.Fatal(err)
	}
	defer picture.Close()
	bars := 0
	for decoder := xml.NewDecoder(picture); ; {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal("the picture:", err)
		}
		e, ok := token.(xml.StartElement)
		if ok && e.Name.Local == "rect" {
			bars++
		}
		if ok && e.Name.Local == "line" {
			at := map[string]string{}
			for _, a := range e.Attr {
				at[a.Name.Local] = a.Value
			}
			if at["x1"] != at["x2"] || at["y1"] == at["y2"] {
				t.Errorf("the line at 1.00 is not upright: %v", at)
			}
		}
	}
	if want := 2*len(rows) + 3; bars != want { // the legend, the ground
		t.Errorf("%d bars, want %d", bars, want)
	}
}

func TestAnEndedRunLeavesNothing(t *testing.T) {
	t.Parallel()
	o := small(t)
	o.row, o.scale = "plain", 50 // the cluster takes seconds to fill
	ctx, cancel := context.WithCancelCause(context.Background())
	cause := errors.New("enough")
	go func() {
		// While pgbench fills the cluster.
		for ; ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
			logs, _ := filepath.Glob(filepath.Join(o.dir, "run-*", "server-*.log"))
			for _, log := range logs {
				if text, _ := os.ReadFile(log); strings.Contains(string(text), "ready to accept connections") {
					time.Sleep(500 * time.Millisecond)
					cancel(cause)
				}
			}
		}
	}()
	err := run(ctx, o, io.Discard)
	if !errors.Is(err, cause) {
		t.Errorf("run: %v, want %v", err, cause)
	}
	cancel(nil)
	nothingLeft(t, o)
	if kept, _ := os.ReadDir(filepath.Join(o.dir, "clusters")); len(kept) > 0 {
		t.Errorf("%s was kept before it was whole", kept[0].Name())
	}
}

func TestARowThatFailsIsNotMeasured(t *testing.T) {
	t.Parallel()
	o := small(t)
	o.row = "plain-nosync"
	var text strings.Builder
	err := run(context.Background(), o, &text)
	if err == nil || !strings.Contains(err.Error(), "there is no backup") {
		t.Errorf("run: %v\n%s", err, text.String())
	}
	nothingLeft(t, o)
}

// A row may fail before it has told how it ends.
func TestCleaningUpStopsServersThatStillRun(t *testing.T) {
	t.Parallel()
	o := small(t)
	b, err := prepare(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	s, err := b.fresh("left")
	if err != nil {
		t.Fatal(errors.Join(err, b.clean()))
	}
	process := s.cmd.Process
	if err := b.clean(); err != nil {
		t.Error(err)
	}
	if err := process.Signal(syscall.Signal(0)); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("the server runs on: %v", err)
	}
	nothingLeft(t, o)
}

func TestSpreadOfValues(t *testing.T) {
	value := figures[0].of
	for _, c := range []struct {
		in   []float64
		want spread
	}{
		{[]float64{3}, spread{3, 3, 3}},
		{[]float64{5, 1, 2}, spread{1, 2, 5}},
		{[]float64{4, 1, 2, 10}, spread{1, 3, 10}},
	} {
		var samples []sample
		for _, v := range c.in {
			samples = append(samples, sample{Value: v})
		}
		if got := spreadOf(samples, value); got != c.want {
			t.Errorf("%v: %v, want %v", c.in, got, c.want)
		}
	}
}
