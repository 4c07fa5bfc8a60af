package cli

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/pgbraid/pgbraid/internal/metrics"
	"github.com/pgbraid/pgbraid/internal/sdnotify"
	"github.com/pgbraid/pgbraid/logstream"
)

// scrapeGrace is how long a scrape may still take when the command ends.
const scrapeGrace = 2 * time.Second

// serveMetrics serves until the function that it returns is called.
func serveMetrics(ctx context.Context, m *metrics.Receive, address string, logger *slog.Logger) (stop func(), err error) {
	server, err := m.Listen(ctx, address, logger)
	if err != nil {
		return nil, err
	}
	logger.Info("serving metrics", "address", server.Addr())
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), scrapeGrace)
		defer cancel()
		server.Close(ctx)
	}, nil
}

const (
	// beforeReady is how often a service that is starting is looked at.
	beforeReady = 200 * time.Millisecond
	// statusEvery is how often the service manager gets a new status line.
	statusEvery = 5 * time.Second
	// showStall is from when on the status line tells that something hangs.
	showStall = 5 * time.Second
	// fetchExtension is how much more time to start is asked for, again and
	// again, while WAL comes from the archive: there may be much of it.
	fetchExtension = time.Minute
)

// service tells the service manager how the receiver does. It is ready once
// the stream runs for the first time. The watchdog is fed as long as the
// receiver gives its status, has not stopped, and nothing that it does hangs.
type service struct {
	notifier *sdnotify.Notifier
	status   func() logstream.Status
	log      *slog.Logger

	done    chan struct{}
	running sync.WaitGroup

	ready    bool // belongs to the goroutine until that is joined
	lastText string
	warn     sync.Once
}

func newService(notifier *sdnotify.Notifier, status func() logstream.Status, logger *slog.Logger) *service {
	return &service{notifier: notifier, status: status, log: logger, done: make(chan struct{})}
}

func (s *service) start() {
	if s.notifier != nil {
		s.running.Go(s.run)
	}
}

func (s *service) run() {
	for {
		pause := s.look()
		timer := time.NewTimer(pause)
		select {
		case <-s.done:
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// look sends what there is to say and returns when to look again.
func (s *service) look() time.Duration {
	now := s.status()
	var messages []string
	if !s.ready && now.State == logstream.Streaming {
		s.ready = true
		messages = append(messages, sdnotify.Ready)
	}
	if !s.ready && now.State == logstream.FetchingFromArchive {
		messages = append(messages, sdnotify.ExtendTimeout(fetchExtension))
	}
	if text := statusLine(now); text != s.lastText {
		s.lastText = text
		messages = append(messages, sdnotify.Status(text))
	}
	pause := statusEvery
	if !s.ready {
		pause = beforeReady
	}
	if w := s.notifier.WatchdogInterval(); w > 0 {
		pause = min(pause, max(w/2, time.Millisecond))
		if now.State != logstream.Stopped && now.Stalled < w/2 {
			messages = append(messages, sdnotify.Watchdog)
		}
	}
	if len(messages) > 0 {
		s.send(messages...)
	}
	return pause
}

// stopping says that an orderly end has begun. It may be called at any time.
func (s *service) stopping() { s.send(sdnotify.Stopping) }

// end is called with what the receiver ended with.
func (s *service) end(err error) {
	close(s.done)
	s.running.Wait()
	if err == nil && !s.ready {
		// It did what it was to do before anybody looked.
		s.send(sdnotify.Ready)
	}
	s.send(sdnotify.Stopping, sdnotify.Status(statusLine(s.status())))
}

func (s *service) send(messages ...string) {
	if err := s.notifier.Send(messages...); err != nil {
		// Once is enough: the next one would say the same, and the stream
		// matters more.
		s.warn.Do(func() { s.log.Warn("service manager is not told", "error", err) })
	}
}

// statusLine is a status in one line for a person.
func statusLine(s logstream.Status) string {
	text := string(s.State)
	if s.Written.Timeline != 0 {
		text += fmt.Sprintf(" at %s, durable up to %s", s.Written, s.Durable.LSN)
	}
	if s.ServerEnd > s.Durable.LSN && s.Written.Timeline != 0 {
		text += fmt.Sprintf(", %d bytes behind the server", s.ServerEnd-s.Durable.LSN)
	}
	if s.Stalled >= showStall {
		text += fmt.Sprintf(", hanging for %s", s.Stalled.Round(time.Second))
	}
	if s.State == logstream.Waiting {
		text += ", last error: " + logstream.ErrorClass(s.LastError)
	}
	return text
}
