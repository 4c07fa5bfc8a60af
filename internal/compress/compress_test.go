package compress

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Spec{
		"0":                           {},
		"none":                        {},
		"5":                           {Method: Gzip, Level: 5},
		"gzip":                        {Method: Gzip},
		"gzip:9":                      {Method: Gzip, Level: 9},
		"lz4:level=12":                {Method: LZ4, Level: 12},
		"zstd:level=3,workers=2,long": {Method: Zstd, Level: 3, Workers: 2, Long: true},
	} {
		if got, err := Parse(text); err != nil || got != want {
			t.Errorf("%q: got %+v, %v, want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "10", "-1", "none:1", "gzip:10", "gzip:0", "gzip:", "gzip:level=", "gzip:long",
		"lz4:13", "lz4:long", "zstd:23", "zstd:level=1,level=2", "zstd:long=1", "bzip2", "zstd:workers=-1"} {
		if got, err := Parse(text); err == nil {
			t.Errorf("%q: got %+v, want an error", text, got)
		}
	}
}

func TestWhatIsWrittenIsReadAgain(t *testing.T) {
	t.Parallel()
	// Half noise and half zeros, like a segment that was switched away from.
	content := make([]byte, 3<<20)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(content[:len(content)/2]) // never fails
	for _, text := range []string{"gzip", "gzip:1", "lz4", "lz4:1", "lz4:9", "lz4:12", "zstd", "zstd:19", "zstd:level=1,workers=2,long"} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			spec, err := Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			var packed bytes.Buffer
			w, err := spec.NewWriter(&packed)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(content); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if packed.Len() > len(content)*2/3 {
				t.Errorf("%d bytes became %d", len(content), packed.Len())
			}
			z, err := spec.Method.NewReader(bytes.NewReader(packed.Bytes()))
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(z)
			if err != nil || !bytes.Equal(got, content) {
				t.Errorf("got %d bytes back, equal %v, %v", len(got), bytes.Equal(got, content), err)
			}
			// A torn file is an error, not a short one.
			z, err = spec.Method.NewReader(bytes.NewReader(packed.Bytes()[:packed.Len()-9]))
			if err == nil {
				_, err = io.ReadAll(z)
			}
			if err == nil {
				t.Error("a stream without its end was read without an error")
			}
		})
	}
}

func TestSuffixTellsTheMethod(t *testing.T) {
	t.Parallel()
	for _, m := range []Method{Gzip, LZ4, Zstd} {
		if got, base := BySuffix("000000010000000000000001" + m.Suffix()); got != m || base != "000000010000000000000001" {
			t.Errorf("%s: got %q, %q", m, got, base)
		}
	}
	if got, base := BySuffix("base.tar"); got != None || base != "base.tar" {
		t.Errorf("got %q, %q", got, base)
	}
}
