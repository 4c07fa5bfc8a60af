package basebackup_test

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pgbraid/pgbraid/basebackup"
	"github.com/pgbraid/pgbraid/basebackup/manifest"
	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// stockDiffers is what differs between any two backups of a server that nobody
// writes to, since each begins with a checkpoint of its own. Everything else
// has to be the same, byte for byte.
var stockDiffers = map[string]bool{
	"backup_label":      true, // where the backup begins, and when
	"backup_manifest":   true, // the checksums of these two
	"global/pg_control": true, // the checkpoint
}

// stockTouched are members of an archive whose modification time is another in
// each: what they hold is the same.
var stockTouched = map[string]bool{
	"tablespace_map":                   true, // made when it is sent
	"pg_wal":                           true, // segments, their marks and summaries come
	"pg_wal/archive_status":            true,
	"pg_wal/summaries":                 true,
	"pg_replslot":                      true, // the log stream's slot comes and goes
	"pg_logical":                       true, // a checkpoint writes the file in it anew
	"pg_logical/replorigin_checkpoint": true,
}

// A backup by pgbraid is what pg_basebackup would have made.
func TestBackupIsWhatTheStockClientMakes(t *testing.T) {
	t.Parallel()
	pgtest.ForEachVersion(t, func(t *testing.T, s pgtest.Server) {
		t.Parallel()
		m := newMatrixSource(t, s)
		m.addTablespaces(t)
		major := max(s.Major, 18)
		if s.Major <= 15 {
			major = 15
		}
		program := pgtest.ClientTool(t, major, "pg_basebackup")
		for _, format := range []basebackup.Format{basebackup.Plain, basebackup.Tar} {
			t.Run(string(format), func(t *testing.T) {
				c := m.backup(t)
				c.options.Format, c.options.Label = format, "the same"
				c.mapFar(m)
				stock := filepath.Join(c.root, "stock")
				args := []string{"-D", stock, "-F", string(format), "-c", "fast", "-l", "the same", "-d", m.ConnString(), "--no-sync"}
				if format == basebackup.Plain {
					args = append(args, "-T", m.far+"="+filepath.Join(c.root, "stock far"))
				}
				c.start()
				c.must()
				matrixRun(t, program, args...)
				sameManifests(t, c.options.Directory, stock)
				if format == basebackup.Plain {
					sameTrees(t, c.options.Directory, stock)
				} else {
					sameArchives(t, c.options.Directory, stock)
				}
			})
		}
	})
}

var segmentName = regexp.MustCompile(`[0-9A-F]{24}`)

// doneMark tells whether a file says that a segment was archived. The last
// segment has one if its end came before the backup's, which is a matter of
// time.
func doneMark(name string) bool { return strings.HasSuffix(name, ".done") }

// sameTrees compares files, directories and links.
func sameTrees(t *testing.T, got, want string) {
	t.Helper()
	describe := func(dir string) map[string]string {
		all := map[string]string{}
		for name, info := range tree(t, dir) {
			text := fmt.Sprintf("%v %d bytes", info.Mode(), info.Size())
			switch {
			case info.IsDir():
				text = info.Mode().String()
			case !stockDiffers[name] && !segmentName.MatchString(name):
				text += fmt.Sprintf(" %x", sha256.Sum256([]byte(readFile(filepath.Join(dir, name)))))
			case name == "backup_manifest":
				text = info.Mode().String()
			}
			if link, err := os.Readlink(filepath.Join(dir, name)); err == nil {
				text += " by " + strings.TrimPrefix(filepath.Base(link), "stock ")
			}
			if !doneMark(name) {
				all[segmentName.ReplaceAllString(name, "SEGMENT")] = text
			}
		}
		return all
	}
	mustBeSame(t, describe(got), describe(want), 1000)
	sameLabels(t, readFile(filepath.Join(got, "backup_label")), readFile(filepath.Join(want, "backup_label")))
}

