package logstream

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
	"time"
)

func fromHex(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestStatusBytes(t *testing.T) {
	t.Parallel()
	// One day, one second and three microseconds into PostgreSQL's time.
	s := status{0x16B374D848, 0x16B3000000, time.Date(2000, 1, 2, 0, 0, 1, 3999, time.UTC), false}
	want := fromHex(t, "72 00000016B374D848 00000016B3000000 0000000000000000 000000141DE6A243 00")
	got := appendStatus([]byte("before"), s)
	if !bytes.Equal(got, append([]byte("before"), want...)) {
		t.Errorf("%x, want %x", got[6:], want)
	}
	s.askReply = true
	if got := appendStatus(nil, s); got[len(got)-1] != 1 || !bytes.Equal(got[:len(got)-1], want[:len(want)-1]) {
		t.Errorf("asking for a reply: %x", got)
	}
	if len(want) != statusSize {
		t.Errorf("statusSize is %d, want %d", statusSize, len(want))
	}
	// A clock that stands before 2000 gives a negative time.
	got = appendStatus(nil, status{at: postgresEpoch.Add(-time.Microsecond)})
	if want := fromHex(t, "FFFFFFFFFFFFFFFF"); !bytes.Equal(got[25:33], want) {
		t.Errorf("time %x, want %x", got[25:33], want)
	}
	// The present, in another time zone, is the same moment.
	at := time.Date(2026, 7, 29, 12, 0, 0, 0, time.UTC)
	if a, b := appendStatus(nil, status{at: at}), appendStatus(nil, status{at: at.In(time.FixedZone("", 7200))}); !bytes.Equal(a, b) {
		t.Errorf("%x and %x", a, b)
	}
}

func TestDecodeMessages(t *testing.T) {
	t.Parallel()
	w := fromHex(t, "77 0000000102000028 0000000103000000 0002000000000000 AABB")
	m, err := decodeWALData(w)
	if err != nil || m.start != 0x102000028 || m.serverEnd != 0x103000000 || !bytes.Equal(m.data, []byte{0xAA, 0xBB}) {
		t.Errorf("%+v, %v", m, err)
	}
	if m, err := decodeWALData(w[:25]); err != nil || len(m.data) != 0 {
		t.Errorf("no data: %+v, %v", m, err)
	}
	for n := range 25 {
		if _, err := decodeWALData(w[:n]); err == nil {
			t.Errorf("WAL data of %d bytes is taken", n)
		}
	}
	for _, reply := range []byte{0, 1} {
		k := append(fromHex(t, "6B 0000000103000000 0002000000000000"), reply)
		m, err := decodeKeepalive(k)
		if err != nil || m.serverEnd != 0x103000000 || m.replyRequested != (reply == 1) {
			t.Errorf("%+v, %v", m, err)
		}
		for n := range len(k) {
			if _, err := decodeKeepalive(k[:n]); err == nil {
				t.Errorf("keepalive of %d bytes is taken", n)
			}
		}
	}
}

func FuzzDecodeMessages(f *testing.F) {
	f.Add(fromHex(f, "77 0000000102000028 0000000103000000 0002000000000000 AABB"))
	f.Add(fromHex(f, "6B 0000000103000000 0002000000000000 01"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, body []byte) {
		if m, err := decodeWALData(body); (err == nil) != (len(body) >= walDataHeader) {
			t.Fatalf("%d bytes: %v", len(body), err)
		} else if err == nil && (len(m.data) != len(body)-walDataHeader || !bytes.HasSuffix(body, m.data)) {
			t.Fatalf("%x of %x", m.data, body)
		}
		if _, err := decodeKeepalive(body); (err == nil) != (len(body) >= keepaliveSize) {
			t.Fatalf("%d bytes: %v", len(body), err)
		}
	})
}
