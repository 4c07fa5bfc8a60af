package basebackup

import (
	"errors"
	"strings"
	"testing"

	"github.com/pgbraid/pgbraid/internal/replconn"
	"github.com/pgbraid/pgbraid/logstream"
)

// headerResult makes a result set; nil is NULL.
func headerResult(rows ...[]any) *replconn.Result {
	r := &replconn.Result{}
	for _, row := range rows {
		var values [][]byte
		for _, v := range row {
			if v == nil {
				values = append(values, nil)
				continue
			}
			values = append(values, []byte(v.(string)))
		}
		r.Rows = append(r.Rows, values)
	}
	return r
}

func TestPositionIsRead(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		lsn, timeline string
		want          logstream.Position
	}{
		{"0/2000028", "1", logstream.Position{LSN: 0x2000028, Timeline: 1}},
		{"0/02000028", "1", logstream.Position{LSN: 0x2000028, Timeline: 1}}, // as release 19 prints it
		{"1A/0000FF00", "7", logstream.Position{LSN: 0x1A_0000FF00, Timeline: 7}},
		{"FFFFFFFF/FFFFFFFF", "4294967295", logstream.Position{LSN: 1<<64 - 1, Timeline: 1<<32 - 1}},
	} {
		got, err := readPosition(headerResult([]any{test.lsn, test.timeline}))
		if err != nil || got != test.want {
			t.Errorf("%s on %s is %v, %v", test.lsn, test.timeline, got, err)
		}
	}
	// A later release may add columns.
	if _, err := readPosition(headerResult([]any{"0/2000028", "1", "more"})); err != nil {
		t.Error(err)
	}
}

func TestPositionThatIsNone(t *testing.T) {
	t.Parallel()
	for name, result := range map[string]*replconn.Result{
		"no row":            headerResult(),
		"two rows":          headerResult([]any{"0/1", "1"}, []any{"0/1", "1"}),
		"one column":        headerResult([]any{"0/1"}),
		"NULL LSN":          headerResult([]any{nil, "1"}),
		"NULL timeline":     headerResult([]any{"0/1", nil}),
		"text for LSN":      headerResult([]any{"zero/one", "1"}),
		"LSN without slash": headerResult([]any{"2000028", "1"}),
		"LSN too long":      headerResult([]any{"0/123456789", "1"}),
		"negative LSN":      headerResult([]any{"-1/0", "1"}),
		"timeline 0":        headerResult([]any{"0/1", "0"}),
		"negative timeline": headerResult([]any{"0/1", "-1"}),
		"timeline too big":  headerResult([]any{"0/1", "4294967296"}),
		"text for timeline": headerResult([]any{"0/1", "one"}),
	} {
		if p, err := readPosition(result); !errors.Is(err, replconn.ErrMalformed) {
			t.Errorf("%s: %v, %v", name, p, err)
		}
	}
}

func TestTablespacesAreRead(t *testing.T) {
	t.Parallel()
	// The data directory is the row without an OID, wherever it stands.
	list, err := readTablespaces(headerResult(
		[]any{"16385", "/srv/a", "4398046511104"},
		[]any{nil, nil, "17"},
		[]any{"16386", "pg_tblspc/16386", nil},
		[]any{"4294967295", "/srv/b", "0"}))
	if err != nil {
		t.Fatal(err)
	}
	want := []Tablespace{
		{OID: 16385, Location: "/srv/a", Size: 4398046511104 << 10},
		{Size: 17 << 10},
		{OID: 16386, Location: "pg_tblspc/16386"},
		{OID: 1<<32 - 1, Location: "/srv/b"},
	}
	if len(list) != len(want) {
		t.Fatalf("%d tablespaces, want %d", len(list), len(want))
	}
	for i := range want {
		if *list[i] != want[i] {
			t.Errorf("tablespace %d is %+v, want %+v", i, *list[i], want[i])
		}
	}
	if !list[1].base() || list[0].base() || !list[2].inPlace() || list[0].inPlace() || list[1].inPlace() {
		t.Error("kinds of tablespaces are mixed up")
	}
	if list[0].archive() != "16385.tar" || list[1].archive() != "base.tar" || list[2].link() != "pg_tblspc/16386" {
		t.Errorf("names are %s, %s, %s", list[0].archive(), list[1].archive(), list[2].link())
	}
}

func TestTablespacesThatAreNone(t *testing.T) {
	t.Parallel()
	base := []any{nil, nil, "1"}
	for name, test := range map[string]struct {
		rows [][]any
		want string
	}{
		"no row":                {nil, "no data directory"},
		"no data directory":     {[][]any{{"16385", "/srv", "1"}}, "no data directory"},
		"two data directories":  {[][]any{base, base}, "listed twice"},
		"same OID twice":        {[][]any{{"16385", "/a", "1"}, {"16385", "/b", "1"}, base}, "listed twice"},
		"two columns":           {[][]any{{"16385", "/srv"}, base}, "2 columns"},
		"OID 0":                 {[][]any{{"0", "/srv", "1"}, base}, "OID"},
		"OID too big":           {[][]any{{"4294967296", "/srv", "1"}, base}, "OID"},
		"OID negative":          {[][]any{{"-1", "/srv", "1"}, base}, "OID"},
		"OID empty":             {[][]any{{"", "/srv", "1"}, base}, "OID"},
		"OID with a path":       {[][]any{{"../1", "/srv", "1"}, base}, "OID"},
		"location escapes":      {[][]any{{"16385", "../srv", "1"}, base}, "lies at"},
		"location escapes late": {[][]any{{"16385", "pg_tblspc/16385/../../..", "1"}, base}, "lies at"},
		"location of another":   {[][]any{{"16385", "pg_tblspc/16386", "1"}, base}, "lies at"},
		"location in base":      {[][]any{{"16385", "base", "1"}, base}, "lies at"},
		"location empty":        {[][]any{{"16385", "", "1"}, base}, "lies at"},
		"location NULL":         {[][]any{{"16385", nil, "1"}, base}, "lies at"},
		"location with NUL":     {[][]any{{"16385", "/srv\x00/x", "1"}, base}, "zero byte"},
		"size negative":         {[][]any{{"16385", "/srv", "-1"}, base}, "size"},
		"size huge":             {[][]any{{"16385", "/srv", "9223372036854775807"}, base}, "size"},
		"size beyond int64":     {[][]any{{"16385", "/srv", "9223372036854775808"}, base}, "size"},
		"size is text":          {[][]any{{"16385", "/srv", "big"}, base}, "size"},
		"size of base negative": {[][]any{{nil, nil, "-5"}}, "size"},
	} {
		list, err := readTablespaces(headerResult(test.rows...))
		if !errors.Is(err, replconn.ErrMalformed) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, %v, want an error with %q", name, list, err, test.want)
		}
	}
}
