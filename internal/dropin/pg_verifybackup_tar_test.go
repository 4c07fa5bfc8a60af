package dropin

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/internal/compress"
	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// damage is one thing done to the base archive of a tar backup.
type damage struct {
	name string
	do   func(t *testing.T, b []byte) []byte
}

func cutBy(n int) func(*testing.T, []byte) []byte {
	return func(_ *testing.T, b []byte) []byte { return b[:len(b)-n] }
}

func flipAt(at int) func(*testing.T, []byte) []byte {
	return func(_ *testing.T, b []byte) []byte { b[(at+len(b))%len(b)] ^= 0x10; return b }
}

// untilMember cuts an archive in front of a member's header.
func untilMember(t *testing.T, b []byte, name string) int {
	t.Helper()
	at := strings.Index(string(b), name+"\x00")
	if at < 0 || at%512 != 0 {
		t.Fatalf("no member %s", name)
	}
	return at
}

// retarred writes the members anew, as tar does that is told to take ".".
func retarred(t *testing.T, b []byte, change func(h *tar.Header, content []byte) ([]byte, bool)) []byte {
	t.Helper()
	var out bytes.Buffer
	in, w := tar.NewReader(bytes.NewReader(b)), tar.NewWriter(&out)
	for {
		h, err := in.Next()
		if err == io.EOF {
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			return out.Bytes()
		}
		content, readErr := io.ReadAll(in)
		if err := errors.Join(err, readErr); err != nil {
			t.Fatal(err)
		}
		keep := true
		h.Name = "./" + h.Name
		if content, keep = change(h, content); !keep {
			continue
		}
		h.Size = int64(len(content))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
}

// sameInTar are what is done to base.tar before it is compressed.
var sameInTar = []damage{
	{"nothing", func(_ *testing.T, b []byte) []byte { return b }},
	{"half", func(_ *testing.T, b []byte) []byte { return b[:len(b)/2/512*512+7] }},
	{"in a header", func(t *testing.T, b []byte) []byte { return b[:untilMember(t, b, "global/pg_control")+100] }},
	{"in a padding", func(t *testing.T, b []byte) []byte { return b[:untilMember(t, b, "base/1/PG_VERSION")+515] }},
	{"in front of a member", func(t *testing.T, b []byte) []byte { return b[:untilMember(t, b, "global/pg_control")] }},
	{"no trailer", func(_ *testing.T, b []byte) []byte { return bytes.TrimRight(b, "\x00") }},
	{"half a trailer", cutBy(512)},
	{"one byte less", cutBy(1)},
	{"followed by text", func(_ *testing.T, b []byte) []byte { return append(b, "text"...) }},
	{"header", func(t *testing.T, b []byte) []byte { b[untilMember(t, b, "base/1/1255")+3] ^= 1; return b }},
	{"content", func(t *testing.T, b []byte) []byte { b[untilMember(t, b, "base/1/1255")+5000] ^= 1; return b }},
	{"pg_control", func(t *testing.T, b []byte) []byte { b[untilMember(t, b, "global/pg_control")+600] ^= 1; return b }},
	{"empty", func(*testing.T, []byte) []byte { return nil }},
	{"again with tar", func(t *testing.T, b []byte) []byte {
		return retarred(t, b, func(_ *tar.Header, c []byte) ([]byte, bool) { return c, true })
	}},
	{"other sizes", func(t *testing.T, b []byte) []byte {
		return retarred(t, b, func(h *tar.Header, c []byte) ([]byte, bool) {
			// Where a header is told of, the tool names the file as it stands there.
			switch h.Name = strings.TrimPrefix(h.Name, "./"); h.Name {
			case "global/pg_control", "base/1/1255":
				c = append(c, 0)
			case "postgresql.conf":
				c = nil
			case "PG_VERSION":
				return nil, false
			case "pg_hba.conf":
				h.Name = "extra"
			}
			return c, true
		})
	}},
	{"no directories", func(t *testing.T, b []byte) []byte {
		return retarred(t, b, func(h *tar.Header, c []byte) ([]byte, bool) { return c, h.Typeflag != tar.TypeDir })
	}},
	{"a file twice", func(t *testing.T, b []byte) []byte {
		at := untilMember(t, b, "base/1/PG_VERSION")
		return slices.Concat(b[at:at+1024], b)
	}},
}

// samePacked are what is done to a compressed base archive.
var samePacked = []damage{
	{"half", func(_ *testing.T, b []byte) []byte { return b[:len(b)/2] }},
	{"nothing", func(*testing.T, []byte) []byte { return nil }},
	{"no compressed file", func(_ *testing.T, b []byte) []byte { return bytes.Repeat([]byte("text"), 1000) }},
}

// TestVerifybackupOfDamagedArchives has both tools verify tar backups whose base
// archive is cut short or changed, without and with compression. What it says
// counts, and what it does not look at: an archive's end.
func TestVerifybackupOfDamagedArchives(t *testing.T) {
	t.Parallel()
	b := newBed(t, "pg_verifybackup")
	c := pgtest.Require(t, major).Init(t)
	c.Start(t)
	dir := pgtest.TempDir(t)
	backup := filepath.Join(dir, "tar")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, pgtest.ClientTool(t, major, "pg_basebackup"), "-D", backup, "-F", "t", "-c", "fast", "-N", "-d", c.ConnString()).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	base := filepath.Join(backup, "base.tar")
	good, err := os.ReadFile(base)
	if err != nil {
		t.Fatal(err)
	}
	compare := func(t *testing.T, name string, content []byte, args ...string) {
		t.Helper()
		name = filepath.Join(backup, name)
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = os.Remove(name) }()
		args = append(args, "tar")
		ours, stock := b.run(t, b.ours, dir, args...), b.run(t, b.stock, dir, args...)
		if ours.code != stock.code || ours.out != stock.out || sortedLines(ours.errors) != sortedLines(stock.errors) {
			t.Errorf("%q: exit code %d and %d\nours:\n%s%.2000sstock:\n%s%.2000s", args, ours.code, stock.code, ours.out, ours.errors, stock.out, stock.errors)
		}
	}
	if err := os.Remove(base); err != nil {
		t.Fatal(err)
	}
	for _, method := range []compress.Method{compress.None, compress.Gzip, compress.LZ4, compress.Zstd} {
		name := "base.tar" + method.Suffix()
		for _, d := range sameInTar {
			if method != compress.None && d.name != "nothing" && d.name != "in a header" && d.name != "half a trailer" {
				continue // after the decompressor all is the same
			}
			t.Run(name+" "+d.name, func(t *testing.T) {
				compare(t, name, packed(t, method, d.do(t, slices.Clone(good))), "-n")
			})
		}
		if method == compress.None {
			continue
		}
		whole := packed(t, method, good)
		for _, d := range samePacked {
			t.Run(name+" packed: "+d.name, func(t *testing.T) { compare(t, name, d.do(t, slices.Clone(whole)), "-n") })
		}
	}
	gz := packed(t, compress.Gzip, good)
	for _, d := range []damage{{"checksum", flipAt(-7)}, {"no checksum", cutBy(8)}, {"magic", flipAt(0)}} {
		t.Run("gzip: "+d.name, func(t *testing.T) { compare(t, "base.tar.gz", d.do(t, slices.Clone(gz)), "-n") })
	}
	for _, method := range []compress.Method{compress.LZ4, compress.Zstd} {
		t.Run(string(method)+": checksum", func(t *testing.T) {
			compare(t, "base.tar"+method.Suffix(), flipAt(-1)(t, packed(t, method, good)), "-n")
		})
	}
	t.Run("tgz", func(t *testing.T) { compare(t, "base.tgz", gz, "-n") })
	t.Run("with its log", func(t *testing.T) { compare(t, "base.tar", good); compare(t, "base.tar", good, "-q", "-F", "t") })
	t.Run("log cut short", func(t *testing.T) {
		if err := os.Truncate(filepath.Join(backup, "pg_wal.tar"), 1<<20+99); err != nil {
			t.Fatal(err)
		}
		compare(t, "base.tar", good, "-n")
	})
}

func packed(t *testing.T, method compress.Method, b []byte) []byte {
	t.Helper()
	if method == compress.None {
		return b
	}
	var out bytes.Buffer
	w, err := compress.Spec{Method: method, Level: 1, Workers: 1}.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write(b)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
