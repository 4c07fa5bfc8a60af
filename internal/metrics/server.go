package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// loopback is where a port without a host is listened on: who wants the
// network to see the numbers says so.
const loopback = "127.0.0.1"

// ParseAddress makes of [HOST]:PORT, or PORT alone, an address to listen on.
// Without a host that is on loopback; 0.0.0.0 and [::] are all addresses.
// Port 0 is any free one.
func ParseAddress(text string) (string, error) {
	whole := text
	if !strings.Contains(text, ":") {
		whole = ":" + text
	}
	host, port, err := net.SplitHostPort(whole)
	if err != nil {
		return "", fmt.Errorf("address %q: want [HOST]:PORT", text)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", fmt.Errorf("address %q: port %q is no number from 0 to 65535", text, port)
	}
	if host == "" {
		host = loopback
	}
	return net.JoinHostPort(host, port), nil
}

// Handler serves /metrics, /healthz and /readyz, and nothing else. Besides the
// receiver's metrics there are those of the process and of Go's runtime.
func (r *Receive) Handler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(r, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes, Timeout: scrapeTimeout}))
	mux.HandleFunc("GET /healthz", r.serveHealth(func(h health) bool { return h.Alive }))
	mux.HandleFunc("GET /readyz", r.serveHealth(func(h health) bool { return h.Ready }))
	return mux
}

const (
	maxScrapes    = 4
	scrapeTimeout = 10 * time.Second
	// maxHeader in bytes is plenty for a scraper's request.
	maxHeader = 16 << 10
)

// Server serves a Receive's Handler.
type Server struct {
	http     http.Server
	listener net.Listener
	done     chan error
}

// Listen begins to serve at an address of ParseAddress. That nothing can
// listen there is an error at once. logger may be nil.
func (r *Receive) Listen(ctx context.Context, address string, logger *slog.Logger) (*Server, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("serving metrics: %w", err)
	}
	s := &Server{
		http: http.Server{
			Handler:           r.Handler(),
			ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout:       10 * time.Second,
			WriteTimeout:      scrapeTimeout + 10*time.Second,
			IdleTimeout:       2 * time.Minute,
			MaxHeaderBytes:    maxHeader,
			ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		},
		listener: listener,
		done:     make(chan error, 1),
	}
	go func() {
		err := s.http.Serve(listener)
		if !errors.Is(err, http.ErrServerClosed) {
			logger.Error("metrics are not served any more", "error", err)
		}
		s.done <- err
	}()
	return s, nil
}

// Addr is where the server listens.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Close lets requests that are being answered end, until ctx does, and returns
// once nothing is served any more.
func (s *Server) Close(ctx context.Context) {
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close() // they had their time
	}
	<-s.done
}
