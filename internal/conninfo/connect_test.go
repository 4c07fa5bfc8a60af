package conninfo

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// walsender is a scripted server for the start-up only. It keeps the passwords
// that it was sent.
type walsender struct {
	addr     string
	password string            // wanted in clear text; "" trusts
	notice   bool              // sends a notice before its question
	reports  map[string]string // parameter status
	readOnly string            // what SHOW transaction_read_only answers
	silent   bool              // answers no command

	mu    sync.Mutex
	dials int
	sent  []string
	seen  []map[string]string // the parameters of each start-up
}

func (w *walsender) start(t *testing.T, network, addr string) *walsender {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	w.addr = l.Addr().String()
	var serving sync.WaitGroup
	var conns []net.Conn
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			w.mu.Lock()
			w.dials++
			conns = append(conns, c)
			w.mu.Unlock()
			serving.Go(func() { defer c.Close(); w.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		w.mu.Lock()
		for _, c := range conns {
			c.Close() // the end of its client may not reach it
		}
		w.mu.Unlock()
		serving.Wait()
	})
	return w
}

func (w *walsender) port() string { _, port, _ := net.SplitHostPort(w.addr); return port }

func (w *walsender) serve(c net.Conn) {
	c.SetDeadline(time.Now().Add(10 * time.Second))
	b := pgproto3.NewBackend(c, c)
	m, err := b.ReceiveStartupMessage()
	if err != nil {
		return
	}
	w.mu.Lock()
	w.seen = append(w.seen, m.(*pgproto3.StartupMessage).Parameters)
	w.mu.Unlock()
	if w.notice {
		b.Send(&pgproto3.NoticeResponse{Message: "a notice that is a bit longer than a header"})
	}
	if w.password != "" {
		b.Send(&pgproto3.AuthenticationCleartextPassword{})
		b.Flush()
		b.SetAuthType(pgproto3.AuthTypeCleartextPassword)
		m, err := b.Receive()
		if err != nil {
			return
		}
		p, ok := m.(*pgproto3.PasswordMessage)
		if !ok {
			return
		}
		w.mu.Lock()
		w.sent = append(w.sent, p.Password)
		w.mu.Unlock()
		if p.Password != w.password {
			b.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "28P01", Message: "password authentication failed"})
			b.Flush()
			return
		}
	}
	b.Send(&pgproto3.AuthenticationOk{})
	for k, v := range w.reports {
		b.Send(&pgproto3.ParameterStatus{Name: k, Value: v})
	}
	b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	b.Flush()
	for {
		m, err := b.Receive()
		if err != nil {
			return
		}
		if w.silent {
			continue
		}
		if q, ok := m.(*pgproto3.Query); ok && q.String == "SHOW transaction_read_only" {
			b.Send(&pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{{Name: []byte("transaction_read_only")}}})
			b.Send(&pgproto3.DataRow{Values: [][]byte{[]byte(w.readOnly)}})
			b.Send(&pgproto3.CommandComplete{CommandTag: []byte("SHOW")})
		} else {
			b.Send(&pgproto3.ErrorResponse{Severity: "ERROR", Code: "0A000", Message: "cannot execute SQL commands in WAL sender"})
		}
		b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		b.Flush()
	}
}

func connect(t *testing.T, i *Info) (address string, err error) {
	t.Helper()
	config, err := i.Config()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := pgconn.ConnectConfig(ctx, config.Copy())
	if err != nil {
		return "", err
	}
	defer c.Close(ctx)
	return c.Conn().RemoteAddr().String(), nil
}

func TestPasswordIsAskedForOnceAndOnlyWhenTheServerWantsOne(t *testing.T) {
	isolate(t)
	w := (&walsender{password: "right", notice: true}).start(t, "tcp", "127.0.0.1:0")
	text := "host=127.0.0.1 user=u sslmode=disable port=" + w.port()

	i := mustParse(t, text)
	_, err := connect(t, i)
	if !i.NeedsPassword(err) || !IsPasswordRequired(err) {
		t.Fatalf("first connect: %v", err)
	}
	if len(w.sent) != 0 || len(w.seen) != 1 {
		t.Errorf("%d start-ups, sent %q where there was no password to send", len(w.seen), w.sent)
	}
	i.SetPassword("wrong")
	if _, err = connect(t, i); err == nil || i.NeedsPassword(err) {
		t.Errorf("after a wrong password: asks again, or %v", err)
	}
	i.SetPassword("right")
	if _, err = connect(t, i); err != nil {
		t.Error(err)
	}

	never, _ := Parse(Flags{ConnString: text, NoPassword: true}, "prog")
	if _, err = connect(t, never); err == nil || never.NeedsPassword(err) {
		t.Errorf("with -w: %v", err)
	}
	first, _ := Parse(Flags{ConnString: text + " password=x", ForcePassword: true}, "prog")
	if !first.PasswordFirst() {
		t.Error("-W does not ask first")
	}
	first.SetPassword("right")
	if _, err = connect(t, first); err != nil || first.PasswordFirst() {
		t.Errorf("after -W: %v", err)
	}
	time.Sleep(50 * time.Millisecond) // a cancel request would come on its own connection
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dials != len(w.seen) {
		t.Errorf("%d connections for %d start-ups", w.dials, len(w.seen))
	}
	if got := w.seen[0]["replication"] + " " + w.seen[0]["database"] + " " + w.seen[0]["application_name"]; got != "true replication prog" {
		t.Errorf("start-up: %s", got)
	}
}

