package metrics_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pgbraid/pgbraid/internal/metrics"
	"github.com/pgbraid/pgbraid/internal/pgtest"
	"github.com/pgbraid/pgbraid/logstream"
)

// serve serves a Receive on loopback and returns its address.
func serve(t *testing.T, m *metrics.Receive) string {
	t.Helper()
	address, err := metrics.ParseAddress(":0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := m.Listen(t.Context(), address, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		s.Close(ctx)
	})
	return s.Addr()
}

func get(t *testing.T, address, path string) (code int, body string) {
	t.Helper()
	r, err := http.Get("http://" + address + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

// scrape returns the samples by name and labels, as the text format has them.
func scrape(t *testing.T, address string) map[string]float64 {
	t.Helper()
	code, body := get(t, address, "/metrics")
	if code != http.StatusOK {
		t.Fatalf("/metrics: %d %s", code, body)
	}
	samples := map[string]float64{}
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		samples[name] = v
	}
	return samples
}

func eventually(t *testing.T, what string, f func() (ok bool, got string)) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		ok, got := f()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %s", what, got)
		}
	}
}

func TestNumbersAgreeWithTheServerAndHealthFollowsIt(t *testing.T) {
	t.Parallel()
	c := pgtest.Newest(t).Init(t, pgtest.SegmentSize(1))
	c.Start(t)
	config, err := pgconn.ParseConfig(c.ConnString() + " replication=true application_name=watched")
	if err != nil {
		t.Fatal(err)
	}
	var a *logstream.Archiver
	m := metrics.NewReceive(func() logstream.Status { return a.Status() })
	a = logstream.NewArchiver(config, logstream.ArchiveOptions{
		Directory: pgtest.TempDir(t), Synchronous: true, StatusInterval: time.Second, OnFlush: m.ObserveFlush,
	})
	address := serve(t, m)
	before := scrape(t, address)
	if _, known := before["pgbraid_receive_written_lsn_bytes"]; known || before["pgbraid_receive_ready"] != 0 {
		t.Errorf("before the first connection: %v", before)
	}
	done := make(chan error, 1)
	go func() { done <- a.Run(t.Context()) }()
	health := func(path string, want int, state string) {
		t.Helper()
		eventually(t, path, func() (bool, string) {
			code, body := get(t, address, path)
			return code == want && (state == "" || strings.Contains(body, `"state":"`+state+`"`)), fmt.Sprint(code, " ", body)
		})
	}
	health("/readyz", 200, "streaming")

	c.SQL(t, "CREATE TABLE t AS SELECT repeat('x', 100) FROM generate_series(1, 50000)")
	c.SwitchWAL(t)
	c.SQL(t, "CREATE TABLE u AS SELECT generate_series(1, 1000)")
	lsn := func(column string) float64 {
		text := c.Query(t, "SELECT "+column+" FROM pg_stat_replication WHERE application_name = 'watched'")
		l, err := logstream.ParseLSN(text)
		if err != nil {
			t.Fatal(err)
		}
		return float64(l)
	}
	// Background processes write a little WAL now and then, so the two are
	// compared until they agree on all positions.
	eventually(t, "positions", func() (bool, string) {
		s := scrape(t, address)
		want := fmt.Sprint(lsn("pg_current_wal_lsn()"), lsn("sent_lsn"), lsn("write_lsn"), lsn("write_lsn"), lsn("flush_lsn"))
		got := fmt.Sprint(s["pgbraid_receive_server_lsn_bytes"], s["pgbraid_receive_server_lsn_bytes"],
			s["pgbraid_receive_received_lsn_bytes"], s["pgbraid_receive_written_lsn_bytes"], s["pgbraid_receive_flushed_lsn_bytes"])
		return got == want, got + ", the server says " + want
	})
	s := scrape(t, address)
	for name, want := range map[string]float64{
		`pgbraid_receive_state{state="streaming"}`:        1,
		`pgbraid_receive_state{state="waiting"}`:          0,
		`pgbraid_receive_timeline`:                        1,
		`pgbraid_receive_lag_bytes{position="written"}`:   0,
		`pgbraid_receive_lag_bytes{position="flushed"}`:   0,
		`pgbraid_receive_lag_seconds{position="flushed"}`: 0,
		`pgbraid_receive_reconnects_total`:                0,
		`pgbraid_receive_gaps_total`:                      0,
		`pgbraid_receive_lost_wal_total`:                  0,
		`pgbraid_receive_disk_full`:                       0,
		`pgbraid_receive_ready`:                           1,
	} {
		if got, ok := s[name]; !ok || got != want {
			t.Errorf("%s is %v (%t), want %v", name, got, ok, want)
		}
	}
	// The receiver began at the start of a segment and got each byte once.
	end, received := s["pgbraid_receive_written_lsn_bytes"], s["pgbraid_receive_bytes_total"]
	if begin := end - received; int64(begin)%(1<<20) != 0 {
		t.Errorf("%v bytes up to %v did not begin with a segment", received, end)
	}
	if got, want := s["pgbraid_receive_segments_total"], float64(int64(received)>>20); got != want || want < 5 {
		t.Errorf("%v segments, want %v, and 5 or more", got, want)
	}
	if s["pgbraid_receive_fsync_seconds_count"] < s["pgbraid_receive_segments_total"] {
		t.Errorf("%v fsyncs for %v segments", s["pgbraid_receive_fsync_seconds_count"], s["pgbraid_receive_segments_total"])
	}

	c.Stop(t, pgtest.Fast)
	health("/readyz", 503, "")
	health("/healthz", 200, "waiting")
	s = scrape(t, address)
	if s[`pgbraid_receive_last_error{class="connection"}`] != 1 || s["pgbraid_receive_reconnects_total"] < 1 {
		t.Errorf("after the server's end: %v", s)
	}
	if lag := s[`pgbraid_receive_lag_seconds{position="flushed"}`]; lag <= 0 {
		t.Errorf("without a server the lag is %v s", lag)
	}
	for _, path := range []string{"/metrics", "/healthz", "/readyz"} {
		_, body := get(t, address, path)
		for _, secret := range []string{c.SocketDir, "postgres", "watched", "connect"} {
			body := strings.ReplaceAll(strings.ReplaceAll(body, "connecting", ""), "connection", "")
			body = strings.ReplaceAll(body, "reconnects", "")
			if strings.Contains(body, secret) {
				t.Errorf("%s tells %q", path, secret)
			}
		}
	}
	c.Start(t)
	health("/readyz", 200, "streaming")
	a.Stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	health("/healthz", 503, "stopped")
}

