package pgtest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Writer writes into a cluster while a test does something else. Each of its
// transactions inserts some rows, numbered on without gaps from 1, and stores
// the last number in another table. So a consistent copy of the cluster holds
// rows 1 to n for some n, and says n in both tables.
type Writer struct {
	committed atomic.Int64
	cancel    context.CancelFunc
	done      chan struct{}
	err       error
}

// WriterOptions are for StartWriter. The zero value is a good choice.
type WriterOptions struct {
	// Rows is the number of rows of a transaction; 0 means 10.
	Rows int
	// RowBytes is the size in bytes of the text in each row; 0 means 200.
	RowBytes int
	// Pause is the time between two transactions; 0 means none.
	Pause time.Duration
	// ConnString says where to connect; "" means the cluster's socket.
	ConnString string
}

// StartWriter starts to write into the database postgres of c. The writer
// connects again when its connection breaks, and ends with the test. A
// cluster can have only one at a time.
func StartWriter(t testing.TB, c *Cluster, o WriterOptions) *Writer {
	t.Helper()
	if o.Rows <= 0 {
		o.Rows = 10
	}
	if o.RowBytes <= 0 {
		o.RowBytes = 200
	}
	if o.ConnString == "" {
		o.ConnString = c.ConnString("application_name=writer")
	}
	c.SQL(t, `
		CREATE TABLE IF NOT EXISTS writer_row (n bigint PRIMARY KEY, t text);
		CREATE TABLE IF NOT EXISTS writer_last (n bigint);
		INSERT INTO writer_last SELECT 0 WHERE NOT EXISTS (SELECT FROM writer_last)`)
	ctx, cancel := context.WithCancel(context.Background())
	w := &Writer{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		w.err = w.work(ctx, o)
	}()
	t.Cleanup(func() {
		cancel()
		<-w.done
	})
	return w
}

// work connects and writes until ctx ends or the server refuses a statement.
func (w *Writer) work(ctx context.Context, o WriterOptions) error {
	for ctx.Err() == nil {
		err := w.session(ctx, o)
		var refused *pgconn.PgError
		// Classes 57 (shut down, not yet started), 25 (a standby, read-only)
		// and 53 (too many connections) pass.
		if errors.As(err, &refused) && !strings.Contains("57 25 53", refused.Code[:2]) {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return nil
}

// writerGrace is how long a statement may take when the writer is stopped.
const writerGrace = 5 * time.Second

// session writes on one connection until stop ends.
func (w *Writer) session(stop context.Context, o WriterOptions) error {
	connectCtx, cancel := context.WithTimeout(stop, 5*time.Second)
	defer cancel()
	conn, err := pgconn.Connect(connectCtx, o.ConnString)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = conn.Close(ctx)
	}()
	// The statement that is under way when the writer is stopped may end:
	// given up, it could be committed after Stop has returned.
	ctx, giveUp := context.WithCancel(context.WithoutCancel(stop))
	defer giveUp()
	defer context.AfterFunc(stop, func() { time.AfterFunc(writerGrace, giveUp) })()
	// Whether the last commit of a lost connection took place is asked here.
	text, err := execute(ctx, conn, "SELECT n FROM writer_last")
	if err != nil {
		return err
	}
	last, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return err
	}
	w.committed.Store(last)
	for stop.Err() == nil {
		next := last + int64(o.Rows)
		_, err := execute(ctx, conn, fmt.Sprintf(`
			INSERT INTO writer_row SELECT n, left(repeat(md5(n::text), %d), %d) FROM generate_series(%d, %d) AS n;
			UPDATE writer_last SET n = %d`, o.RowBytes/32+1, o.RowBytes, last+1, next, next))
		if err != nil {
			return err
		}
		last = next
		w.committed.Store(last)
		if o.Pause > 0 {
			select {
			case <-time.After(o.Pause):
			case <-stop.Done():
			}
		}
	}
	return nil
}

// Committed is the number of the last row that is known to be committed. All
// rows before it are committed too.
func (w *Writer) Committed() int64 { return w.committed.Load() }

// WaitCommitted waits until rows rows more are committed than now.
func (w *Writer) WaitCommitted(t testing.TB, rows int64) {
	t.Helper()
	want := w.Committed() + rows
	deadline := time.Now().Add(30 * time.Second)
	for w.Committed() < want {
		select {
		case <-w.done:
			t.Fatalf("writer: it has ended: %v", w.err)
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("writer: at row %d after 30 s, want %d", w.Committed(), want)
		}
	}
}

// Stop ends the writer and waits until it has. The test fails if the server
// refused one of its statements.
func (w *Writer) Stop(t testing.TB) {
	t.Helper()
	w.cancel()
	<-w.done
	if w.err != nil {
		t.Errorf("writer: %v", w.err)
	}
}

// AssertContains checks that c holds all rows up to upTo, and that what it
// holds is consistent: no gaps, and both tables end with the same number. It
// gives that number.
func (w *Writer) AssertContains(t testing.TB, c *Cluster, upTo int64) int64 {
	t.Helper()
	last, err := contains(c, upTo)
	if err != nil {
		t.Errorf("writer's rows: %v", err)
	}
	return last
}

func contains(c *Cluster, upTo int64) (int64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), sqlTimeout)
	defer cancel()
	// One statement, one snapshot. The rows are read by a scan and once more
	// through the index.
	text, err := c.tryQuery(ctx, "postgres", `SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off;
		SELECT count(*), coalesce(min(n), 1), coalesce(max(n), 0), (SELECT n FROM writer_last),
			count(*) FILTER (WHERE t <> left(repeat(md5(n::text), length(t) / 32 + 1), length(t))) FROM writer_row`)
	if err != nil {
		return 0, err
	}
	var count, first, highest, last, bad int64
	if _, err := fmt.Sscanf(strings.ReplaceAll(text, "|", " "), "%d %d %d %d %d", &count, &first, &highest, &last, &bad); err != nil {
		return 0, err
	}
	switch {
	case count != highest || first != 1:
		return last, fmt.Errorf("%d rows from %d to %d: there are gaps", count, first, highest)
	case last != highest:
		return last, fmt.Errorf("the last row is %d, but its transaction says %d", highest, last)
	case bad != 0:
		return last, fmt.Errorf("%d rows have another text", bad)
	case highest < upTo:
		return last, fmt.Errorf("the last row is %d, want at least %d", highest, upTo)
	}
	indexed, err := c.tryQuery(ctx, "postgres", fmt.Sprintf(`SET enable_seqscan = off; SELECT count(*) FROM writer_row WHERE n BETWEEN 1 AND %d`, highest))
	if err != nil {
		return last, err
	}
	if indexed != strconv.FormatInt(highest, 10) {
		return last, fmt.Errorf("the index finds %s of %d rows", indexed, highest)
	}
	return last, nil
}
