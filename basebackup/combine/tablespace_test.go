package combine

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const inTablespace = "pg_tblspc/16400/PG_18_202506291/5/16401"

// tablespaceBackups are a full backup and one on top of it, of a cluster with
// a tablespace that lies elsewhere in each.
func tablespaceBackups(t *testing.T) (root string, dirs []string) {
	t.Helper()
	full := made(0x2000028, 0, map[string][]byte{inTablespace: append(block(1), block(2)...)})
	next := made(0x3000028, 0x2000028, map[string][]byte{
		filepath.Dir(inTablespace) + "/" + incrementalPrefix + "16401": incremental(2, map[uint32][]byte{0: block(3)}),
		mapFile: []byte("16400 /srv/space\n"),
	})
	root, dirs = written(t, full, next)
	for _, dir := range dirs {
		link := filepath.Join(dir, "pg_tblspc/16400")
		if err := os.Rename(link, dir+" space=x"); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(dir+" space=x", link); err != nil {
			t.Fatal(err)
		}
	}
	return root, dirs
}

func TestTablespaceIsPutWhereItIsMapped(t *testing.T) {
	t.Parallel()
	root, dirs := tablespaceBackups(t)
	o := testOptions(t, root, dirs)
	place := filepath.Join(root, "spaces", "one")
	o.Tablespaces = []TablespaceMapping{{dirs[0] + " space=x", "/no"}, {dirs[1] + " space=x/", place}}
	result := mustRun(t, o)
	if len(result.Tablespaces) != 1 || result.Tablespaces[0] != (Tablespace{16400, place}) {
		t.Errorf("%+v", result.Tablespaces)
	}
	if got, err := os.Readlink(filepath.Join(o.Output, "pg_tblspc/16400")); err != nil || got != place {
		t.Errorf("link to %q, %v", got, err)
	}
	if got := read(t, filepath.Join(o.Output, inTablespace)); !bytes.Equal(got, append(block(3), block(2)...)) {
		t.Error("not rebuilt")
	}
	// A server would make links of the map's own.
	if _, err := os.Stat(filepath.Join(o.Output, mapFile)); !os.IsNotExist(err) {
		t.Errorf("tablespace_map came along: %v", err)
	}
}

func TestTablespacesWithoutAPlace(t *testing.T) {
	t.Parallel()
	root, dirs := tablespaceBackups(t)
	occupied := filepath.Join(root, "occupied")
	put(t, filepath.Join(occupied, "x"), []byte("x"))
	old := dirs[1] + " space=x"
	for name, test := range map[string]struct {
		mappings []TablespaceMapping
		want     string
	}{
		"no mapping":        {nil, "has no tablespace mapping"},
		"another's mapping": {[]TablespaceMapping{{"/srv/space", "/new"}}, "has no tablespace mapping"},
		"not empty":         {[]TablespaceMapping{{old, occupied}}, "exists but is not empty"},
		"in the output":     {[]TablespaceMapping{{old, filepath.Join(root, "out", "space")}}, "lies in the output directory"},
		"the output":        {[]TablespaceMapping{{old, filepath.Join(root, "out")}}, "is the output directory"},
		"in an input":       {[]TablespaceMapping{{old, filepath.Join(dirs[0], "space")}}, "lies in an input"},
		"in its own place":  {[]TablespaceMapping{{old, filepath.Join(old, "space")}}, "lies in an input"},
		"relative":          {[]TablespaceMapping{{old, "space"}}, "is not an absolute path"},
	} {
		o := testOptions(t, root, dirs)
		o.Tablespaces = test.mappings
		_, err := Run(context.Background(), o)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
		if test.mappings == nil && (err == nil || !strings.Contains(err.(*MappingError).Hint(), `space\=x=NEWDIR`)) {
			t.Errorf("%v", err)
		}
	}
	mustLeaveNothing(t, root, []string{dirs[0], dirs[1], dirs[0] + " space=x", old, occupied})
}

// TestFailureRemovesTablespacesToo fails when all directories are made.
func TestFailureRemovesTablespacesToo(t *testing.T) {
	t.Parallel()
	root, dirs := tablespaceBackups(t)
	remove(t, dirs[0], inTablespace)
	o := testOptions(t, root, dirs)
	o.Tablespaces = []TablespaceMapping{{dirs[1] + " space=x", filepath.Join(root, "a", "b")}}
	if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), "lacks") {
		t.Error(err)
	}
	mustLeaveNothing(t, root, []string{dirs[0], dirs[1], dirs[0] + " space=x", dirs[1] + " space=x"})
}
