package walsender

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Options describe the server that is played. The zero value is a primary of
// release 18 on timeline 1 with segments of 16 MB.
type Options struct {
	Version           string // server_version; "18.4" if empty
	SystemID          string // decimal; a fixed number if empty
	Timeline          uint32 // of IDENTIFY_SYSTEM, unless ServeWAL tells it; 1 if 0
	FlushLSN          LSN    // of IDENTIFY_SYSTEM, likewise; 0/3000000 if 0
	SegmentSize       string // of SHOW wal_segment_size; "16MB" if empty
	DataDirectoryMode string // of SHOW data_directory_mode; "0700" if empty
	WALSenderTimeout  string // of SHOW wal_sender_timeout; "1min" if empty

	// Parameters are reported at the start-up besides the usual ones, or
	// instead of them. The value "-" leaves a parameter out.
	Parameters map[string]string

	// Timeout is how long a handler waits for the client before that is an
	// error; 10 seconds if 0.
	Timeout time.Duration

	// OnStartup, if set, answers the StartupMessage. Conn.Welcome is the usual
	// answer.
	OnStartup Hook
}

// Hook does a part of a conversation. Its error fails the test unless it is
// Pass or Stop, or says that the connection has ended.
type Hook func(c *Conn) error

// Asked is a command that a client sent.
type Asked struct {
	Conn int // number of the connection, from 1 on
	Text string
}

// Server is a scripted walsender. Its methods may be called from any goroutine.
type Server struct {
	t       testing.TB
	options Options
	segment int64
	address string

	mu       sync.Mutex
	listener net.Listener
	conns    map[*Conn]struct{}
	stopping bool
	handlers []*handler
	asked    []Asked
	changed  chan struct{} // closed and replaced when asked or feedback grows
	feedback []Feedback
	startups []map[string]string
	cancels  int
	uploads  [][]byte
	slots    map[string]*Slot
	wal      *WAL
	running  sync.WaitGroup
}

type handler struct {
	match func(query string) bool
	run   Hook
	once  bool
}

// New starts a server that ends with the test.
func New(t testing.TB, options Options) *Server {
	t.Helper()
	setDefault(&options.Version, "18.4")
	setDefault(&options.SystemID, "7512345678901234567")
	setDefault(&options.Timeline, 1)
	setDefault(&options.FlushLSN, 0x3000000)
	setDefault(&options.SegmentSize, "16MB")
	setDefault(&options.DataDirectoryMode, "0700")
	setDefault(&options.WALSenderTimeout, "1min")
	setDefault(&options.Timeout, 10*time.Second)
	s := &Server{
		t:       t,
		options: options,
		conns:   map[*Conn]struct{}{},
		changed: make(chan struct{}),
		slots:   map[string]*Slot{},
		address: "127.0.0.1:0",
	}
	// A test may announce a size that is none. Segment names need one then.
	var err error
	if s.segment, err = parseSize(options.SegmentSize); err != nil || s.segment <= 0 {
		s.segment = 16 << 20
	}
	s.addDefaults()
	s.Start()
	t.Cleanup(s.Stop)
	return s
}

func setDefault[T comparable](value *T, fallback T) {
	var zero T
	if *value == zero {
		*value = fallback
	}
}

// Start listens again after Stop, on the same port.
func (s *Server) Start() {
	s.t.Helper()
	l, err := net.Listen("tcp4", s.address)
	if err != nil {
		s.t.Fatalf("walsender: %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listener, s.address, s.stopping = l, l.Addr().String(), false
	s.running.Go(func() { s.accept(l) })
}

// Stop closes the listener and all connections, as a crash does, and waits for
// their handlers. Clients are refused until Start. A hook must not call it.
func (s *Server) Stop() {
	s.mu.Lock()
	s.stopping = true
	s.listener.Close()
	for c := range s.conns {
		c.net.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
}

// CloseConnections cuts all connections and goes on listening.
func (s *Server) CloseConnections() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.net.Close()
	}
}

func (s *Server) accept(l net.Listener) {
	for {
		socket, err := l.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.stopping {
			s.mu.Unlock()
			socket.Close()
			return
		}
		c := newConn(s, socket)
		s.conns[c] = struct{}{}
		s.mu.Unlock()
		s.running.Go(func() {
			c.serve()
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.conns, c)
			s.dropTemporarySlots(c.id)
		})
	}
}

// ConnString is a connection string in the keyword form, without
// replication=true.
func (s *Server) ConnString() string {
	host, port, _ := net.SplitHostPort(s.Addr())
	return fmt.Sprintf("host=%s port=%s user=replicator sslmode=disable", host, port)
}

// Addr is the host and port that the server listens on.
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.address
}

// SegmentSize is the WAL segment size in bytes.
func (s *Server) SegmentSize() int64 { return s.segment }

