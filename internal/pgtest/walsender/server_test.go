package walsender

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

func TestStartupTellsWhatAServerTells(t *testing.T) {
	t.Parallel()
	s := New(t, Options{Version: "15.18 (Debian 15.18-0+deb12u1)",
		Parameters: map[string]string{"in_hot_standby": "on", "TimeZone": "-", "extra": "1"}})
	// prefer makes the client ask for TLS first.
	config := strings.Replace(s.ConnString(), "disable", "prefer", 1) + " replication=true application_name=app"
	c, err := pgconn.Connect(testContext(t), config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	for name, want := range map[string]string{
		"server_version": "15.18 (Debian 15.18-0+deb12u1)", "integer_datetimes": "on", "server_encoding": "UTF8",
		"client_encoding": "UTF8", "in_hot_standby": "on", "TimeZone": "", "extra": "1", "application_name": "app",
	} {
		if got := c.ParameterStatus(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if c.PID() != 1001 {
		t.Errorf("PID is %d, want 1001", c.PID())
	}
	if got := s.Startups(); len(got) != 1 || got[0]["replication"] != "true" || got[0]["user"] != "replicator" {
		t.Errorf("start-ups are %v", got)
	}
}

func TestDefaultAnswers(t *testing.T) {
	t.Parallel()
	s := New(t, Options{Version: "18.4", SystemID: "7123"})
	s.AddSlot("kept", Slot{RestartLSN: 0x1000000, Timeline: 3})
	c := connect(t, s)
	for _, step := range []struct{ query, want, state string }{
		{"SHOW wal_segment_size", "16MB", ""},
		{"SHOW data_directory_mode;", "0700", ""},
		{"show server_version_num", "180004", ""},
		{"SHOW wal_sender_timeout", "1min", ""},
		{"SHOW nonsense", "", "42704"},
		{"IDENTIFY_SYSTEM", "7123|1|0/3000000|NULL", ""},
		{"TIMELINE_HISTORY 1", "", "58P01"},
		{`CREATE_REPLICATION_SLOT "a" PHYSICAL ( RESERVE_WAL )`, "a|0/0|NULL|NULL", ""},
		{`CREATE_REPLICATION_SLOT "b" PHYSICAL`, "b|0/0|NULL|NULL", ""},
		{`CREATE_REPLICATION_SLOT "B-" PHYSICAL`, "", "42602"},
		{`READ_REPLICATION_SLOT "a"`, "physical|0/3000000|1", ""},
		{`READ_REPLICATION_SLOT "b"`, "physical|NULL|NULL", ""},
		{`READ_REPLICATION_SLOT "kept"`, "physical|0/1000000|3", ""},
		{`READ_REPLICATION_SLOT "none"`, "NULL|NULL|NULL", ""},
		{`CREATE_REPLICATION_SLOT "t" TEMPORARY PHYSICAL`, "t|0/0|NULL|NULL", ""},
		{`DROP_REPLICATION_SLOT "b"`, "", ""},
		{`CREATE_REPLICATION_SLOT "a" PHYSICAL`, "", "42710"},
		// The error has taken the temporary slot with it.
		{`DROP_REPLICATION_SLOT "t"`, "", "42704"},
	} {
		row, err := query(t, c, step.query)
		if step.state != "" {
			wantState(t, err, step.state)
		} else if err != nil || strings.Join(row, "|") != step.want {
			t.Errorf("%s: got %q, %v, want %q", step.query, row, err, step.want)
		}
	}
	if got := s.Queries(); len(got) != 18 || got[0] != "SHOW wal_segment_size" {
		t.Errorf("queries are %q", got)
	}
}

func TestLSNIsPaddedFromRelease19On(t *testing.T) {
	t.Parallel()
	s := New(t, Options{Version: "19devel", FlushLSN: 0x30000})
	row, err := query(t, connect(t, s), "IDENTIFY_SYSTEM")
	if err != nil || row[2] != "0/00030000" {
		t.Errorf("got %q, %v", row, err)
	}
}

func TestLaterHandlersOverrideAndOnceIsOnce(t *testing.T) {
	t.Parallel()
	s := New(t, Options{})
	passed := false
	s.Handle("SHOW", func(c *Conn) error { passed = true; return Pass })
	s.HandleOnce("SHOW wal_segment_size", Failing("57P03", "not now", "a detail", "a hint"))
	c := connect(t, s)
	_, err := query(t, c, "SHOW wal_segment_size")
	wantState(t, err, "57P03")
	var pg *pgconn.PgError
	if errors.As(err, &pg) && (pg.Detail != "a detail" || pg.Hint != "a hint") {
		t.Errorf("detail %q, hint %q", pg.Detail, pg.Hint)
	}
	row, err := query(t, c, "SHOW wal_segment_size")
	if err != nil || row[0] != "16MB" || !passed {
		t.Errorf("got %q, %v, passed %v", row, err, passed)
	}
}

func TestNoticesBeforeEachMessage(t *testing.T) {
	t.Parallel()
	s := New(t, Options{})
	s.HandleOnce("IDENTIFY_SYSTEM", func(c *Conn) error {
		c.BeforeEach(func(c *Conn) { c.Notice("WARNING", "01000", "look") })
		return Pass
	})
	w := hijack(t, s)
	w.query("IDENTIFY_SYSTEM")
	got := strings.Join(w.read(nil).messages, " ")
	want := "N:WARNING T N:WARNING D:7512345678901234567:1:0/3000000:NULL N:WARNING C:SELECT N:WARNING Z"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestFaultsOnTheWire(t *testing.T) {
	t.Parallel()
	for name, run := range map[string]Hook{
		"cut":       Cut,
		"reset":     Reset,
		"cut after": func(c *Conn) error { c.CutAfter(7); c.IdentifySystem(Position{1, 1}); return nil },
		"reset after": func(c *Conn) error {
			c.ResetAfter(7)
			c.IdentifySystem(Position{1, 1})
			return nil
		},
		"length of 4 GB":  func(c *Conn) error { c.Frame('d', 0xFFFFFFFF, nil); c.Hang(); return nil },
		"length too low":  func(c *Conn) error { c.Frame('T', 3, nil); c.Hang(); return nil },
		"unknown type":    func(c *Conn) error { c.Frame('?', 4, nil); c.Hang(); return nil },
		"fatal":           func(c *Conn) error { c.Fatal("57P01", "terminating connection"); return nil },
		"stopped in rows": func(c *Conn) error { c.Row(Columns{"a"}, "1"); c.Close(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := New(t, Options{})
			s.Handle("IDENTIFY_SYSTEM", run)
			c := connect(t, s)
			_, err := query(t, c, "IDENTIFY_SYSTEM")
			if err == nil || testContext(t).Err() != nil {
				t.Errorf("error is %v", err)
			}
			if name == "fatal" {
				wantState(t, err, "57P01")
			}
		})
	}
}

func TestCutSendsExactlySoManyBytes(t *testing.T) {
	t.Parallel()
	for n := range int64(60) {
		s := New(t, Options{})
		s.Handle("IDENTIFY_SYSTEM", func(c *Conn) error {
			c.CutAfter(n)
			return c.server.identifyForTest(c)
		})
		w := hijack(t, s)
		w.query("IDENTIFY_SYSTEM")
		got := 0
		buf := make([]byte, 1000)
		for {
			k, err := w.h.Conn.Read(buf)
			got += k
			if err != nil {
				if !isEnd(err) {
					t.Fatal(err)
				}
				break
			}
		}
		if int64(got) != n {
			t.Fatalf("got %d bytes, want %d", got, n)
		}
	}
}

func (s *Server) identifyForTest(c *Conn) error {
	c.IdentifySystem(s.position())
	return nil
}

func TestSplitTearsMessages(t *testing.T) {
	t.Parallel()
	s := New(t, Options{OnStartup: func(c *Conn) error { c.Split(1, 0); c.Welcome(); return nil }})
	row, err := query(t, connect(t, s), "IDENTIFY_SYSTEM")
	if err != nil || len(row) != 4 {
		t.Errorf("got %q, %v", row, err)
	}
}

func TestServerComesBackOnTheSamePort(t *testing.T) {
	t.Parallel()
	s := New(t, Options{})
	c := connect(t, s)
	s.Stop()
	if _, err := query(t, c, "IDENTIFY_SYSTEM"); err == nil {
		t.Error("a stopped server answered")
	}
	if _, err := pgconn.Connect(testContext(t), s.ConnString()); err == nil {
		t.Error("a stopped server took a connection")
	}
	s.Start()
	if _, err := query(t, connect(t, s), "IDENTIFY_SYSTEM"); err != nil {
		t.Error(err)
	}
}

func TestCancelIsCounted(t *testing.T) {
	t.Parallel()
	s := New(t, Options{})
	if err := connect(t, s).CancelRequest(testContext(t)); err != nil {
		t.Error(err)
	}
	if s.Cancels() != 1 {
		t.Errorf("%d cancels, want 1", s.Cancels())
	}
}

func TestStartupCanBeRefused(t *testing.T) {
	t.Parallel()
	s := New(t, Options{OnStartup: func(c *Conn) error {
		if c.ID() == 1 {
			c.Fatal("53300", "sorry, too many clients already")
		} else {
			c.Welcome()
		}
		return nil
	}})
	_, err := pgconn.Connect(testContext(t), s.ConnString())
	wantState(t, err, "53300")
	connect(t, s)
}

func TestUploadedManifestIsKept(t *testing.T) {
	t.Parallel()
	s := New(t, Options{})
	w := hijack(t, s)
	w.query("UPLOAD_MANIFEST")
	w.send(&pgproto3.CopyData{Data: []byte("ab")}, &pgproto3.CopyData{Data: []byte("c")}, &pgproto3.CopyDone{})
	if r := w.read(nil); !slices.Equal(r.messages, []string{"*pgproto3.CopyInResponse", "C:UPLOAD_MANIFEST", "Z"}) {
		t.Errorf("got %q", r.messages)
	}
	if u := s.Uploads(); len(u) != 1 || string(u[0]) != "abc" {
		t.Errorf("uploads are %q", u)
	}
}

func TestMistakesFailTheTest(t *testing.T) {
	t.Parallel()
	for name, run := range map[string]func(s *Server, w *wire){
		"handler's error": func(s *Server, w *wire) {
			s.Handle("X", func(*Conn) error { return errors.New("wrong") })
			w.query("X")
			w.read(nil)
		},
		"unknown command": func(s *Server, w *wire) {
			w.query("NONSENSE")
			w.read(nil)
		},
		"status after CopyDone": func(s *Server, w *wire) {
			s.ServeWAL(NewWAL(0, 0x1000000))
			w.query("START_REPLICATION 0/1000000 TIMELINE 1")
			w.send(&pgproto3.CopyDone{})
			w.report(1, 1)
			w.read(nil)
			w.query("IDENTIFY_SYSTEM")
			w.read(nil)
		},
		"silent client": func(s *Server, w *wire) {
			s.Handle("X", func(c *Conn) error { _, err := c.Receive(); return err })
			w.query("X")
			w.read(nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &recorder{TB: t}
			s := New(r, Options{Timeout: 100 * time.Millisecond})
			run(s, hijack(t, s))
			if r.count() != 1 {
				t.Errorf("reports are %q, want one", r.reports)
			}
		})
	}
}

func TestClientThatGoesIsNoMistakeAndLeavesNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("run", func(t *testing.T) {
		s := New(t, Options{})
		s.ServeWAL(NewWAL(0, 0x1000000))
		s.Handle("WAIT", func(c *Conn) error { _, err := c.WaitCopyDone(); return err })
		s.Handle("HANG", Hang)
		for _, text := range []string{"WAIT", "HANG", "START_REPLICATION 0/0 TIMELINE 1", "START_REPLICATION 0/1000000 TIMELINE 1"} {
			w := hijack(t, s)
			w.query(text)
			s.WaitQuery(text, 1)
			w.h.Conn.Close()
		}
		connect(t, s)
	})
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<16)
			t.Fatalf("%d goroutines, %d before\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestStopWaitsForHandlers(t *testing.T) {
	t.Parallel()
	s := New(t, Options{})
	var finished atomic.Bool
	s.Handle("HANG", func(c *Conn) error {
		c.Hang()
		time.Sleep(50 * time.Millisecond)
		finished.Store(true)
		return nil
	})
	hijack(t, s).query("HANG")
	s.WaitQuery("HANG", 1)
	s.Stop()
	if !finished.Load() {
		t.Error("a handler still runs")
	}
}
