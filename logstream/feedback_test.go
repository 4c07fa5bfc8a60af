package logstream

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/pgbraid/pgbraid/internal/replconn"
)

// sent is a status that reached the server.
type sent struct {
	after            time.Duration // since the beginning
	written, flushed LSN
}

// reporting is a feedback on a connection whose server notes what it gets. It
// lives in a synctest bubble, so that its times are exact.
type reporting struct {
	*feedback
	t      *testing.T
	server net.Conn
	begun  time.Time
	ended  chan struct{} // closed when run returned

	mu               sync.Mutex
	written, durable LSN
	got              []sent
}

// greeted connects to a server that accepts anybody and then does what after
// says.
func greeted(t *testing.T, after func(server net.Conn)) (*replconn.Conn, net.Conn) {
	t.Helper()
	client, server := net.Pipe()
	go func() {
		backend := pgproto3.NewBackend(server, server)
		if _, err := backend.ReceiveStartupMessage(); err != nil {
			return // Connect fails
		}
		backend.Send(&pgproto3.AuthenticationOk{})
		backend.Send(&pgproto3.ParameterStatus{Name: "integer_datetimes", Value: "on"})
		backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		if backend.Flush() == nil {
			after(server)
		}
	}()
	config, err := pgconn.ParseConfig("host=127.0.0.1 port=5999 user=u dbname=d sslmode=disable replication=true")
	if err != nil {
		t.Fatal(err)
	}
	config.DialFunc = func(context.Context, string, string) (net.Conn, error) { return client, nil }
	conn, err := replconn.Connect(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	return conn, server
}

func report(t *testing.T, f *feedback) *reporting {
	t.Helper()
	r := &reporting{feedback: f, t: t, ended: make(chan struct{})}
	conn, server := greeted(t, r.serve)
	r.server = server
	f.conn, f.now = conn, make(chan struct{}, 1)
	f.position = func() (LSN, LSN) {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.written, r.durable
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(func() {
		cancel()
		<-r.ended
		_ = conn.Close()
		_ = server.Close()
	})
	r.begun = time.Now()
	go func() {
		defer close(r.ended)
		r.run(ctx)
	}()
	return r
}

// serve notes the statuses that come.
func (r *reporting) serve(server net.Conn) {
	for {
		message := make([]byte, 5+statusSize)
		if _, err := io.ReadFull(server, message); err != nil {
			return
		}
		body := message[5:]
		s := sent{time.Since(r.begun), LSN(binary.BigEndian.Uint64(body[1:])), LSN(binary.BigEndian.Uint64(body[9:]))}
		if message[0] != 'd' || body[0] != kindStatus || binary.BigEndian.Uint64(body[17:]) != 0 || body[33] != 0 {
			r.t.Errorf("not a status: %x", message)
		}
		if at := time.Duration(binary.BigEndian.Uint64(body[25:])) * time.Microsecond; at != time.Since(postgresEpoch).Truncate(time.Microsecond) {
			r.t.Errorf("status of %s since 2000", at)
		}
		r.mu.Lock()
		r.got = append(r.got, s)
		r.mu.Unlock()
	}
}

// moves sets the positions and tells of the durable one as the flusher does.
func (r *reporting) moves(written, durable LSN) {
	r.mu.Lock()
	before := r.durable
	r.written, r.durable = written, durable
	r.mu.Unlock()
	if durable != before {
		r.flushed()
	}
}

// wait lets time pass.
func (r *reporting) wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// want compares what the server got since the last call.
func (r *reporting) want(when string, want ...sent) {
	r.t.Helper()
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.got, want) {
		r.t.Errorf("%s: the server got %v, want %v", when, r.got, want)
	}
	r.got = nil
}

func TestStatusIsSentAtTheStartAndEveryInterval(t *testing.T) {
	t.Parallel()
	for _, timeout := range []time.Duration{0, 40 * time.Second, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			r := report(t, &feedback{interval: 10 * time.Second, timeout: timeout})
			r.want("at the start", sent{0, 0, 0})
			r.moves(100, 50)
			r.wait(9999 * time.Millisecond)
			r.want("before the interval is over")
			r.wait(time.Millisecond)
			// The flush position is nobody's business here.
			r.want("after it", sent{10 * time.Second, 100, 0})
			r.moves(200, 200)
			r.wait(20 * time.Second)
			r.want("after two more", sent{20 * time.Second, 200, 0}, sent{30 * time.Second, 200, 0})
		})
	}
}

func TestIntervalIsKeptWhereTheTimeoutIsNoMultipleOfIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const interval = 10 * time.Second
		r := report(t, &feedback{interval: interval, timeout: 12 * time.Second})
		r.wait(10 * time.Minute)
		for i := 1; i < len(r.got); i++ {
			if d := r.got[i].after - r.got[i-1].after; d > interval+1500*time.Millisecond || d < interval-1500*time.Millisecond {
				t.Errorf("%s between two", d)
			}
		}
		if len(r.got) < 55 {
			t.Errorf("%d in ten minutes", len(r.got))
		}
	})
}

func TestWithoutAnIntervalStatusIsSentOnlyWhenAsked(t *testing.T) {
	t.Parallel()
	for _, timeout := range []time.Duration{0, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			r := report(t, &feedback{timeout: timeout})
			r.moves(100, 50)
			r.wait(time.Hour)
			r.want("in an hour")
			r.asked()
			r.want("when asked", sent{time.Hour, 100, 0})
			r.moves(200, 200)
			r.wait(time.Hour)
			r.want("a flush that nobody relies on, and an hour")
		})
	}
}