// SystemID is the cluster's system identifier.
func (s *Server) SystemID() string { return s.options.SystemID }

// Major is the major release that is played, such as 18.
func (s *Server) Major() int { return s.versionNum() / 10000 }

// position is what IDENTIFY_SYSTEM tells.
func (s *Server) position() Position {
	s.mu.Lock()
	wal := s.wal
	s.mu.Unlock()
	if wal != nil {
		return wal.End()
	}
	return Position{s.options.FlushLSN, s.options.Timeline}
}

// versionNum is server_version_num.
func (s *Server) versionNum() int {
	number, _, _ := strings.Cut(s.options.Version, " ")
	major, minor, _ := strings.Cut(number, ".")
	for i, r := range major {
		if r < '0' || r > '9' {
			major = major[:i] // 19devel
			break
		}
	}
	a, _ := strconv.Atoi(major)
	b, _ := strconv.Atoi(minor)
	return a*10000 + b
}

// lsn is the text of l as this release prints it.
func (s *Server) lsn(l LSN) string {
	if s.Major() >= 19 {
		return l.padded()
	}
	return l.String()
}

// Handle answers commands that begin with the given words, in any case. What
// was added last is asked first. A handler that returns Pass before it sent
// anything leaves the command to the others.
func (s *Server) Handle(words string, run Hook) { s.HandleFunc(beginsWith(words), run) }

// HandleFunc answers commands that match.
func (s *Server) HandleFunc(match func(query string) bool, run Hook) {
	s.add(&handler{match: match, run: run})
}

// HandleOnce answers the first command that begins with the given words; later
// ones get the answer that was in place before.
func (s *Server) HandleOnce(words string, run Hook) {
	s.add(&handler{match: beginsWith(words), run: run, once: true})
}

func (s *Server) add(h *handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handlers = append(s.handlers, h)
}

func beginsWith(words string) func(string) bool {
	want := strings.Fields(strings.ToLower(words))
	return func(query string) bool {
		query = strings.ReplaceAll(strings.TrimRight(query, "; "), "(", " (")
		got := strings.Fields(strings.ToLower(query))
		return len(got) >= len(want) && slices.Equal(got[:len(want)], want)
	}
}

// takeHandler returns the handler to try next, or nil, and uses up one that is
// for once.
func (s *Server) takeHandler(query string, tried map[*handler]bool) *handler {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, h := range slices.Backward(s.handlers) {
		if tried[h] || !h.match(query) {
			continue
		}
		if h.once {
			s.handlers = slices.Delete(slices.Clone(s.handlers), i, i+1)
		}
		tried[h] = true
		return h
	}
	return nil
}

// Queries returns the text of all commands so far, of all connections.
func (s *Server) Queries() []string {
	var texts []string
	for _, a := range s.Asked() {
		texts = append(texts, a.Text)
	}
	return texts
}

// Asked returns all commands so far, with their connections.
func (s *Server) Asked() []Asked {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// Startups returns the parameters of all start-up messages so far, such as
// user, replication and application_name.
func (s *Server) Startups() []map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []map[string]string
	for _, m := range s.startups {
		list = append(list, maps.Clone(m))
	}
	return list
}

// Cancels counts the cancel requests so far.
func (s *Server) Cancels() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cancels
}

// Uploads returns the manifests that UPLOAD_MANIFEST brought.
func (s *Server) Uploads() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.uploads)
}

// Feedback returns all status messages so far, of all connections.
func (s *Server) Feedback() []Feedback {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.feedback)
}

// WaitQuery waits until n commands that begin with the given words were asked,
// and fails the test when that takes too long.
func (s *Server) WaitQuery(words string, n int) {
	s.t.Helper()
	match := beginsWith(words)
	s.wait(fmt.Sprintf("%d times %q", n, words), func() bool {
		count := 0
		for _, a := range s.asked {
			if match(a.Text) {
				count++
			}
		}
		return count >= n
	})
}

// WaitFeedback waits until a status message satisfies ok, and fails the test
// when that takes too long.
func (s *Server) WaitFeedback(ok func(Feedback) bool) {
	s.t.Helper()
	s.wait("a status message", func() bool { return slices.ContainsFunc(s.feedback, ok) })
}

// wait calls ok under s.mu.
func (s *Server) wait(what string, ok func() bool) {
	s.t.Helper()
	timeout := time.After(s.options.Timeout)
	for {
		s.mu.Lock()
		done, changed := ok(), s.changed
		s.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			s.t.Fatalf("walsender: waited %v for %s; asked so far: %q", s.options.Timeout, what, s.Queries())
		}
	}
}

// record changes what is remembered of the clients.
func (s *Server) record(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	close(s.changed)
	s.changed = make(chan struct{})
}