// fixed serves one status for ever.
func fixed(t *testing.T, s logstream.Status) string {
	t.Helper()
	return serve(t, metrics.NewReceive(func() logstream.Status { return s }))
}

func TestReadyWhileWALComesIn(t *testing.T) {
	t.Parallel()
	ago := func(d time.Duration) time.Time { return time.Now().Add(-d) }
	for name, c := range map[string]struct {
		status logstream.Status
		want   int
	}{
		"streaming":              {logstream.Status{State: logstream.Streaming}, 200},
		"idle server":            {logstream.Status{State: logstream.Streaming, LastMessage: ago(time.Hour)}, 200},
		"WAL that does not come": {logstream.Status{State: logstream.Streaming, LastMessage: ago(2 * time.Minute), WrittenBehind: ago(time.Hour)}, 503},
		"behind but coming":      {logstream.Status{State: logstream.Streaming, LastMessage: ago(time.Second), WrittenBehind: ago(time.Hour)}, 200},
		"just connected, behind": {logstream.Status{State: logstream.Streaming, LastMessage: ago(time.Hour), WrittenBehind: ago(time.Second)}, 200},
		"between timelines":      {logstream.Status{State: logstream.TimelineEnd}, 200},
		"from the archive":       {logstream.Status{State: logstream.FetchingFromArchive}, 200},
		"connecting":             {logstream.Status{State: logstream.Connecting}, 503},
		"identifying":            {logstream.Status{State: logstream.Identifying}, 503},
		"waiting":                {logstream.Status{State: logstream.Waiting}, 503},
		"stopped":                {logstream.Status{State: logstream.Stopped}, 503},
		"a slow write":           {logstream.Status{State: logstream.Streaming, Stalled: 10 * time.Second}, 200},
		"a write that hangs":     {logstream.Status{State: logstream.Streaming, Stalled: 31 * time.Second}, 503},
		"a hanging archive disk": {logstream.Status{State: logstream.FetchingFromArchive, Stalled: 31 * time.Second}, 503},
	} {
		address := fixed(t, c.status)
		code, body := get(t, address, "/readyz")
		if code != c.want || !json.Valid([]byte(body)) || strings.Contains(body, `"ready":true`) != (c.want == 200) {
			t.Errorf("%s: %d %s, want %d", name, code, body, c.want)
		}
		if got := scrape(t, address)["pgbraid_receive_ready"]; (got == 1) != (c.want == 200) {
			t.Errorf("%s: the metric says %v", name, got)
		}
	}
}

