package basebackup

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// TablespaceMapping says where a tablespace that lies at Old on the server is
// put here.
type TablespaceMapping struct{ Old, New string }

// ParseTablespaceMapping reads OLD=NEW, in which \= is an equals sign. Both
// must be absolute paths.
func ParseTablespaceMapping(text string) (TablespaceMapping, error) {
	var sides []string
	var side strings.Builder
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\' && i+1 < len(text) && text[i+1] == '=':
			i++
			side.WriteByte('=')
		case text[i] == '=':
			sides = append(sides, side.String())
			side.Reset()
		default:
			side.WriteByte(text[i])
		}
	}
	sides = append(sides, side.String())
	switch {
	case len(sides) > 2:
		return TablespaceMapping{}, fmt.Errorf("tablespace mapping %q: more than one \"=\"", text)
	case len(sides) < 2 || sides[0] == "" || sides[1] == "":
		return TablespaceMapping{}, fmt.Errorf("tablespace mapping %q: want OLDDIR=NEWDIR", text)
	}
	for _, s := range sides {
		if !filepath.IsAbs(s) {
			return TablespaceMapping{}, fmt.Errorf("tablespace mapping %q: %q is not an absolute path", text, s)
		}
	}
	return TablespaceMapping{filepath.Clean(sides[0]), filepath.Clean(sides[1])}, nil
}

// unused are the mappings that fit no tablespace, most likely mistyped.
func unused(tablespaces []*Tablespace, mappings []TablespaceMapping) (list []TablespaceMapping) {
	for _, m := range mappings {
		fits := func(t *Tablespace) bool { return !t.base() && filepath.Clean(t.Location) == m.Old }
		if !slices.ContainsFunc(tablespaces, fits) {
			list = append(list, m)
		}
	}
	return list
}

// place decides where each tablespace is put.
func place(tablespaces []*Tablespace, directory string, mappings []TablespaceMapping) error {
	taken := map[string]uint32{}
	for _, t := range tablespaces {
		switch {
		case t.base():
			t.Path = directory
		case t.inPlace():
			t.Path = filepath.Join(directory, t.link())
		default:
			t.Path = filepath.Clean(t.Location)
			for _, m := range mappings {
				if m.Old == t.Path {
					t.Path = m.New
					break
				}
			}
		}
		if other, ok := taken[t.Path]; ok {
			return fmt.Errorf("tablespaces %d and %d would both be put into %q", other, t.OID, t.Path)
		}
		taken[t.Path] = t.OID
	}
	return nil
}