func TestServerThatAskedIsToldAgainWhenAllOfItIsDurable(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := report(t, &feedback{reportFlush: true})
		r.want("at the start", sent{0, 0, 0})
		r.moves(100, 50)
		r.wait(time.Second)
		r.want("before it is asked")
		r.asked()
		r.want("at once", sent{time.Second, 100, 50})
		r.wait(time.Second)
		r.moves(150, 99)
		r.want("a part is durable")
		r.wait(time.Second)
		r.moves(200, 100)
		r.want("all that was written then is", sent{3 * time.Second, 200, 100})
		r.moves(200, 200)
		r.wait(time.Minute)
		r.want("more is: nobody waits for that")
	})
}

// A server that was written to has nothing more to say: what it wrote is made
// durable at the status interval, and that is reported.
func TestWhatWasWrittenIsMadeDurableAtTheInterval(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		woken := 0
		r := report(t, &feedback{interval: 10 * time.Second, reportFlush: true, wake: func() { woken++ }})
		r.want("at the start", sent{0, 0, 0})
		r.moves(100, 50)
		r.wait(10 * time.Second)
		r.want("at the interval", sent{10 * time.Second, 100, 50})
		if woken != 1 || !r.syncDue.Swap(false) {
			t.Errorf("woken %d times", woken)
		}
		r.wait(time.Second)
		r.moves(100, 100)
		r.want("once it is durable", sent{11 * time.Second, 100, 100})
		r.wait(30 * time.Second)
		if woken != 1 || r.syncDue.Load() {
			t.Errorf("all of it is durable: woken %d times", woken)
		}
	})
}

func TestSynchronousReportsEachFlush(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := report(t, &feedback{reportFlush: true, synchronous: true})
		r.want("at the start", sent{0, 0, 0})
		r.moves(10, 10)
		r.want("first", sent{0, 10, 10})
		r.wait(time.Second)
		r.moves(20, 15)
		r.want("second", sent{time.Second, 20, 15})
		r.asked()
		r.want("asked", sent{time.Second, 20, 15})
		r.moves(20, 18)
		r.want("a flush before the one that is owed", sent{time.Second, 20, 18})
		r.moves(20, 20)
		r.want("the one that is owed", sent{time.Second, 20, 20})
	})
}

// TestStalledStoreDoesNotSilenceTheReports begins the stall at any moment
// between two ticks: the server, which gives up after the timeout and asks
// after half of it, must hear something well before.
func TestStalledStoreDoesNotSilenceTheReports(t *testing.T) {
	t.Parallel()
	const timeout = 60 * time.Second
	for begin := time.Second; begin < 32*time.Second; begin += 1700 * time.Millisecond {
		for _, interval := range []time.Duration{0, time.Hour} {
			synctest.Test(t, func(t *testing.T) {
				r := report(t, &feedback{interval: interval, timeout: timeout})
				r.wait(begin)
				r.mu.Lock()
				r.got = nil
				r.mu.Unlock()
				r.busySince.Store(replconn.Monotonic())
				r.wait(10 * time.Minute)
				r.mu.Lock()
				last := begin
				for _, s := range r.got {
					if d := s.after - last; d > timeout*3/8 {
						t.Errorf("stall at %s, interval %s: nothing for %s", begin, interval, d)
					}
					last = s.after
				}
				if d := begin + 10*time.Minute - last; d > timeout/4 {
					t.Errorf("stall at %s, interval %s: the last %s before the end", begin, interval, d)
				}
				r.got = nil
				r.mu.Unlock()
				r.busySince.Store(0)
				r.wait(10 * time.Minute)
				r.want("the stall is over")
			})
		}
	}
}

func TestShortWritesToTheStoreAreNoStall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := report(t, &feedback{timeout: time.Minute})
		for range 600 {
			r.busySince.Store(replconn.Monotonic())
			r.wait(time.Second)
		}
		r.want("ten minutes of writes")
	})
}

func TestReportingNeverHoldsTheStream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// A server that greets, and never reads again.
		conn, server := greeted(t, func(net.Conn) {})
		defer func() { _ = server.Close() }()
		f := &feedback{conn: conn, now: make(chan struct{}, 1), reportFlush: true, synchronous: true, position: func() (LSN, LSN) { return 1, 1 }}
		ended := make(chan struct{})
		go func() { f.run(t.Context()); close(ended) }()
		begin := time.Now()
		for range 10 {
			f.asked()
			f.flushed()
			f.request()
			synctest.Wait()
		}
		if d := time.Since(begin); d != 0 {
			t.Errorf("took %s", d)
		}
		// The end of the connection ends the reporting.
		_ = server.Close()
		<-ended
		_ = conn.Close()
	})
}

func TestReportingEndsWithItsContextAndWithTheConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := report(t, &feedback{interval: time.Second})
		r.want("at the start", sent{})
		_ = r.server.Close()
		r.wait(time.Second)
		select {
		case <-r.ended:
		default:
			t.Error("it goes on without a connection")
		}
	})
	synctest.Test(t, func(t *testing.T) {
		r := report(t, &feedback{interval: time.Second})
		_ = r.server.Close()
		synctest.Wait()
		select {
		case <-r.ended:
		default:
			t.Error("it goes on after the first status failed")
		}
	})
}
