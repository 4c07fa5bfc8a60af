//go:build linux

// Command bench measures pgbraid beside PostgreSQL's own tools. Each row is one
// thing that both can do; the two are run in turn, pgbraid first, and the row
// tells the medians and their ratio.
//
//	bench [-row NAME] [-scale N] [-pairs N] … PGBRAID BINDIR
//
// PGBRAID is the program, BINDIR holds a server of release 15 or later and all
// client programs. The clusters that are copied are made once and kept below
// -dir; everything else is removed, also after a signal. Exit codes: 0 all rows
// were measured, 1 not so, 2 wrong usage, 128 + a signal's number.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
)

// The kernel sends the parent-death signal when the thread that started a
// child ends. The main thread ends last, and main starts all children.
func init() { runtime.LockOSThread() }

// options are what a run was asked for.
type options struct {
	pgbraid, bin string // the program; where PostgreSQL's are
	dir          string // where clusters are kept and backups go
	row          string // only this one; "" is all
	scale        int    // of pgbench; one is about 15 MB
	tables       int    // in the cluster of many files
	wal          int    // MB that a receiver catches up with
	seconds      int    // of commits
	pairs        int    // how often each of the two is run
	json, svg    string // files to write; "" is none
}

// stopped is the cause of an end by a signal.
type stopped struct{ syscall.Signal }

func (s stopped) Error() string { return "ended by signal: " + s.String() }

func main() {
	o := options{}
	flag.StringVar(&o.dir, "dir", ".cache/bench", "where clusters are kept and backups go")
	flag.StringVar(&o.row, "row", "", "measure only this row")
	flag.IntVar(&o.scale, "scale", 270, "pgbench scale of the cluster: 270 is about 4 GB")
	flag.IntVar(&o.tables, "tables", 100000, "tables of one page in the cluster of many files")
	flag.IntVar(&o.wal, "wal", 2048, "MB of WAL to catch up with")
	flag.IntVar(&o.seconds, "seconds", 20, "how long commits are counted")
	flag.IntVar(&o.pairs, "pairs", 5, "how often each tool is run")
	flag.StringVar(&o.json, "json", "", "write the result to this file")
	flag.StringVar(&o.svg, "svg", "", "draw the result into this file")
	flag.Usage = func() {
		fmt.Fprintf(os.Stderr, "usage: bench [options] PGBRAID BINDIR   (make bench does it all)\n")
		flag.PrintDefaults()
		fmt.Fprintf(os.Stderr, "rows: %s\n", strings.Join(rowNames(), " "))
	}
	flag.Parse()
	if err := o.check(); flag.NArg() != 2 || err != nil {
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
		flag.Usage()
		os.Exit(2)
	}
	o.pgbraid, o.bin = flag.Arg(0), flag.Arg(1)

	ctx, quit := context.WithCancelCause(context.Background())
	// Further signals change nothing: cleaning up is short.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() { quit(stopped{(<-signals).(syscall.Signal)}) }()

	err := run(ctx, o, os.Stdout)
	var s stopped
	switch {
	case errors.As(err, &s):
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(128 + int(s.Signal))
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func (o *options) check() error {
	if o.scale < 1 || o.tables < 1 || o.wal < 1 || o.seconds < 1 || o.pairs < 1 {
		return errors.New("a number must be at least 1")
	}
	if o.row != "" && rowNamed(o.row) == nil {
		return fmt.Errorf("no row %q", o.row)
	}
	return nil
}

// run measures all rows that were asked for, and writes each when it is done.
// A row that fails does not keep the others from being measured.
func run(ctx context.Context, o options, out io.Writer) (err error) {
	b, err := prepare(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.clean()) }()
	r := report{Machine: describeMachine(b), Options: o.result()}
	r.writeHead(out)
	var failed []error
	for _, row := range rows {
		if o.row != "" && row.name != o.row {
			continue
		}
		m, err := b.measure(row)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", row.name, err)
			fmt.Fprintf(out, "%v\n\n", err)
			failed = append(failed, err)
			continue
		}
		r.Rows = append(r.Rows, m)
		m.write(out)
	}
	if o.json != "" {
		failed = append(failed, r.writeJSON(o.json))
	}
	if o.svg != "" && len(r.Rows) > 0 {
		failed = append(failed, os.WriteFile(o.svg, []byte(r.svg()), 0o644))
	}
	return errors.Join(failed...)
}
