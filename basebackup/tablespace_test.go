package basebackup

import (
	"strings"
	"testing"
)

func TestTablespaceMappingIsParsed(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]TablespaceMapping{
		"/a=/b":               {"/a", "/b"},
		"/a/=/b//c/":          {"/a", "/b/c"},
		`/a\=b=/c\=d\=`:       {"/a=b", "/c=d="},
		`/back\slash=/b\`:     {`/back\slash`, `/b\`},
		"/a b/ü='/c' d":       {},
		"/with space=/ü/näme": {"/with space", "/ü/näme"},
	} {
		got, err := ParseTablespaceMapping(text)
		if want == (TablespaceMapping{}) {
			if err == nil {
				t.Errorf("%q is %q", text, got)
			}
			continue
		}
		if err != nil || got != want {
			t.Errorf("%q is %q, %v, want %q", text, got, err, want)
		}
	}
}

func TestTablespaceMappingThatIsNone(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":           "want OLDDIR=NEWDIR",
		"/a":         "want OLDDIR=NEWDIR",
		"=/b":        "want OLDDIR=NEWDIR",
		"/a=":        "want OLDDIR=NEWDIR",
		"=":          "want OLDDIR=NEWDIR",
		`/a\=/b`:     "want OLDDIR=NEWDIR",
		"/a=/b=/c":   `more than one "="`,
		"a=/b":       "not an absolute path",
		"/a=b":       "not an absolute path",
		"/a=../b":    "not an absolute path",
		"/a=~/space": "not an absolute path",
	} {
		if m, err := ParseTablespaceMapping(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is %q, %v, want an error with %q", text, m, err, want)
		}
	}
}

func TestTablespacesArePlaced(t *testing.T) {
	t.Parallel()
	list := []*Tablespace{
		{OID: 1, Location: "/srv/one/"},
		{OID: 2, Location: "/srv/two"},
		{OID: 3, Location: "pg_tblspc/3"},
		{OID: 4, Location: "/srv/one/below"},
		{},
	}
	// Only whole paths are mapped, and the first that fits wins.
	err := place(list, "/copy", []TablespaceMapping{{"/srv/one", "/new/one"}, {"/srv/one", "/other"}, {"/srv", "/no"}, {"pg_tblspc/3", "/no"}})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"/new/one", "/srv/two", "/copy/pg_tblspc/3", "/srv/one/below", "/copy"} {
		if list[i].Path != want {
			t.Errorf("tablespace %d is put into %q, want %q", list[i].OID, list[i].Path, want)
		}
	}
}

func TestTablespacesDoNotMeet(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		list     []*Tablespace
		mappings []TablespaceMapping
	}{
		"by the server":          {list: []*Tablespace{{OID: 1, Location: "/srv"}, {OID: 2, Location: "/srv/./"}, {}}},
		"by mappings":            {[]*Tablespace{{OID: 1, Location: "/a"}, {OID: 2, Location: "/b"}, {}}, []TablespaceMapping{{"/a", "/c"}, {"/b", "/c"}}},
		"in the data directory":  {[]*Tablespace{{OID: 1, Location: "/a"}, {}}, []TablespaceMapping{{"/a", "/copy"}}},
		"data directory first":   {[]*Tablespace{{}, {OID: 1, Location: "/copy/"}}, nil},
		"with an in-place one":   {[]*Tablespace{{OID: 1, Location: "/copy/pg_tblspc/2"}, {OID: 2, Location: "pg_tblspc/2"}, {}}, nil},
		"dots are no difference": {[]*Tablespace{{OID: 1, Location: "/a/../copy"}, {}}, nil},
	} {
		if err := place(test.list, "/copy", test.mappings); err == nil || !strings.Contains(err.Error(), "would both be put into") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
