package logstream

import (
	"testing"
	"time"
)

// The stream's goroutine and the flusher's both put the durable position into
// the status. The flusher's is held up here where the stream's has the status.
func TestDurablePositionOfTheStatusNeverGoesBack(t *testing.T) {
	t.Parallel()
	r := NewReceiver(nil, Options{SegmentSize: 16 << 20})
	r.begin(at(0), 0)
	for n := 1; n <= 20; n++ {
		r.mu.Lock()
		done := make(chan struct{})
		go func() {
			defer close(done)
			r.noteDurable()
		}()
		time.Sleep(2 * time.Millisecond) // it comes to where it waits for the lock
		r.flush.mu.Lock()
		r.flush.advance(at(n))
		r.flush.mu.Unlock()
		r.status.Written, r.status.Durable = at(n), at(n)
		r.mu.Unlock()
		<-done
		if _, durable := r.positions(); durable != LSN(n) {
			t.Fatalf("durable up to %s, %s is reported", LSN(n), durable)
		}
	}
	if err := r.flush.close(); err != nil {
		t.Error(err)
	}
}
