//go:build linux

package main

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const batch = 50 // rows in a transaction

// load inserts numbered rows into events, at most 100 transactions a second,
// until its context or its server ends.
type load struct {
	last  atomic.Int64 // number of the last row whose commit was acknowledged
	turn  sync.Mutex   // held during a transaction; whoever else takes it pauses the load
	end   context.CancelFunc
	ended chan struct{}
	err   error // why it ended; read after ended

	since time.Time // for rate
	from  int64
}

func startLoad(ctx context.Context, s *server) *load {
	conn, err := s.connect()
	check(err)
	l := &load{ended: make(chan struct{})}
	l.last.Store(number(s.row("SELECT max(id) FROM events")[0]))
	ctx, l.end = context.WithCancel(ctx)
	l.rate()
	go func() {
		defer close(l.ended)
		defer conn.Close(context.Background())
		for l.err == nil {
			l.turn.Lock()
			n := l.last.Load()
			_, l.err = conn.Exec(ctx, fmt.Sprintf("INSERT INTO events SELECT id, repeat(md5(id::text), 4) FROM generate_series(%d, %d::bigint) id",
				n+1, n+batch)).ReadAll()
			if l.err == nil {
				l.last.Store(n + batch)
			}
			l.turn.Unlock()
			time.Sleep(10 * time.Millisecond)
		}
	}()
	return l
}

// rate is the rows a second since it was last asked.
func (l *load) rate() int {
	now, rows := time.Now(), l.last.Load()
	perSecond := float64(rows-l.from) / now.Sub(l.since).Seconds()
	l.since, l.from = now, rows
	return int(perSecond)
}

// failure says why the load has ended, if it has.
func (l *load) failure() error {
	select {
	case <-l.ended:
		return fmt.Errorf("write load: %w", l.err)
	default:
		return nil
	}
}

// stop ends the load, and gives the number of the last acknowledged row.
func (l *load) stop() int64 {
	l.end()
	<-l.ended
	return l.last.Load()
}

// number reads a count that the server gave.
func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	check(err)
	return n
}