func TestQuestionForAPasswordIsSeenHoweverItArrives(t *testing.T) {
	t.Parallel()
	encode := func(list ...pgproto3.BackendMessage) (b []byte) {
		for _, m := range list {
			var err error
			if b, err = m.Encode(b); err != nil {
				t.Fatal(err)
			}
		}
		return b
	}
	notice := &pgproto3.NoticeResponse{Message: "n"}
	instead := encode(&passwordRequired)
	for _, c := range []struct {
		name     string
		in, want []byte
	}{
		{"SASL", encode(notice, &pgproto3.AuthenticationSASL{AuthMechanisms: []string{"SCRAM-SHA-256"}}), append(encode(notice), instead...)},
		{"MD5", encode(&pgproto3.AuthenticationMD5Password{}), instead},
		{"trust", encode(notice, &pgproto3.AuthenticationOk{}, notice), encode(notice, &pgproto3.AuthenticationOk{}, notice)},
		{"error", encode(&pgproto3.ErrorResponse{Code: "28000"}), encode(&pgproto3.ErrorResponse{Code: "28000"})},
		{"huge notice", []byte("N\xff\xff\xff\xffrest"), []byte("N\xff\xff\xff\xffrest")},
		{"short length", []byte("R\x00\x00\x00\x00rest"), []byte("R\x00\x00\x00\x00rest")},
	} {
		for _, r := range []io.Reader{bytes.NewReader(c.in), iotest.OneByteReader(bytes.NewReader(c.in))} {
			got, err := io.ReadAll(&authWatcher{r: r})
			if err != nil || !bytes.Equal(got, c.want) {
				t.Errorf("%s: %q, %v; want %q", c.name, got, err, c.want)
			}
		}
	}
}

func TestMissingPasswordEndsTheWalkThroughTheHosts(t *testing.T) {
	isolate(t)
	a := (&walsender{password: "x"}).start(t, "tcp", "127.0.0.1:0")
	b := (&walsender{}).start(t, "tcp", "127.0.0.1:0")
	_, err := connect(t, mustParse(t, "host=127.0.0.1,127.0.0.1 sslmode=disable port="+a.port()+","+b.port()))
	if !IsPasswordRequired(err) || len(b.seen) != 0 {
		t.Errorf("second server asked %d times: %v", len(b.seen), err)
	}
}

func TestEachHostGetsItsOwnPassfileLine(t *testing.T) {
	home := isolate(t)
	a := (&walsender{password: "pa", reports: map[string]string{"in_hot_standby": "off"}}).start(t, "tcp", "127.0.0.1:0")
	b := (&walsender{password: `p:b\c`, reports: map[string]string{"in_hot_standby": "on"}}).start(t, "tcp", "127.0.0.1:0")
	writeFile(t, filepath.Join(home, ".pgpass"), "# comment\n"+
		"localhost:"+a.port()+":other:u:no\n"+
		"localhost:"+a.port()+":replication:u:pa\n"+
		"127.0.0.1:"+b.port()+`:*:u:p:b\\c`+"\n", 0o600)
	text := "host=localhost,127.0.0.1 hostaddr=127.0.0.1, user=u sslmode=disable port=" + a.port() + "," + b.port()
	if addr, err := connect(t, mustParse(t, text)); err != nil || addr != a.addr {
		t.Errorf("first: %s %v", addr, err)
	}
	if addr, err := connect(t, mustParse(t, text+" target_session_attrs=standby")); err != nil || addr != b.addr {
		t.Errorf("second: %s %v", addr, err)
	}
	for _, p := range append(a.sent, b.sent...) {
		if p != "pa" && p != `p:b\c` {
			t.Errorf("sent %q", p)
		}
	}
}

func TestPassfileThatOthersCanReadIsNotUsed(t *testing.T) {
	home := isolate(t)
	writeFile(t, filepath.Join(home, "pass"), "*:*:*:*:p\n", 0o644)
	i := mustParse(t, "host=h user=u passfile="+filepath.Join(home, "pass"))
	c, err := i.Config()
	if err != nil || c.Password != "" || len(i.Warnings()) != 1 {
		t.Errorf("password %q, warnings %v, %v", c.Password, i.Warnings(), err)
	}
	want := "password file \"" + filepath.Join(home, "pass") + "\" has group or world access; permissions should be u=rw (0600) or less"
	if got := i.Warnings(); got[0] != want {
		t.Errorf("warns %q", got[0])
	}
	if got := mustParse(t, "host=h user=u passfile="+home).Warnings(); len(got) != 1 || got[0] != "password file \""+home+"\" is not a plain file" {
		t.Errorf("a directory: warns %q", got)
	}
	if got := mustParse(t, "host=h user=u password=x passfile="+home).Warnings(); got != nil {
		t.Errorf("where it is not needed: warns %q", got)
	}
}