// sameLabels compares what a backup_label says but for positions and times.
func sameLabels(t *testing.T, got, want string) {
	t.Helper()
	blank := regexp.MustCompile(`(?m)^(START WAL LOCATION|CHECKPOINT LOCATION|START TIME): .*$`)
	if g, w := blank.ReplaceAllString(got, "$1"), blank.ReplaceAllString(want, "$1"); g != w || !strings.Contains(g, "the same") {
		t.Errorf("backup_label is %q, want %q", g, w)
	}
}

func sameManifests(t *testing.T, got, want string) {
	t.Helper()
	describe := func(dir string) map[string]string {
		all := map[string]string{}
		f, err := os.Open(filepath.Join(dir, "backup_manifest"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		summary, err := manifest.Read(f, func(file manifest.File) error {
			all[file.Path] = fmt.Sprintf("%d bytes, %s", file.Size, file.Algorithm)
			if !stockDiffers[file.Path] {
				all[file.Path] += fmt.Sprintf(" %x", file.Checksum)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		all["itself"] = fmt.Sprint(summary.Version, summary.SystemIdentifier)
		return all
	}
	mustBeSame(t, describe(got), describe(want), 1000)
}

// sameArchives compares archives member by member, in their order, with all
// that is in the headers.
func sameArchives(t *testing.T, got, want string) {
	t.Helper()
	names := func(dir string) []string {
		found, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for i := range found {
			found[i] = filepath.Base(found[i])
		}
		return found
	}
	archives := names(want)
	if g := names(got); !slices.Equal(g, archives) || len(archives) < 4 {
		t.Fatalf("the files are %q, want %q", g, archives)
	}
	for _, name := range archives {
		if name == "backup_manifest" {
			continue
		}
		mine, stock := filepath.Join(got, name), filepath.Join(want, name)
		g, gotMarks := members(t, mine)
		w, wantMarks := members(t, stock)
		for i := range min(len(g), len(w)) {
			if g[i] != w[i] {
				t.Errorf("%s, member %d:\n got %s\nwant %s", name, i, g[i], w[i])
			}
		}
		if len(g) != len(w) {
			t.Errorf("%s has %d members, want %d", name, len(g), len(w))
		}
		if g, w := matrixSize(mine)-512*gotMarks, matrixSize(stock)-512*wantMarks; g != w {
			t.Errorf("%s has %d bytes, want %d", name, g, w)
		}
	}
}

// members describes the members of an archive, as another tar reader sees them,
// and counts those that are marks of archived segments, of a header each.
func members(t *testing.T, archive string) (all []string, marks int64) {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	log := filepath.Base(archive) == "pg_wal.tar"
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all, marks
		}
		if err != nil {
			t.Fatalf("%s: %v", archive, err)
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, r); err != nil {
			t.Fatalf("%s: %v", archive, err)
		}
		name := path.Clean(h.Name)
		if doneMark(name) {
			marks++
			continue
		}
		text := fmt.Sprintf("%s type %c mode %o, %d bytes", segmentName.ReplaceAllString(h.Name, "SEGMENT"), h.Typeflag, h.Mode, h.Size)
		if !log {
			text += fmt.Sprintf(", of %d %s, %d %s, link %q", h.Uid, h.Uname, h.Gid, h.Gname, h.Linkname)
			if !stockDiffers[name] && !stockTouched[name] {
				text += " " + h.ModTime.UTC().String()
			}
			if !stockDiffers[name] {
				text += fmt.Sprintf(" %x", sum.Sum(nil))
			}
		}
		all = append(all, text)
	}
}

// mustBeSame compares descriptions. There have to be at least so many.
func mustBeSame(t *testing.T, got, want map[string]string, least int) {
	t.Helper()
	if len(want) < least {
		t.Errorf("there are only %d files", len(want))
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got[name] != want[name] {
			t.Errorf("%s: got %q, want %q", name, got[name], want[name])
		}
	}
	for name, is := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s: got %q, want none", name, is)
		}
	}
}
