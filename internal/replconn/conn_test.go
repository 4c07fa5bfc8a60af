package replconn

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"testing"
	"time"
)

func TestEndOfContextEndsAReadWithItsCause(t *testing.T) {
	t.Parallel()
	c, server := piped(t)
	cause := errors.New("the person pressed a key")
	ctx, cancel := context.WithCancelCause(t.Context())
	unwatch := c.Watch(ctx)
	// In mid frame, the worse case.
	go func() {
		_, _ = server.Write([]byte{'d', 0, 0})
		cancel(cause)
	}()
	if _, _, err := c.Receive(); err != cause {
		t.Errorf("%v, want the cause", err)
	}
	unwatch()
	c.Resume()
	go func() { _, _ = server.Write([]byte{0, 5, 'x'}) }()
	if kind, body, err := c.Receive(); kind != 'd' || string(body) != "x" || err != nil {
		t.Errorf("after Resume: %q %q %v", kind, body, err)
	}
}

func TestEndOfContextEndsAWriteWithItsCause(t *testing.T) {
	t.Parallel()
	c, _ := piped(t) // whose other side never reads
	cause := errors.New("cause")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer c.Watch(ctx)()
	time.AfterFunc(20*time.Millisecond, func() { cancel(cause) })
	done := make(chan error, 1)
	go func() { done <- c.SendCopyData([]byte("status")) }()
	select {
	case err := <-done:
		if err != cause {
			t.Errorf("%v, want the cause", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("the write still blocks")
	}
}

func TestContextThatIsNotWatchedAnyMoreEndsNothing(t *testing.T) {
	t.Parallel()
	c, server := piped(t)
	ctx, cancel := context.WithCancel(t.Context())
	c.Watch(ctx)()
	cancel()
	go func() { _, _ = server.Write(frame('d', nil)) }()
	if _, _, err := c.Receive(); err != nil {
		t.Error(err)
	}
	_ = server.Close()
	if _, _, err := c.Receive(); err != ErrClosedByServer {
		t.Errorf("%v, want that the server closed the connection", err)
	}
}

func TestInterruptHoldsUntilResume(t *testing.T) {
	t.Parallel()
	c, server := piped(t)
	time.AfterFunc(10*time.Millisecond, c.Interrupt)
	for range 3 {
		if _, _, err := c.Receive(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("%v, want a deadline", err)
		}
	}
	c.Resume()
	// What was sent while it was interrupted is there, and writes went on.
	go func() {
		_, _ = server.Write(frame('d', []byte("late")))
	}()
	if _, body, err := c.Receive(); string(body) != "late" || err != nil {
		t.Errorf("%q %v", body, err)
	}
}

func TestInterruptDoesNotHoldWrites(t *testing.T) {
	t.Parallel()
	c, server := piped(t)
	c.Interrupt()
	go func() { _, _ = io.Copy(io.Discard, server) }()
	if err := c.SendCopyData([]byte("status")); err != nil {
		t.Error(err)
	}
}

// TestSendingBesideReading has several goroutines send while one reads: no two
// messages mix. The race detector looks at the rest.
func TestSendingBesideReading(t *testing.T) {
	t.Parallel()
	const senders, each = 4, 200
	c, server := piped(t)
	var all sync.WaitGroup
	for s := range senders {
		all.Go(func() {
			for i := range each {
				if err := c.SendCopyData(bytes.Repeat([]byte{byte(s)}, 1+i)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Go(func() {
		for range each {
			if _, err := server.Write(frame('d', []byte("wal"))); err != nil {
				t.Error(err)
				return
			}
		}
	})
	all.Go(func() {
		for range each {
			if kind, body, err := c.Receive(); kind != 'd' || string(body) != "wal" || err != nil {
				t.Errorf("%q %q %v", kind, body, err)
				return
			}
		}
	})
	received := newFrameReader(server)
	next := [senders]int{}
	for range senders * each {
		kind, body, err := received.next()
		if err != nil || kind != 'd' || len(body) == 0 || int(body[0]) >= senders {
			t.Fatalf("%q %x %v", kind, body, err)
		}
		s := body[0]
		next[s]++
		if len(body) != next[s] || bytes.Count(body, []byte{s}) != len(body) {
			t.Fatalf("sender %d: message %x, want %d bytes", s, body, next[s])
		}
	}
	all.Wait()
}

func TestWhatIsSent(t *testing.T) {
	t.Parallel()
	m := &memoryConn{Reader: bytes.NewReader(nil)}
	c := over(m)
	for _, err := range []error{
		c.Send("IDENTIFY_SYSTEM"), c.SendCopyData([]byte("longer")), c.SendCopyData([]byte("x")), c.SendCopyData(nil), c.SendCopyDone(), c.Close(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want := "Q\x00\x00\x00\x14IDENTIFY_SYSTEM\x00" + "d\x00\x00\x00\x0alonger" + "d\x00\x00\x00\x05x" + "d\x00\x00\x00\x04" + "c\x00\x00\x00\x04" + "X\x00\x00\x00\x04"
	if got := m.written.String(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestCloseDoesNotWaitForAServerThatDoesNotRead(t *testing.T) {
	t.Parallel()
	c, _ := piped(t)
	sending := make(chan error, 1)
	go func() { sending <- c.SendCopyData([]byte("status")) }()
	time.Sleep(10 * time.Millisecond) // it holds the lock for writing now
	begin := time.Now()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("took %s", took)
	}
	if err := <-sending; err == nil {
		t.Error("a message to nobody was sent")
	}
}
