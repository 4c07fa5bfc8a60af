package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// WatchSignals returns a context that SIGINT, SIGTERM or SIGHUP ends, with the
// signal as its cause, so that what was made can be removed. A second signal
// ends the process at once. SIGHUP is left alone where it is ignored, as under
// nohup. SIGPIPE is ignored: that nobody reads the progress any more must not
// end a clone half-way.
func WatchSignals(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	watched := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		watched = append(watched, syscall.SIGHUP)
	}
	signal.Ignore(syscall.SIGPIPE)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, watched...)
	done := make(chan struct{})
	go func() {
		select {
		case s := <-signals:
			cancel(&interrupted{s})
		case <-done:
			return
		}
		select {
		case s := <-signals:
			os.Exit((&interrupted{s}).code())
		case <-done:
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel(nil)
	}
}
