package manifest

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

const sampleV1 = `{ "PostgreSQL-Backup-Manifest-Version": 1,
"Files": [
{ "Path": "backup_label", "Size": 225, "Last-Modified": "2026-11-21 05:57:53 GMT", "Checksum-Algorithm": "CRC32C", "Checksum": "5b88c135" },
{ "Encoded-Path": "626173652fff", "Size": 0, "Last-Modified": "2026-11-21 05:57:54 GMT" }
],
"WAL-Ranges": [
{ "Timeline": 1, "Start-LSN": "0/2000028", "End-LSN": "0/2000100" }
],
"Manifest-Checksum": "5588f2eb93dbe25f66bb80cbd4f6b2ac4d3a0bc92bbd3d9bfcbd6c8f83b8f0ad"}
`

const sampleV2 = `{ "PostgreSQL-Backup-Manifest-Version": 2,
"System-Identifier": 18446744073709551615,
"Files": [
{ "Path": "a \"\\\u0001\b\f\n\r\t/ü", "Size": 9223372036854775807, "Last-Modified": "1999-12-31 23:59:59 GMT" }
],
"WAL-Ranges": [
{ "Timeline": 3, "Start-LSN": "0/3000000", "End-LSN": "1/0" },
{ "Timeline": 1, "Start-LSN": "0/2000028", "End-LSN": "0/3000000" }
],
"Manifest-Checksum": "5588f2eb93dbe25f66bb80cbd4f6b2ac4d3a0bc92bbd3d9bfcbd6c8f83b8f0ad"}
`

// seal puts the right checksum into a manifest whose last line has any.
func seal(text string) string {
	body := strings.TrimSuffix(text, "\n")
	cut := strings.LastIndexByte(body, '\n') + 1
	at := strings.LastIndex(text, `"Manifest-Checksum": "`)
	if cut == 0 || at < cut {
		return text
	}
	at += len(`"Manifest-Checksum": "`)
	if len(text) < at+64 {
		return text
	}
	return text[:at] + fmt.Sprintf("%x", sha256.Sum256([]byte(text[:cut]))) + text[at+64:]
}

func readAll(r io.Reader) ([]File, *Summary, error) {
	var files []File
	s, err := Read(r, func(f File) error {
		f.Checksum = bytes.Clone(f.Checksum)
		files = append(files, f)
		return nil
	})
	return files, s, err
}

