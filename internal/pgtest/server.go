// Package pgtest gives tests real PostgreSQL servers: it finds the installed
// ones, makes and starts clusters of them, fills these with data, and stops
// everything again.
//
//	pgtest.ForEachVersion(t, func(t *testing.T, s pgtest.Server) {
//		c := s.Init(t)
//		c.Start(t)
//		c.Load(t)
//		…
//	})
//
// Whatever it starts ends with the test, and also when the test process is
// killed. A server never runs as root: a test run by root starts it as the
// user postgres, or nobody. What it cannot provide fails the test. It never
// skips one, since a skipped test proves nothing.
package pgtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Environment variables that choose the servers and their place.
const (
	// EnvBin is a list of directories with server programs, separated as
	// PATH is. They are looked at before all others.
	EnvBin = "PGBRAID_PG_BIN"
	// EnvVersions lists the major releases to test against, separated by
	// spaces or commas. Unset, it means 14 to 18.
	EnvVersions = "PGBRAID_TEST_VERSIONS"
	// EnvDir is where the clusters are made, instead of the directory for
	// temporary files. One in memory, such as /dev/shm, is faster.
	EnvDir = "PGBRAID_TEST_DIR"
)

// Server is one installed release of PostgreSQL.
type Server struct {
	// Major is the release's first number, such as 17.
	Major int
	// Version is what postgres --version says after the name, such as 17.10.
	Version string
	// BinDir holds initdb and postgres.
	BinDir string

	// more are other directories with programs of this release. The
	// servers that scripts/postgres.sh brings come without client programs.
	more []string
}

// String gives pg and the major release, such as pg17: the name of a subtest.
func (s Server) String() string { return "pg" + strconv.Itoa(s.Major) }

// Tool finds a program of this major release, such as pg_verifybackup, in any
// of the places where its server programs were found.
func (s Server) Tool(name string) (path string, ok bool) {
	for _, dir := range append([]string{s.BinDir}, s.more...) {
		if path := filepath.Join(dir, name); executable(path) {
			return path, true
		}
	}
	return "", false
}

// Versions lists the major releases that EnvVersions selects, ascending.
func Versions(t testing.TB) []int {
	t.Helper()
	text := os.Getenv(EnvVersions)
	if text == "" {
		return []int{14, 15, 16, 17, 18}
	}
	var majors []int
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ',' }) {
		major, err := strconv.Atoi(word)
		if err != nil {
			t.Fatalf("%s: invalid major release %q", EnvVersions, word)
		}
		majors = append(majors, major)
	}
	if len(majors) == 0 {
		t.Fatalf("%s selects no release", EnvVersions)
	}
	slices.Sort(majors)
	return slices.Compact(majors)
}

// Servers gives one server for each release of Versions, ascending. The test
// fails if one of them is not installed.
func Servers(t testing.TB) []Server {
	t.Helper()
	var servers []Server
	for _, major := range Versions(t) {
		servers = append(servers, Require(t, major))
	}
	return servers
}

// ForEachVersion runs f as a subtest, named pg14 and so on, for each of
// Servers.
func ForEachVersion(t *testing.T, f func(t *testing.T, s Server)) {
	t.Helper()
	for _, s := range Servers(t) {
		t.Run(s.String(), func(t *testing.T) { f(t, s) })
	}
}

// Newest is the newest of Servers: for a test that need not see every release.
func Newest(t testing.TB) Server {
	t.Helper()
	majors := Versions(t)
	return Require(t, majors[len(majors)-1])
}

// Require gives the server of one major release, whether EnvVersions selects
// it or not. The test fails if it is not installed.
func Require(t testing.TB, major int) Server {
	t.Helper()
	for _, s := range installed() {
		if s.Major == major {
			return s
		}
	}
	t.Fatalf("PostgreSQL %d is not installed: run scripts/postgres.sh %d", major, major)
	return Server{}
}

// Distribution is the newest server that the distribution's packages
// installed. Unlike those of scripts/postgres.sh it is built with lz4 and
// zstd. The test fails if there is none.
func Distribution(t testing.TB) Server {
	t.Helper()
	for _, dir := range distributionDirs() {
		if s, ok := inspect(dir); ok {
			return s
		}
	}
	t.Fatal("no PostgreSQL of the distribution is installed: run scripts/postgres.sh debian")
	return Server{}
}

