package manifest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func manyFiles(t testing.TB, n int) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, WriterOptions{Version: 2, SystemIdentifier: 7})
	if err != nil {
		t.Fatal(err)
	}
	sum := make([]byte, 4)
	for i := range n {
		binary.BigEndian.PutUint32(sum, uint32(i))
		f := File{fmt.Sprintf("base/%d/%d", 16384+i/1000, i), int64(i) * 8192, time.Unix(1.7e9+int64(i), 0), CRC32C, sum}
		if err := w.Add(f); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close([]WALRange{{1, 0x2000028, 0x2000100}}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func write(t testing.TB, o WriterOptions, files []File, ranges []WALRange) string {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := w.Add(f); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(ranges); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestWriterWritesWhatServersWrite(t *testing.T) {
	t.Parallel()
	for _, want := range []string{seal(sampleV1), seal(sampleV2), string(realManifest(t))} {
		files, s, err := readAll(strings.NewReader(want))
		if err != nil {
			t.Fatal(err)
		}
		got := write(t, WriterOptions{Version: s.Version, SystemIdentifier: s.SystemIdentifier}, files, s.Ranges)
		if got != want {
			t.Errorf("got %.1000s\nwant %.1000s", got, want)
		}
	}
}

func TestWriterWritesNoFilesAsServersDo(t *testing.T) {
	t.Parallel()
	body := "{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [\n],\n\"WAL-Ranges\": [\n],\n"
	want := fmt.Sprintf("%s\"Manifest-Checksum\": \"%x\"}\n", body, sha256.Sum256([]byte(body)))
	if got := write(t, WriterOptions{Version: 1}, nil, nil); got != want {
		t.Errorf("got %q", got)
	}
}

func TestWriterForcedEncodingHidesNoPath(t *testing.T) {
	t.Parallel()
	files := []File{{Path: "PG_VERSION", Size: 3}}
	text := write(t, WriterOptions{Version: 1, ForceEncode: true}, files, nil)
	if !strings.Contains(text, `{ "Encoded-Path": "50475f56455253494f4e", "Size": 3`) {
		t.Errorf("got %s", text)
	}
	got, _, err := readAll(strings.NewReader(text))
	if err != nil || got[0].Path != "PG_VERSION" {
		t.Error(got, err)
	}
}

func TestWriterRefusesWhatReadWouldRefuse(t *testing.T) {
	t.Parallel()
	if _, err := NewWriter(new(bytes.Buffer), WriterOptions{Version: 3}); err == nil {
		t.Error("version 3 taken")
	}
	w, err := NewWriter(new(bytes.Buffer), WriterOptions{Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []File{
		{},
		{Path: "a\x00b"},
		{Path: strings.Repeat("x", MaxPathLength+1)},
		{Path: "a", Size: -1},
		{Path: "a", Algorithm: SHA256, Checksum: make([]byte, 4)},
		{Path: "a", Checksum: make([]byte, 4)},
	} {
		if w.Add(f) == nil {
			t.Errorf("taken: %+v", f)
		}
	}
	if w.Close(make([]WALRange, 1)) == nil || w.Close(make([]WALRange, MaxWALRanges+1)) == nil {
		t.Error("bad ranges taken")
	}
	if err := w.Close(nil); err != nil {
		t.Error(err)
	}
	if w.Close(nil) == nil || w.Add(File{Path: "a"}) == nil {
		t.Error("goes on after Close")
	}
}

type fullDisk struct{}

var errFull = errors.New("no space left")

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

func TestWriterReportsAFailedWrite(t *testing.T) {
	t.Parallel()
	w, err := NewWriter(fullDisk{}, WriterOptions{Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(nil); !errors.Is(err, errFull) {
		t.Errorf("got %v", err)
	}
}
