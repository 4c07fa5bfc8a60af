package dropin

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// manifestHead begins a manifest. In the tests MANIFEST stands for it.
const manifestHead = `{"PostgreSQL-Backup-Manifest-Version": 1`

// badManifests are texts that release 18 does not take for a manifest, one for
// each kind of fault and some that have two: the first one found counts. Those
// that its own tests have are here too
// (src/bin/pg_verifybackup/t/005_bad_manifest.pl).
var badManifests = []string{
	// No JSON.
	"", " \n", "{\n", "{", "[", "x", "-", `"`, `"abc`, "{}", "[]", "1\n", "true", "null x", "nul", "trues", "}", "]", ",", ":", "\x00", "{\x00", "@", "_x", "é", "1.", "1e+", "0123", "-x", "1.5.6", "--1",
	`{"a"`, `{"a":`, `{"a" 1}`, `{"a":}`, `{"a",}`, `{1:2}`, `{,}`, `{:`, `{]`, `{"a": @}`, `{"a": "x`, `{"a": "\`, `{"a": "\u`, `{"a": "\u12`, `{"a": "\ud83d`,
	`MANIFEST`, `MANIFEST,`, `MANIFEST,}`, `MANIFEST x`, `MANIFEST]`, `MANIFEST "x"`, `MANIFEST}` + "\n", `MANIFEST} x`, `MANIFEST: 1`,
	// Strings.
	`{"\x": 1}`, `{"\é": 1}`, `{"\u12": 1}`, `{"\u12G4": 1}`, `{"\u0000": 1}`, `{"\ud83d": 1}`, `{"\ud83dx": 1}`, `{"\ud83d\n": 1}`, `{"\ud83d\ud83d": 1}`, `{"\ude00": 1}`, `{"\ud83d\u0041": 1}`,
	"{\"a\nb\": 1}", "{\"a\x00\": 1}", "{\"\\n\x1f\": 1}", "{\"\\x\x1f\": 1}", "{\"\\u12\x01\": 1}", "{\"\\ud83d\x01\": 1}", "{\"\x01\\x\": 1}",
	// The top level.
	`{"not-expected": 1}`, `{"not-expected": @}`, `{"Files": []}`, `{"PostgreSQL-Backup-Manifest-Version": "phooey"}`, `{"PostgreSQL-Backup-Manifest-Version": "phooey" @`, `{"PostgreSQL-Backup-Manifest-Version": 9876599}`, `{"PostgreSQL-Backup-Manifest-Version": 0}`,
	`{"PostgreSQL-Backup-Manifest-Version": 1.0}`, `{"PostgreSQL-Backup-Manifest-Version": 1e0}`, `{"PostgreSQL-Backup-Manifest-Version": -1}`, `{"PostgreSQL-Backup-Manifest-Version": null}`, `{"PostgreSQL-Backup-Manifest-Version": {}}`, `{"PostgreSQL-Backup-Manifest-Version": []}`, `{"PostgreSQL-Backup-Manifest-Version": ""}`,
	`MANIFEST, "Files": true}`, `MANIFEST, "Oops": 1}`, `MANIFEST, "Oops": {}}`, `MANIFEST, "Oops": @}`, `MANIFEST, "Files": {}}`, `MANIFEST, "Files": "x" "y"}`, `MANIFEST, "Files": }`, `MANIFEST, "PostgreSQL-Backup-Manifest-Version": 1}`,
	`MANIFEST, "System-Identifier": "x"}`, `MANIFEST, "System-Identifier": 1.5}`, `MANIFEST, "System-Identifier": []}`, `MANIFEST, "WAL-Ranges": 1}`, `MANIFEST, "WAL-Ranges": {}}`, `MANIFEST, "Manifest-Checksum": []}`, `MANIFEST, "Manifest-Checksum": {}}`,
	`MANIFEST, "Manifest-Checksum": "x", "Files": []}`, `MANIFEST, "Manifest-Checksum": "x", }`, `MANIFEST, "Manifest-Checksum": "x"} x`, `MANIFEST, "Manifest-Checksum": "x"} {`,
	// Files.
	`MANIFEST, "Files": [`, `MANIFEST, "Files": [1]}`, `MANIFEST, "Files": [1 @]}`, `MANIFEST, "Files": [[]]}`, `MANIFEST, "Files": [,]}`, `MANIFEST, "Files": [}]}`, `MANIFEST, "Files": [:`, `MANIFEST, "Files": [{]}`, `MANIFEST, "Files": [{}`,
	`MANIFEST, "Files": [{}]}`, `MANIFEST, "Files": [{} @]}`, `MANIFEST, "Files": [{"Path": "x", "Encoded-Path": "1234"}]}`, `MANIFEST, "Files": [{"Path": "x", "Encoded-Path": "1"}]}`, `MANIFEST, "Files": [{"Oops": 1}]}`, `MANIFEST, "Files": [{"Oops": @}]}`, `MANIFEST, "Files": [{"Path": "x"}]}`,
	`MANIFEST, "Files": [{"Path": []}]}`, `MANIFEST, "Files": [{"Path": {}}]}`, `MANIFEST, "Files": [{"Path": ]}]}`, `MANIFEST, "Files": [{"Path": "x",}]}`, `MANIFEST, "Files": [{"Path": "x" "Size": 0}]}`,
	`MANIFEST, "Files": [{"Path": "x", "Size": "Oops"}]}`, `MANIFEST, "Files": [{"Path": "x", "Size": 1.5}]}`, `MANIFEST, "Files": [{"Path": "x", "Size": 1e3}]}`, `MANIFEST, "Files": [{"Path": "x", "Size": true}]}`, `MANIFEST, "Files": [{"Path": "x", "Size": 012}]}`, `MANIFEST, "Files": [{"Path": "x", "Size": "1 "}]}`, `MANIFEST, "Files": [{"Path": "x", "Size": "-"}]}`,
	`MANIFEST, "Files": [{"Encoded-Path": "123", "Size": 0}]}`, `MANIFEST, "Files": [{"Encoded-Path": "12x4", "Size": "x"}]}`, `MANIFEST, "Files": [{"Path": "x", "Size": "x", "Checksum": "Oops"}]}`,
	`MANIFEST, "Files": [{"Path": "x", "Size": 0}, {"Path": "x", "Size": 0}]}`, `MANIFEST, "Files": [{"Path": "x", "Size": 0}, {"Path": "y", "Size": 0}, {"Encoded-Path": "79", "Size": 0}, {"Path": "x", "Size": 0}]}`, `MANIFEST, "Files": [{"Path": "x", "Size": 0}, {"Path": "x", "Size": "x"}]}`, `MANIFEST, "Files": [{"Path": "x", "Size": 0}, {"Path": "x", "Size": 0} @]}`,
	`MANIFEST, "Files": [{"Path": "x", "Size": 100, "Checksum": "Oops"}]}`, `MANIFEST, "Files": [{"Path": "x", "Size": 100, "Checksum-Algorithm": "Oops", "Checksum": "00"}]}`, `MANIFEST, "Files": [{"Path": "x", "Size": 100, "Checksum-Algorithm": true, "Checksum": "0"}]}`, `MANIFEST, "Files": [{"Path": "x", "Size": 100, "Checksum-Algorithm": ""}]}`,
	`MANIFEST, "Files": [{"Path": "x", "Size": 100, "Checksum-Algorithm": "CRC32C", "Checksum": "0"}]}`, `MANIFEST, "Files": [{"Path": "ä", "Size": 100, "Checksum-Algorithm": "sha256", "Checksum": null}]}`, `MANIFEST, "Files": [{"Encoded-Path": "6162", "Size": 100, "Checksum-Algorithm": "CRC32C", "Checksum": "x0"}]}`, `MANIFEST, "Files": [{"Path": "x", "Size": 100, "Checksum-Algorithm": "CRC32C", "Checksum": "` + strings.Repeat("0", 501) + `"}]}`,
	`MANIFEST, "Files": [{"Path": "x", "Size": 0} {}]}`, `MANIFEST, "Files": [{"Path": "x", "Size": 0},]}`, `MANIFEST, "Files": [{"Path": "x", "Size": 0}`, `MANIFEST, "Files": [{"Path": "x", "Size": 0}]`,
	// Ranges of the log.
	`MANIFEST, "WAL-Ranges": [{}]}`, `MANIFEST, "WAL-Ranges": [{"Timeline": 1}]}`, `MANIFEST, "WAL-Ranges": [{"Timeline": 1, "Start-LSN": "0/0"}]}`, `MANIFEST, "WAL-Ranges": [{"Oops": 1}]}`, `MANIFEST, "WAL-Ranges": [{"Timeline": {}}]}`, `MANIFEST, "WAL-Ranges": [{"Timeline": 1, "Start-LSN": "0/0", "End-LSN": "0/0"}]}`,
	`MANIFEST, "WAL-Ranges": [{"Timeline": true, "Start-LSN": "0/0", "End-LSN": "0/0"}]}`, `MANIFEST, "WAL-Ranges": [{"Timeline": "x", "Start-LSN": "x", "End-LSN": "x"}]}`, `MANIFEST, "WAL-Ranges": [{"Timeline": 1, "Start-LSN": "oops", "End-LSN": "x"}]}`, `MANIFEST, "WAL-Ranges": [{"Timeline": 1, "Start-LSN": "0/0", "End-LSN": "oops"}]}`, `MANIFEST, "WAL-Ranges": [{"Timeline": 1, "Start-LSN": 1, "End-LSN": "0/0"}]}`,
	`MANIFEST, "WAL-Ranges": [1]}`, `MANIFEST, "WAL-Ranges": [[]]}`,
	// The end.
	`MANIFEST, "Files": [], "Manifest-Checksum": null}` + "\n", `MANIFEST, "Files": [], "Manifest-Checksum": null}`, "MANIFEST,\n \"Files\": [],\n \"Manifest-Checksum\": null}", "MANIFEST,\n \"Files\": [],\n \"Manifest-Checksum\": null}\n", "MANIFEST,\n \"Files\": [],\n \"Manifest-Checksum\": null}\n ",
	"MANIFEST, \"Files\": [],\n \"Manifest-Checksum\": \"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz01234567890-\"}\n", "MANIFEST, \"Files\": [],\n\"Manifest-Checksum\": \"\"}\n", "MANIFEST, \"Files\": [],\n\"Manifest-Checksum\": \"" + strings.Repeat("0", 64) + "\"}\n", "MANIFEST, \"Files\": [],\n\"Manifest-Checksum\": \"" + strings.Repeat("0", 65) + "\"}\n",
	// What release 18 takes and nothing else here does, in front of a fault.
	`MANIFEST, "Files": [], "Files": [], "Oops": 1}`, `MANIFEST, "Files": [{"Path": "x", "Path": "y", "Size": -1, "Size": 1}, {"Oops": 1}]}`, "MANIFEST, \"System-Identifier\": 1,\n\"Manifest-Checksum\": null}\n", `MANIFEST, "WAL-Ranges": [{"Timeline": 0, "Start-LSN": "0/0", "End-LSN": "0/0"}, {"Timeline": 0, "Timeline": 99999999999, "Start-LSN": "0/0", "End-LSN": "x"}]}`,
	`MANIFEST, "Files": [{"Path": "", "Size": 0}, {"Path": 1, "Size": "+1"}, {"Path": "z", "Size": 99999999999999999999999, "Last-Modified": 7}, {}]}`, "MANIFEST, \"Files\": [{\"Path\": \"\xff\", \"Size\": 0, \"Checksum-Algorithm\": \"none\", \"Checksum\": \"00\"}],\n\"Manifest-Checksum\": \"" + strings.Repeat("0", 64) + "\"}\n",
}

// TestVerifybackupOfABadManifest has both tools read the same texts, once as
// they are and once with so many files that release 18 uses its other parser.
func TestVerifybackupOfABadManifest(t *testing.T) {
	t.Parallel()
	b := newBed(t, "pg_verifybackup")
	var many strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&many, "{\"Path\": \"base/1/%d\", \"Size\": 8192, \"Checksum-Algorithm\": \"CRC32C\", \"Checksum\": \"00000000\"},\n", i)
	}
	dir := t.TempDir()
	for _, text := range badManifests {
		text = strings.Replace(text, "MANIFEST", manifestHead, 1)
		texts := []string{text}
		if head, rest, found := strings.Cut(text, manifestHead); found {
			texts = append(texts, head+manifestHead+", \"Files\": [\n"+strings.TrimSuffix(many.String(), ",\n")+"]"+rest)
		}
		if head, rest, found := strings.Cut(text, `"Files": [{`); found {
			texts = append(texts, head+`"Files": [`+many.String()+"{"+rest)
		}
		for _, text := range texts {
			if err := os.WriteFile(filepath.Join(dir, "backup_manifest"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			ours, stock := b.run(t, b.ours, dir, "DIR"), b.run(t, b.stock, dir, "DIR")
			if ours != stock || ours.code != 1 {
				t.Errorf("%d bytes: %.300q\nexit code %d and %d\nours:\n%s%sstock:\n%s%s", len(text), text, ours.code, stock.code, ours.out, ours.errors, stock.out, stock.errors)
			}
		}
	}
}

// TestVerifybackupOfAManifestThatCannotBeRead has both tools read what is no
// file, or has a wrong checksum of itself.
func TestVerifybackupOfAManifestThatCannotBeRead(t *testing.T) {
	t.Parallel()
	b := newBed(t, "pg_verifybackup")
	dir := t.TempDir()
	body := manifestHead + ", \"Files\": [],\n\"WAL-Ranges\": [],\n"
	good := fmt.Sprintf("%s\"Manifest-Checksum\": \"%x\"}\n", body, sha256.Sum256([]byte(body)))
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "directory"), 0o700), os.WriteFile(filepath.Join(dir, "good"), []byte(good), 0o600),
		os.WriteFile(filepath.Join(dir, "appended"), []byte(good+"\n"), 0o600), os.WriteFile(filepath.Join(dir, "PG_VERSION"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"-m", "directory", "DIR"}, {"-m", "nowhere", "DIR"}, {"-m", "good/x", "DIR"}, {"-m", "appended", "DIR"}, {"-m", "good", "nowhere"}, {"-m", "good", "good"}} {
		ours, stock := b.run(t, b.ours, dir, args...), b.run(t, b.stock, dir, args...)
		if ours != stock || ours.code != 1 {
			t.Errorf("%q: exit code %d and %d\nours:\n%s%sstock:\n%s%s", args, ours.code, stock.code, ours.out, ours.errors, stock.out, stock.errors)
		}
	}
}