// FindTool finds the newest program of that name, such as pg_verifybackup or
// pg_waldump, of whatever release: first the distribution's, then those of
// all other installed servers, then what PATH has.
func FindTool(name string) (path string, ok bool) {
	for _, dir := range distributionDirs() {
		if path := filepath.Join(dir, name); executable(path) {
			return path, true
		}
	}
	for _, s := range slices.Backward(installed()) {
		if path, ok := s.Tool(name); ok {
			return path, true
		}
	}
	path, err := exec.LookPath(name)
	return path, err == nil
}

// RequireTool is FindTool for a test that cannot do without the program.
func RequireTool(t testing.TB, name string) string {
	t.Helper()
	path, ok := FindTool(name)
	if !ok {
		t.Fatalf("%s is not installed: run scripts/postgres.sh debian", name)
	}
	return path
}

// ClientTool finds a client program, such as pg_combinebackup, of exactly that
// major release: beside a server of the release, or where scripts/clients.sh
// puts those that are newer than the distribution's. The test fails if it is
// in neither place.
func ClientTool(t testing.TB, major int, name string) string {
	t.Helper()
	for _, s := range installed() {
		if path, ok := s.Tool(name); ok && s.Major == major {
			return path
		}
	}
	if root, ok := repositoryRoot(); ok {
		if path := filepath.Join(root, ".cache", "clients", strconv.Itoa(major), "bin", name); executable(path) {
			return path
		}
	}
	t.Fatalf("%s of PostgreSQL %d is not installed: run scripts/clients.sh", name, major)
	return ""
}

// installed looks once for servers, in all the places, ascending by release.
var installed = sync.OnceValue(func() []Server {
	var dirs []string
	dirs = append(dirs, filepath.SplitList(os.Getenv(EnvBin))...)
	if root, ok := repositoryRoot(); ok {
		cached, _ := filepath.Glob(filepath.Join(root, ".cache", "postgres", "[0-9]*", "bin"))
		dirs = append(dirs, cached...)
	}
	dirs = append(dirs, distributionDirs()...)
	dirs = append(dirs, filepath.SplitList(os.Getenv("PATH"))...)
	return discover(dirs)
})

// discover looks for servers in dirs. Of several installations of one release
// the first one is taken; the others are only good for their tools.
func discover(dirs []string) []Server {
	byMajor := map[int]*Server{}
	for _, dir := range dirs {
		s, ok := inspect(dir)
		if !ok {
			continue
		}
		if first := byMajor[s.Major]; first == nil {
			byMajor[s.Major] = &s
		} else if first.BinDir != s.BinDir {
			first.more = append(first.more, s.BinDir)
		}
	}
	var servers []Server
	for _, s := range byMajor {
		servers = append(servers, *s)
	}
	slices.SortFunc(servers, func(a, b Server) int { return a.Major - b.Major })
	return servers
}

// distributionDirs lists the program directories of Debian's packages, the
// newest release first.
func distributionDirs() []string {
	dirs, _ := filepath.Glob("/usr/lib/postgresql/[0-9]*/bin")
	major := func(dir string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
		return n
	}
	slices.SortFunc(dirs, func(a, b string) int { return major(b) - major(a) })
	return dirs
}

// repositoryRoot walks up from the working directory, which go test sets to
// the package's, to the one that holds go.mod.
func repositoryRoot() (string, bool) {
	dir, err := os.Getwd()
	if err != nil {
		return "", false
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, true
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", false
		}
		dir = parent
	}
}

var versionPattern = regexp.MustCompile(`PostgreSQL\) ((\d+)[^ \n]*)`)

// inspect asks the postgres in dir for its release.
func inspect(dir string) (Server, bool) {
	if dir == "" || !executable(filepath.Join(dir, "postgres")) || !executable(filepath.Join(dir, "initdb")) {
		return Server{}, false
	}
	out, err := exec.Command(filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return Server{}, false
	}
	match := versionPattern.FindStringSubmatch(string(out))
	if match == nil {
		return Server{}, false
	}
	major, err := strconv.Atoi(match[2])
	if err != nil {
		return Server{}, false
	}
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	return Server{Major: major, Version: match[1], BinDir: dir}, true
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// program is the path of a server program: initdb, postgres or pg_ctl.
func (s Server) program(name string) string { return filepath.Join(s.BinDir, name) }

// atLeast reads better than a comparison where releases differ.
func (s Server) atLeast(major int) bool { return s.Major >= major }
