package basebackup

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/pgbraid/pgbraid/internal/compress"
)

var allMethods = []compress.Method{compress.Gzip, compress.LZ4, compress.Zstd}

func packed(t *testing.T, m compress.Method, content []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z, err := compress.Spec{Method: m}.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	_, err = z.Write(content)
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// push writes the stream in pieces and closes. The error is the first.
func push(d *decompressor, stream []byte) error {
	for len(stream) > 0 {
		n := min(len(stream), 1000)
		if _, err := d.Write(stream[:n]); err != nil {
			d.abort()
			return err
		}
		stream = stream[n:]
	}
	return d.Close()
}

func TestDecompressorHandsOnWhatAStreamHolds(t *testing.T) {
	t.Parallel()
	content := bytes.Repeat([]byte("what a cluster has in it\n"), 100_000)
	for _, m := range allMethods {
		var out bytes.Buffer
		if err := push(decompress(m, &out), packed(t, m, content)); err != nil || !bytes.Equal(out.Bytes(), content) {
			t.Errorf("%s: %v, %d bytes of %d", m, err, out.Len(), len(content))
		}
	}
}

func TestDecompressorRefusesBrokenStreams(t *testing.T) {
	t.Parallel()
	content := bytes.Repeat([]byte("0123456789abcdef"), 50_000)
	for _, m := range allMethods {
		stream := packed(t, m, content)
		flipped := bytes.Clone(stream)
		flipped[len(flipped)/2] ^= 0x10
		for name, broken := range map[string][]byte{
			"nothing":   {},
			"truncated": stream[:len(stream)-6],
			"flipped":   flipped,
			"garbage":   []byte(strings.Repeat("no such stream", 100)),
			"more":      append(bytes.Clone(stream), "and more behind it, which is none"...),
		} {
			var out bytes.Buffer
			err := push(decompress(m, &out), broken)
			// A bit that means nothing to the content may be any.
			if err == nil && !(name == "flipped" && bytes.Equal(out.Bytes(), content)) {
				t.Errorf("%s, %s: no error, %d bytes came out", m, name, out.Len())
			}
		}
	}
}

type failingWriter struct{ err error }

func (f failingWriter) Write([]byte) (int, error) { return 0, f.err }

func TestDecompressorEndsWithTheErrorOfWhatIsBehindIt(t *testing.T) {
	t.Parallel()
	full := errors.New("disk is full")
	for _, m := range allMethods {
		stream := packed(t, m, make([]byte, 1<<20))
		if err := push(decompress(m, failingWriter{full}), stream); !errors.Is(err, full) {
			t.Errorf("%s: %v", m, err)
		}
	}
}

// When abort returns, nothing writes behind it any more: the race detector
// would see it.
func TestDecompressorAborts(t *testing.T) {
	t.Parallel()
	for _, m := range allMethods {
		var out bytes.Buffer
		d := decompress(m, &out)
		stream := packed(t, m, bytes.Repeat([]byte("abc"), 1<<20))
		if _, err := d.Write(stream[:len(stream)/2]); err != nil {
			t.Errorf("%s: %v", m, err)
		}
		d.abort()
		out.Reset()
	}
}
