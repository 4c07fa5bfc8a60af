//go:build linux

// Command demo shows pgbraid's main job to a newcomer: a primary under write
// load is cloned with the real pgbraid command, the clone becomes a standby,
// and takes over when the primary is killed.
//
//	demo PGBRAID BINDIR
//
// PGBRAID is the program, BINDIR holds initdb and postgres. Everything is
// below one temporary directory, which is removed at the end and on a signal.
// Exit codes: 0 all was as it should be, 1 not so, 128 + a signal's number.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// The kernel sends the parent-death signal when the thread that started a
// child ends. The main thread ends last, and main starts all children.
func init() { runtime.LockOSThread() }

// stopped is the cause of an end by a signal.
type stopped struct{ syscall.Signal }

func (s stopped) Error() string { return "ended by signal: " + s.String() }

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: demo PGBRAID BINDIR   (make demo does it all)")
		os.Exit(2)
	}
	// The person's own database settings have no place here.
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "PG") {
			os.Unsetenv(name)
		}
	}
	ctx, quit := context.WithCancelCause(context.Background())
	time.AfterFunc(5*time.Minute, func() { quit(errors.New("took longer than 5 minutes")) })
	// Further signals change nothing: cleaning up is short. A reader of the
	// output who has gone is noticed by say.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	signal.Ignore(syscall.SIGPIPE)
	go func() { quit(stopped{(<-signals).(syscall.Signal)}) }()

	d := &demo{ctx: ctx, quit: quit, pgbraid: os.Args[1], bin: os.Args[2]}
	err := d.run()
	if ctx.Err() != nil {
		err = context.Cause(ctx) // the first cause, not what it led to
	}
	if err = errors.Join(err, d.clean()); err == nil {
		return
	}
	fmt.Fprintf(os.Stderr, "\ndemo: %s\n", strings.TrimSpace(err.Error()))
	if s := (stopped{}); errors.As(err, &s) {
		os.Exit(128 + int(s.Signal))
	}
	os.Exit(1)
}

// run tells the story. A failed check anywhere in it ends it.
func (d *demo) run() (err error) {
	defer func() {
		if r := recover(); r != nil {
			f, ok := r.(failed)
			if !ok {
				panic(r)
			}
			err = f.error
		}
	}()
	d.prepare()
	d.startPrimary()
	d.clone()
	d.follow()
	d.failOver()
	return nil
}

// failed is what check panics with, so that the story reads without an if
// after each line; run catches it.
type failed struct{ error }

func check(err error) {
	if err != nil {
		panic(failed{err})
	}
}

// say shows a line of the story.
func (d *demo) say(format string, args ...any) {
	if _, err := fmt.Printf(format+"\n", args...); err != nil {
		d.quit(fmt.Errorf("output: %w", err))
	}
}

// wait asks ready every 50 ms, for a minute.
func (d *demo) wait(what string, ready func() bool) {
	for end := time.Now().Add(time.Minute); !ready(); d.sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			check(fmt.Errorf("%s: not within a minute", what))
		}
	}
}

func (d *demo) sleep(t time.Duration) {
	select {
	case <-d.ctx.Done():
		check(d.ctx.Err())
	case <-time.After(t):
	}
}
