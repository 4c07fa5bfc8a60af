package combine

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/pgbraid/pgbraid/basebackup/lineage"
	"github.com/pgbraid/pgbraid/logstream"
)

func TestLabelIsRead(t *testing.T) {
	t.Parallel()
	l, err := lineage.ParseLabel([]byte(labelText(0x1_03000028, 0x2000028)))
	if err != nil {
		t.Fatal(err)
	}
	if l.Start != (logstream.Position{Timeline: 1, LSN: 0x1_03000028}) || l.From != (logstream.Position{Timeline: 1, LSN: 0x2000028}) {
		t.Errorf("%+v", l)
	}
	if !l.Incremental() {
		t.Error("not incremental")
	}
}

func TestLabelThatIsNone(t *testing.T) {
	t.Parallel()
	good := labelText(0x3000028, 0x2000028)
	for old, test := range map[string]struct{ to, want string }{
		"START WAL LOCATION: 0/3000028 (":                  {"START WAL LOCATION: 0/xyz (", "could not parse START WAL LOCATION"},
		"0/3000028 (file 000000010000000000000002)\nCHECK": {"0/3000028\nCHECK", "improper terminator for START WAL LOCATION"},
		"START WAL LOCATION":                               {"XSTART WAL LOCATION", "could not find START WAL LOCATION"},
		"START TIMELINE: 1":                                {"START TIMELINE: 0", "could not parse START TIMELINE"},
		"START TIMELINE: 1\n":                              {"START TIMELINE: 1 2\n", "could not parse START TIMELINE"},
		"INCREMENTAL FROM LSN: 0/2000028\n":                {"", "INCREMENTAL FROM TLI requires INCREMENTAL FROM LSN"},
		"INCREMENTAL FROM TLI: 1\n":                        {"", "INCREMENTAL FROM LSN requires INCREMENTAL FROM TLI"},
		"FROM LSN: 0/2000028":                              {"FROM LSN: 2000028", "could not parse INCREMENTAL FROM LSN"},
		"FROM TLI: 1\n":                                    {"FROM TLI: 1", "could not parse INCREMENTAL FROM TLI"},
		"FROM TLI: 1":                                      {"FROM TLI: 4294967296", "could not parse INCREMENTAL FROM TLI"},
	} {
		text := strings.Replace(good, old, test.to, 1)
		if _, err := lineage.ParseLabel([]byte(text)); err == nil || err.Error() != test.want {
			t.Errorf("%q: %v, want %q", old, err, test.want)
		}
	}
	long := filepath.Join(t.TempDir(), labelFile)
	put(t, long, []byte(strings.Repeat("x", lineage.MaxLabel+1)))
	if _, err := readSmall(long, lineage.MaxLabel); err == nil || !strings.Contains(err.Error(), "is too large") {
		t.Error(err)
	}
}