func realManifest(t testing.TB) []byte {
	t.Helper()
	f, err := os.Open("testdata/pg15-crc32c.manifest.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestReadUnderstandsVersion1(t *testing.T) {
	t.Parallel()
	files, summary, err := readAll(strings.NewReader(seal(sampleV1)))
	if err != nil {
		t.Fatal(err)
	}
	wantFiles := []File{
		{"backup_label", 225, time.Date(2026, 11, 21, 5, 57, 53, 0, time.UTC), CRC32C, []byte{0x5b, 0x88, 0xc1, 0x35}},
		{"base/\xff", 0, time.Date(2026, 11, 21, 5, 57, 54, 0, time.UTC), None, nil},
	}
	wantSummary := &Summary{Version: 1, Ranges: []WALRange{{1, 0x2000028, 0x2000100}}, Files: 2, Bytes: 225}
	if !reflect.DeepEqual(files, wantFiles) || !reflect.DeepEqual(summary, wantSummary) {
		t.Errorf("got %+v\n%+v", files, summary)
	}
}

func TestReadUnderstandsVersion2(t *testing.T) {
	t.Parallel()
	files, summary, err := readAll(strings.NewReader(seal(sampleV2)))
	if err != nil {
		t.Fatal(err)
	}
	wantFiles := []File{{"a \"\\\x01\b\f\n\r\t/ü", 1<<63 - 1, time.Date(1999, 12, 31, 23, 59, 59, 0, time.UTC), None, nil}}
	wantSummary := &Summary{
		Version: 2, SystemIdentifier: 1<<64 - 1, Files: 1, Bytes: 1<<63 - 1,
		Ranges: []WALRange{{3, 0x3000000, 1 << 32}, {1, 0x2000028, 0x3000000}},
	}
	if !reflect.DeepEqual(files, wantFiles) || !reflect.DeepEqual(summary, wantSummary) {
		t.Errorf("got %+v\n%+v", files, summary)
	}
}

func TestReadTakesWhatPostgreSQLTakes(t *testing.T) {
	t.Parallel()
	for name, text := range accepted() {
		if _, _, err := readAll(strings.NewReader(seal(text))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func replace(text, old, with string) string {
	if !strings.Contains(text, old) {
		panic("sample lacks " + old)
	}
	return strings.Replace(text, old, with, 1)
}

func accepted() map[string]string {
	return map[string]string{
		"size as a string":            replace(sampleV1, `225`, `"225"`),
		"timeline as a string":        replace(sampleV1, `"Timeline": 1`, `"Timeline": "1"`),
		"keys in another order":       replace(sampleV1, `"Checksum-Algorithm": "CRC32C", "Checksum": "5b88c135"`, `"Checksum": "5B88C135", "Checksum-Algorithm": "crc32c"`),
		"algorithm without checksum":  replace(sampleV1, `, "Checksum": "5b88c135"`, ``),
		"empty checksum":              replace(sampleV1, `5b88c135`, ``),
		"no modification time":        replace(sampleV1, ` "Last-Modified": "2026-11-21 05:57:53 GMT",`, ``),
		"strange modification time":   replace(sampleV1, `2026-11-21 05`, `12026-11-41 95`),
		"escapes":                     replace(sampleV1, `"backup_label"`, `"\"\\\/\b\f\n\r\t\u00fc\uD83d\uDE00"`),
		"escaped key":                 replace(sampleV1, `"Path"`, `"\u0050ath"`),
		"white space":                 replace(sampleV1, `"Size": 225`, "\t\"Size\"\r\n : 225 "),
		"no white space":              replace(sampleV1, `{ "Path": "`, `{"Path":"`),
		"padded LSN":                  replace(sampleV1, `0/2000028`, `00000000/02000028`),
		"no files":                    sampleV1[:strings.Index(sampleV1, "{ \"Path")] + sampleV1[strings.Index(sampleV1, "],"):],
		"system identifier as string": replace(sampleV2, `18446744073709551615`, `"1"`),
		"longest path":                replace(sampleV1, `backup_label`, strings.Repeat(`\u0041`, MaxPathLength)),
	}
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	dummy := strings.Repeat("0", 64)
	tests := []struct{ name, text, cause string }{
		{"nothing", "", `The input string ended unexpectedly.`},
		{"an array", "[\n]\n", `unexpected array start`},
		{"an empty object", "{\n}\n", `unexpected object end`},
		{"version not first", "{ \"Files\": [\n],\n", "expected version indicator"},
		{"version 3", replace(sampleV1, `Version": 1`, `Version": 3`), "unexpected manifest version"},
		{"version 0", replace(sampleV1, `Version": 1`, `Version": 0`), "unexpected manifest version"},
		{"version no number", replace(sampleV1, `Version": 1`, `Version": "x"`), `manifest version not an integer`},
		{"version twice", replace(sampleV1, `Version": 1`, `Version": 1, "PostgreSQL-Backup-Manifest-Version": 1`), "unrecognized top-level field"},
		{"unknown top-level key", replace(sampleV1, `"Files"`, `"Fles"`), "unrecognized top-level field"},
		{"files twice", replace(sampleV1, `"Files"`, `"Files": [], "Files"`), "repeated top-level field"},
		{"files an object", replace(sampleV1, `"Files": [`, `"Files": {`), `unexpected object start`},
		{"ranges twice", replace(sampleV1, `"WAL-Ranges"`, `"WAL-Ranges": [], "WAL-Ranges"`), "repeated top-level field"},
		{"system identifier in version 1", replace(sampleV1, `"Files"`, `"System-Identifier": 1, "Files"`), "version 1"},
		{"no system identifier in version 2", replace(sampleV2, "\"System-Identifier\": 18446744073709551615,\n", ``), "missing system identifier"},
		{"system identifier too large", replace(sampleV2, `18446744073709551615`, `18446744073709551616`), `system identifier is no whole number in range`},
		{"negative system identifier", replace(sampleV2, `18446744073709551615`, `-1`), `system identifier is no whole number in range`},
		{"no files", "{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"WAL-Ranges\": [],\n\"Manifest-Checksum\": \"" + dummy + "\"}\n", "missing files"},
		{"no ranges", "{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [],\n\"Manifest-Checksum\": \"" + dummy + "\"}\n", "missing WAL ranges"},
		{"no checksum", "{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [],\n\"WAL-Ranges\": []}\n", `unexpected object end`},
		{"checksum not last", replace(sampleV1, `"Files"`, `"Manifest-Checksum": "`+dummy+`", "Files"`), `unexpected object field`},
		{"trailing data", sampleV1 + "x\n", `Token "x" is invalid.`},
		{"no last newline", strings.TrimSuffix(sampleV1, "\n"), "not newline-terminated"},
		{"one line", strings.ReplaceAll(sampleV1, "\n", "") + "\n", "at least 2 lines"},
		{"no path", replace(sampleV1, `"Path": "backup_label", `, ``), "missing path name"},
		{"both paths", replace(sampleV1, `"Path"`, `"Encoded-Path": "00", "Path"`), `both path name and encoded path name`},
		{"path twice", replace(sampleV1, `"Path"`, `"Path": "x", "Path"`), `repeated file field`},
		{"path a number", replace(sampleV1, `"backup_label"`, `1`), `value is not a string`},
		{"empty path", replace(sampleV1, `backup_label`, ``), "empty path"},
		{"zero byte", replace(sampleV1, `backup_label`, `a\u0000`), `\u0000 cannot be converted to text.`},
		{"encoded zero byte", replace(sampleV1, `626173`, `620073`), "zero byte"},
		{"odd encoded path", replace(sampleV1, `626173`, `62617`), "could not decode"},
		{"encoded path no digits", replace(sampleV1, `626173`, `62617x`), "could not decode"},
		{"path not UTF-8", replace(sampleV1, `backup_label`, "\xff"), "not UTF-8"},
		{"long path", replace(sampleV1, `backup_label`, strings.Repeat("x", MaxPathLength+1)), "path name too long"},
		{"endless path", replace(sampleV1, `backup_label`, strings.Repeat("x", 1<<20)), "string too long"},
		{"no size", replace(sampleV1, `"Size": 225, `, ``), "missing size"},
		{"size twice", replace(sampleV1, `"Size"`, `"Size": 1, "Size"`), "repeated file field"},
		{"negative size", replace(sampleV1, `225`, `-225`), `file size is no whole number in range`},
		{"size with a fraction", replace(sampleV1, `225`, `225.0`), `file size is not an integer`},
		{"size with an exponent", replace(sampleV1, `225`, `2e3`), `file size is not an integer`},
		{"size with a leading zero", replace(sampleV1, `225`, `0225`), `Token "0225" is invalid.`},
		{"size too large", replace(sampleV1, `225`, `9223372036854775808`), `file size is no whole number in range`},
		{"size endless", replace(sampleV1, `225`, strings.Repeat("1", 1<<20)), `number or word too long`},
		{"size null", replace(sampleV1, `225`, `null`), `file size is not an integer`},
		{"sum of sizes too large", replace(replace(sampleV1, `225`, `9223372036854775807`), `"Size": 0`, `"Size": 1`), "sum of file sizes"},
		{"checksum without algorithm", replace(sampleV1, `"Checksum-Algorithm": "CRC32C", `, ``), "checksum without algorithm"},
		{"unknown algorithm", replace(sampleV1, `CRC32C`, `MD5`), `unrecognized checksum algorithm: "MD5"`},
		{"odd checksum", replace(sampleV1, `5b88c135`, `5b88c13`), `invalid checksum for file "backup_label": "5b88c13"`},
		{"short checksum", replace(sampleV1, `5b88c135`, `5b88c1`), "wrong length"},
		{"endless checksum", replace(sampleV1, `5b88c135`, strings.Repeat("5b", 1000)), "wrong length"},
		{"checksum of algorithm none", replace(sampleV1, `CRC32C`, `NONE`), "wrong length"},
		{"unknown file key", replace(sampleV1, `"Path"`, `"Mode": 1, "Path"`), "unexpected file field"},
		{"file an array", replace(sampleV1, `{ "Path"`, `[ "Path"`), `unexpected array start`},
		{"comma after the last file", replace(sampleV1, "\" }\n]", "\" },\n]"), `Expected JSON value, but found "]".`},
		{"no comma between files", replace(sampleV1, "\" },", "\" }"), `Expected "," or "]", but found "{".`},
		{"comma after the last key", replace(sampleV1, "c135\" }", "c135\", }"), `Expected string, but found "}".`},
		{"no colon", replace(sampleV1, `"Size":`, `"Size"`), `Expected ":", but found "225".`},
		{"control character", replace(sampleV1, `backup_label`, "a\nb"), `Character with value 0x0a must be escaped.`},
		{"control character among escapes", replace(sampleV1, `backup_label`, "\\n\\\x01"), `Escape sequence`},
		{"unknown escape", replace(sampleV1, `backup_label`, `\x41`), `Escape sequence "\x" is invalid.`},
		{"short escape", replace(sampleV1, `backup_label`, `\u12`), `"\u" must be followed by four hexadecimal digits.`},
		{"high surrogate alone", replace(sampleV1, `backup_label`, `\ud83d`), `Unicode low surrogate must follow a high surrogate.`},
		{"high surrogate, then a letter", replace(sampleV1, `backup_label`, `\ud83d\u0041`), `Unicode low surrogate must follow a high surrogate.`},
		{"low surrogate alone", replace(sampleV1, `backup_label`, `\ude00`), `Unicode low surrogate must follow a high surrogate.`},
		{"modification time no string", replace(sampleV1, `"2026-11-21 05:57:53 GMT"`, `1`), "value is not a string"},
		{"manifest checksum null", replace(sampleV1, `"5588f2eb93dbe25f66bb80cbd4f6b2ac4d3a0bc92bbd3d9bfcbd6c8f83b8f0ad"`, `null`), `invalid manifest checksum: "null"`},
		{"empty size", replace(sampleV1, `225`, `""`), "file size is no whole number in range"},
		{"no timeline", replace(sampleV1, `"Timeline": 1, `, ``), "missing timeline"},
		{"timeline 0", replace(sampleV1, `"Timeline": 1`, `"Timeline": 0`), "timeline 0"},
		{"timeline too large", replace(sampleV1, `"Timeline": 1`, `"Timeline": 4294967296`), `timeline is no whole number in range`},
		{"no start", replace(sampleV1, `"Start-LSN": "0/2000028", `, ``), "missing start LSN"},
		{"no end", replace(sampleV1, `, "End-LSN": "0/2000100"`, ``), "missing end LSN"},
		{"bad start", replace(sampleV1, `0/2000028`, `02000028`), "could not parse start LSN"},
		{"bad end", replace(sampleV1, `0/2000100`, `0/200010x`), "could not parse end LSN"},
		{"end twice", replace(sampleV1, `"End-LSN"`, `"End-LSN": "0/1", "End-LSN"`), "repeated WAL range field"},
		{"unknown range key", replace(sampleV1, `"Timeline"`, `"TLI"`), "unexpected WAL range field"},
		{"too many ranges", replace(sampleV1, "{ \"Timeline", strings.Repeat(`{"Timeline":1,"Start-LSN":"0/0","End-LSN":"0/0"},`, MaxWALRanges)+"{ \"Timeline"), "too many WAL ranges"},
	}
	for _, tt := range tests {
		_, _, err := readAll(strings.NewReader(seal(tt.text)))
		var syntax *SyntaxError
		if !errors.As(err, &syntax) || !strings.Contains(syntax.Cause, tt.cause) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.cause)
		}
	}
}

func TestReadRefusesAMalformedManifestChecksum(t *testing.T) {
	t.Parallel()
	text := seal(sampleV1)
	for _, end := range []string{"\"}\n", "00\"}\n", "x\"}\n"} {
		cut := len(text) - len("0\"}\n")
		_, _, err := readAll(strings.NewReader(text[:cut] + end))
		var syntax *SyntaxError
		if !errors.As(err, &syntax) || !syntax.Value || !strings.HasPrefix(syntax.Cause, "invalid manifest checksum: \"") {
			t.Errorf("%q: got %v", end, err)
		}
	}
}

func TestReadRefusesEachTruncation(t *testing.T) {
	t.Parallel()
	for _, text := range []string{seal(sampleV1), seal(sampleV2)} {
		for n := range len(text) {
			if _, _, err := readAll(strings.NewReader(text[:n])); err == nil {
				t.Fatalf("%d of %d bytes were taken for a manifest", n, len(text))
			}
		}
	}
}

func TestReadNoticesEachChangedByte(t *testing.T) {
	t.Parallel()
	text := []byte(seal(sampleV1))
	covered := bytes.LastIndex(text, []byte("\n\"Manifest")) + 1
	for i := range covered {
		text[i] ^= 1
		if _, _, err := readAll(bytes.NewReader(text)); err == nil {
			t.Fatalf("change at %d not noticed", i)
		}
		text[i] ^= 1
	}
	text = bytes.Replace(text, []byte("2000100"), []byte("2000108"), 1)
	if _, _, err := readAll(bytes.NewReader(text)); !errors.Is(err, ErrChecksum) {
		t.Errorf("got %v, want ErrChecksum", err)
	}
}

func TestReadDoesNotDependOnHowTheTextComes(t *testing.T) {
	t.Parallel()
	text := realManifest(t)
	want, wantSummary, err := readAll(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]io.Reader{
		"byte by byte":      iotest.OneByteReader(bytes.NewReader(text)),
		"halves":            iotest.HalfReader(bytes.NewReader(text)),
		"end with the data": iotest.DataErrReader(bytes.NewReader(text)),
	} {
		got, summary, err := readAll(r)
		if err != nil || !reflect.DeepEqual(got, want) || !reflect.DeepEqual(summary, wantSummary) {
			t.Errorf("%s: differs, error %v", name, err)
		}
	}
}

func TestReadHandsOnForeignErrors(t *testing.T) {
	t.Parallel()
	lost := errors.New("connection lost")
	for n := range len(sampleV1) {
		r := io.MultiReader(strings.NewReader(sampleV1[:n]), iotest.ErrReader(lost))
		if _, _, err := readAll(r); !errors.Is(err, lost) {
			t.Fatalf("after %d bytes: got %v", n, err)
		}
	}
	stop := errors.New("stop")
	if _, err := Read(strings.NewReader(sampleV1), func(File) error { return stop }); err != stop {
		t.Errorf("got %v, want what visit returned", err)
	}
	if _, err := Read(emptyReader{}, nil); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("got %v, want io.ErrNoProgress", err)
	}
}

type emptyReader struct{}

func (emptyReader) Read([]byte) (int, error) { return 0, nil }

func TestReadTakesLongLinesAndManyBuffers(t *testing.T) {
	t.Parallel()
	text := manyFiles(t, 5000)
	lines := bytes.Count(text, []byte("\n"))
	joined := bytes.Replace(text, []byte("\n"), []byte(" "), lines-2)
	want, _, err := readAll(bytes.NewReader(text))
	if err != nil || len(want) != 5000 {
		t.Fatal(len(want), err)
	}
	got, _, err := readAll(strings.NewReader(seal(string(joined))))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("one long line: differs, error %v", err)
	}
}
