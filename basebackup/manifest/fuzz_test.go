package manifest

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"io"
	"reflect"
	"strings"
	"testing"
)

func addSeeds(f *testing.F) {
	f.Add([]byte(sampleV1))
	f.Add([]byte(sampleV2))
	for _, text := range accepted() {
		if len(text) < 4096 {
			f.Add([]byte(text))
		}
	}
}

// FuzzRead: whatever is read can be written, and reads back the same.
func FuzzRead(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		readAll(bytes.NewReader(text))
		// A right checksum lets the fuzzer past the end.
		files, summary, err := readAll(strings.NewReader(seal(string(text))))
		if err != nil {
			return
		}
		written := write(t, WriterOptions{Version: summary.Version, SystemIdentifier: summary.SystemIdentifier}, files, summary.Ranges)
		again, summaryAgain, err := readAll(strings.NewReader(written))
		if err != nil {
			t.Fatalf("not read back: %v\n%s", err, written)
		}
		if !reflect.DeepEqual(again, files) || !reflect.DeepEqual(summaryAgain, summary) {
			t.Fatalf("read back as %+v %+v\nwas %+v %+v", again, summaryAgain, files, summary)
		}
	})
}

// FuzzReadAgainstEncodingJSON: what Read takes is JSON, and says the same to
// another parser.
func FuzzReadAgainstEncodingJSON(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		text = []byte(seal(string(text)))
		files, summary, err := readAll(bytes.NewReader(text))
		if err != nil {
			return
		}
		var top map[string]json.RawMessage
		d := json.NewDecoder(bytes.NewReader(text))
		if err := d.Decode(&top); err != nil {
			t.Fatalf("no JSON: %v\n%s", err, text)
		}
		if _, err := d.Token(); err != io.EOF {
			t.Fatalf("more than one value: %v", err)
		}
		var listed, ranges []map[string]any
		if err := unmarshal(top[keyFiles], &listed); err != nil {
			t.Fatal(err)
		}
		if err := unmarshal(top[keyWALRanges], &ranges); err != nil {
			t.Fatal(err)
		}
		if len(listed) != len(files) || len(ranges) != len(summary.Ranges) {
			t.Fatalf("%d files and %d ranges, other parser %d and %d", len(files), len(summary.Ranges), len(listed), len(ranges))
		}
		for i, file := range files {
			want := listed[i]
			path, plain := want[keyPath].(string)
			if !plain {
				b, err := hex.DecodeString(want[keyEncodedPath].(string))
				if err != nil {
					t.Fatal(err)
				}
				path = string(b)
			}
			if file.Path != path {
				t.Fatalf("path %q, other parser %q", file.Path, path)
			}
			if got, want := number(file.Size), strings.TrimLeft(scalarText(want[keySize]), "0"); got != want {
				t.Fatalf("size %s, other parser %s", got, want)
			}
			sum, _ := want[keyChecksum].(string)
			if !strings.EqualFold(hex.EncodeToString(file.Checksum), sum) {
				t.Fatalf("checksum %x, other parser %s", file.Checksum, sum)
			}
			if a, ok := want[keyAlgorithm].(string); ok && !strings.EqualFold(a, file.Algorithm.String()) {
				t.Fatalf("algorithm %s, other parser %s", file.Algorithm, a)
			}
		}
	})
}

func unmarshal(text []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return d.Decode(to)
}

// number prints n in digits, and 0 as none.
func number(n int64) string {
	return strings.TrimLeft(scalarText(json.Number(jsonOf(n))), "0")
}

func jsonOf(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func scalarText(v any) string {
	switch v := v.(type) {
	case json.Number:
		return v.String()
	case string:
		return v
	}
	return "neither number nor string"
}

func BenchmarkRead(b *testing.B) {
	text := manyFiles(b, 100000)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Read(bytes.NewReader(text), func(File) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