func TestOnlyThreePathsAreServedAndOnlyForReading(t *testing.T) {
	t.Parallel()
	address := fixed(t, logstream.Status{State: logstream.Streaming})
	for _, path := range []string{"/", "/debug/pprof/", "/metrics/x"} {
		if code, _ := get(t, address, path); code != http.StatusNotFound {
			t.Errorf("%s: %d", path, code)
		}
	}
	r, err := http.Post("http://"+address+"/healthz", "text/plain", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Body.Close()
	if r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", r.StatusCode)
	}
}

func TestAPortAloneIsOnLoopback(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		":9187": "127.0.0.1:9187", "9187": "127.0.0.1:9187", "0": "127.0.0.1:0",
		"0.0.0.0:9187": "0.0.0.0:9187", "[::]:9187": "[::]:9187", "[::1]:9187": "[::1]:9187", "db1:9187": "db1:9187",
		"": "", ":": "", "db1": "", "db1:": "", ":65536": "", ":-1": "", ":http": "", "::1:9187": "", "1:2:3": "",
	} {
		got, err := metrics.ParseAddress(text)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q is %q, %v, want %q", text, got, err, want)
		}
	}
	host, _, err := net.SplitHostPort(fixed(t, logstream.Status{}))
	if err != nil || !net.ParseIP(host).IsLoopback() {
		t.Errorf("listens on %s, %v", host, err)
	}
}

func TestAnAddressInUseIsAnErrorAtOnce(t *testing.T) {
	t.Parallel()
	address := fixed(t, logstream.Status{})
	if _, err := metrics.NewReceive(nil).Listen(t.Context(), address, nil); err == nil {
		t.Error("no error")
	}
}

func TestAClientThatSendsNoRequestIsDropped(t *testing.T) {
	t.Parallel()
	conn, err := net.Dial("tcp", fixed(t, logstream.Status{}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /metrics HTTP/1.1\r\nHost: x\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(15 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Errorf("still open: %v", err)
	}
}

func TestDashboardAsksForMetricsThatExist(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("../../docs/examples/grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(content) {
		t.Fatal("no valid JSON")
	}
	now := time.Now()
	exists := map[string]bool{}
	for sample := range scrape(t, fixed(t, logstream.Status{
		State: logstream.Streaming, Written: logstream.Position{Timeline: 1, LSN: 1}, ServerEnd: 2, LastMessage: now, WrittenBehind: now,
	})) {
		name, _, _ := strings.Cut(sample, "{")
		exists[name] = true
	}
	asked := map[string]bool{}
	for _, name := range regexp.MustCompile(`\b(pgbraid|process|go)_\w+`).FindAllString(string(content), -1) {
		asked[name] = true
		if !exists[name] {
			t.Errorf("there is no %s", name)
		}
	}
	if len(asked) < 15 {
		t.Errorf("the dashboard asks for %d metrics only", len(asked))
	}
	for name := range exists {
		if strings.HasPrefix(name, "pgbraid_") && !asked[name] && !strings.HasPrefix(name, "pgbraid_receive_fsync_") {
			t.Errorf("the dashboard does not show %s", name)
		}
	}
}