func TestTargetSessionAttrsWithoutSQL(t *testing.T) {
	isolate(t)
	new14 := func(standby, ro string) *walsender {
		return &walsender{reports: map[string]string{"in_hot_standby": standby, "default_transaction_read_only": ro}}
	}
	primary := new14("off", "off").start(t, "tcp", "127.0.0.1:0")
	frozen := new14("off", "on").start(t, "tcp", "127.0.0.1:0")
	standby := new14("on", "off").start(t, "tcp", "127.0.0.1:0")
	oldPrimary := (&walsender{readOnly: "off"}).start(t, "tcp", "127.0.0.1:0")
	oldStandby := (&walsender{readOnly: "on"}).start(t, "tcp", "127.0.0.1:0")
	type list = []*walsender
	for _, c := range []struct {
		attrs string
		list  list
		want  *walsender
	}{
		{"any", list{standby, primary}, standby},
		{"primary", list{standby, primary}, primary},
		{"primary", list{standby, oldStandby}, nil},
		{"primary", list{oldStandby, oldPrimary}, oldPrimary},
		{"standby", list{primary, standby}, standby},
		{"standby", list{oldPrimary, oldStandby}, oldStandby},
		{"read-write", list{standby, frozen, primary}, primary},
		{"read-only", list{primary, frozen}, frozen},
		{"read-only", list{oldPrimary, oldStandby}, oldStandby},
		{"prefer-standby", list{primary, standby}, standby},
		{"prefer-standby", list{oldPrimary}, oldPrimary},
	} {
		var hosts, ports []string
		for _, w := range c.list {
			hosts, ports = append(hosts, "127.0.0.1"), append(ports, w.port())
		}
		i := mustParse(t, "host="+strings.Join(hosts, ",")+" port="+strings.Join(ports, ",")+
			" user=u sslmode=disable target_session_attrs="+c.attrs)
		addr, err := connect(t, i)
		switch {
		case c.want == nil:
			if err == nil || Hint(err) == "" {
				t.Errorf("%s: connected to %s, %v", c.attrs, addr, err)
			}
		case addr != c.want.addr:
			t.Errorf("%s of %v: %s, %v; want %s", c.attrs, ports, addr, err, c.want.addr)
		}
	}
}

func TestNotPreferredErrorIsWholeSoThatItCanBePrinted(t *testing.T) {
	t.Parallel()
	err := notPreferred()
	if _, ok := err.(*pgconn.NotPreferredError); !ok || !errors.Is(err, pgconn.ErrPrimaryConnection) || err.Error() == "" {
		t.Errorf("got %T %v", err, err)
	}
}

func TestRequirePeerChecksTheOwnerOfTheSocket(t *testing.T) {
	home := isolate(t)
	me, err := user.Current()
	if err != nil {
		t.Skip(err)
	}
	(&walsender{}).start(t, "unix", filepath.Join(home, ".s.PGSQL.5432"))
	text := "user=u host=" + quoteAlways(home) + " requirepeer="
	if _, err := connect(t, mustParse(t, text+me.Username)); err != nil {
		t.Error(err)
	}
	if _, err := connect(t, mustParse(t, text+"no_such_user")); err == nil {
		t.Error("any peer is taken")
	}
}

func TestTCPUserTimeoutDoesNotHinderAConnect(t *testing.T) {
	isolate(t)
	w := (&walsender{}).start(t, "tcp", "127.0.0.1:0")
	if _, err := connect(t, mustParse(t, "host=127.0.0.1 sslmode=disable tcp_user_timeout=5000 keepalives_idle=7 port="+w.port())); err != nil {
		t.Error(err)
	}
}

func TestHintFitsTheError(t *testing.T) {
	isolate(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	_, refused := connect(t, mustParse(t, "host=127.0.0.1 port="+strconv.Itoa(port)))
	_, noSocket := connect(t, mustParse(t, "host="+quoteAlways(t.TempDir())))
	for _, c := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{refused, "listen_addresses"},
		{noSocket, "socket"},
		{errors.Join(errors.New("x"), &pgconn.PgError{Code: "28000"}), "host replication ROLE"},
		{&pgconn.PgError{Code: "28P01"}, "passfile"},
		{&pgconn.PgError{Code: "42501", Severity: "FATAL"}, "REPLICATION"},
		{&pgconn.PgError{Code: "42501", Severity: "ERROR"}, ""},
		{&pgconn.PgError{Code: "53300"}, "max_wal_senders"},
		{&pgconn.PgError{Code: "57P03"}, "hot_standby"},
		{&pgconn.PgError{Code: "28P01", Routine: noPassword}, "PGPASSWORD"},
		{context.DeadlineExceeded, "in time"},
	} {
		if got := Hint(c.err); !strings.Contains(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%v: hint %q", c.err, got)
		}
	}
	if quoteIdent("Odd") != `"Odd"` || quoteIdent("ok_1") != "ok_1" {
		t.Error("role names")
	}
}
