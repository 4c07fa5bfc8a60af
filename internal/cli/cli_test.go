package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/pgbraid/pgbraid/internal/pgtest/walsender"
	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"pgbraid": func() { os.Exit(Main(os.Args[1:])) },
	})
}

// TestScripts runs the command lines of testdata/*.txt. Each has a scripted
// walsender of its own, release $RELEASE, at $PGHOST and $PGPORT. Besides
// testscript's own commands there are
//
//	exits CODE ARG…       run pgbraid, which must end with this exit code
//	contacted N           the server was connected to N times
//	lines stderr|FILE N   that is how many lines it has
//	tree WANT…            what is below $WORK, with a slash behind directories
//	mode OCTAL FILE       permissions
func TestScripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join("testdata", "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			server := scriptServer(t)
			testscript.Run(t, testscript.Params{
				Files:               []string{file},
				RequireExplicitExec: true,
				Setup: func(env *testscript.Env) error {
					host, port, _ := strings.Cut(server.Addr(), ":")
					for _, name := range []string{"PGHOST", "PGHOSTADDR", "PGUSER", "PGPASSWORD", "PGPASSFILE", "PGSERVICE", "PGSERVICEFILE"} {
						env.Setenv(name, "")
					}
					env.Setenv("PGHOST", host)
					env.Setenv("PGPORT", port)
					env.Setenv("PGSSLMODE", "disable")
					env.Setenv("HOME", filepath.Join(env.WorkDir, ".home"))
					return os.Mkdir(filepath.Join(env.WorkDir, ".home"), 0o700)
				},
				Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
					"exits": scriptExits, "lines": scriptLines, "tree": scriptTree, "mode": scriptMode,
					"contacted": func(ts *testscript.TestScript, _ bool, args []string) {
						if got := strconv.Itoa(len(server.Startups())); got != args[0] {
							ts.Fatalf("%s connections, want %s", got, args[0])
						}
					},
				},
			})
		})
	}
}

func scriptServer(t *testing.T) *walsender.Server {
	server := walsender.New(t, walsender.Options{Version: "18.4"})
	server.ServeWAL(walsender.NewWAL(0x2000000, 0x3000000))
	backup := walsender.SampleBackup()
	backup.Before = map[walsender.Step]walsender.Hook{walsender.StepStart: func(c *walsender.Conn) error {
		if strings.Contains(c.Query(), "'notice'") {
			c.Notice("WARNING", "01000", "evil \x1b]0;title\x07\nsecond line \u202e")
		}
		if strings.Contains(c.Query(), "'fail'") {
			c.Fail("XX001", "damaged \x1b[31m pages\nin two lines", "", "repair them\x07")
			return walsender.Stop
		}
		return nil
	}}
	server.ServeBackup(backup)
	return server
}

func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: exits CODE ARG…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	err = ts.Exec("pgbraid", args[1:]...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code, err = exit.ExitCode(), nil
	}
	ts.Check(err)
	if code != want {
		ts.Fatalf("exit code is %d, want %d", code, want)
	}
}

func scriptLines(ts *testscript.TestScript, _ bool, args []string) {
	if got := strconv.Itoa(strings.Count(ts.ReadFile(args[0]), "\n")); got != args[1] {
		ts.Fatalf("%s has %s lines, want %s", args[0], got, args[1])
	}
}

func scriptTree(ts *testscript.TestScript, _ bool, want []string) {
	entries, err := os.ReadDir(ts.Getenv("WORK"))
	ts.Check(err)
	var got []string
	for _, e := range entries {
		switch {
		case strings.HasPrefix(e.Name(), "."):
		case e.IsDir():
			got = append(got, e.Name()+"/")
		default:
			got = append(got, e.Name())
		}
	}
	slices.Sort(want)
	// testscript makes one for temporary files.
	got = slices.DeleteFunc(got, func(name string) bool { return name == "tmp/" || name == "_tmp/" })
	slices.Sort(got)
	if !slices.Equal(got, want) {
		ts.Fatalf("there are %q, want %q", got, want)
	}
}

func scriptMode(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := fmt.Sprintf("%o", info.Mode().Perm()); got != args[0] {
		ts.Fatalf("%s has mode %s, want %s", args[1], got, args[0])
	}
}

// The help of each command must name every option that it has, and -h is the
// host everywhere.
func TestHelpNamesEveryOption(t *testing.T) {
	t.Parallel()
	parser, err := kong.New(&commands{}, kong.NoDefaultHelp(), kong.ExplicitGroups(helpGroups))
	if err != nil {
		t.Fatal(err)
	}
	if len(parser.Model.Children) < 2 {
		t.Fatalf("%d commands", len(parser.Model.Children))
	}
	for _, command := range parser.Model.Children {
		if command.Hidden {
			continue
		}
		var out, errOut bytes.Buffer
		if err := run(t.Context(), []string{command.Name, "--help"}, &out, &errOut); !errors.Is(err, errShown) {
			t.Errorf("%s: %v", command.Name, err)
		}
		count := 0
		for _, group := range command.AllFlags(false) {
			for _, flag := range group {
				count++
				text := "--" + flag.Name
				if flag.Short != 0 {
					text = fmt.Sprintf("-%c, %s", flag.Short, text)
				}
				if !strings.Contains(out.String(), text) {
					t.Errorf("%s --help does not name %s", command.Name, text)
				}
				if flag.Short == 'h' && flag.Name != "host" {
					t.Errorf("%s: -h is %s", command.Name, flag.Name)
				}
				if flag.Help == "" {
					t.Errorf("%s: nothing is said on --%s", command.Name, flag.Name)
				}
			}
		}
		if count < 3 {
			t.Errorf("%s has %d options", command.Name, count)
		}
		if errOut.Len() != 0 || strings.Contains(out.String(), "%%") || strings.Contains(out.String(), "%!") {
			t.Errorf("%s --help: %q, %s", command.Name, errOut.String(), out.String())
		}
	}
}

func TestRateIsParsedAsPgBasebackupDoes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		"": 0, "32": 32, "32k": 32, "1M": 1024, "1024M": 1 << 20, "1048576": 1 << 20, "1.5M": 1536, "100.9": 100, " 64k": 64,
		"31": -1, "31.9": -1, "1048577": -1, "1025M": -1, "0": -1, "-32": -1, "32m": -1, "32K": -1, "32kB": -1, "k": -1, "M": -1, " ": -1,
		"NaN": -1, "inf": -1, "1e400": -1, "32 k x": -1, "0x40": -1, "1_000": -1,
	} {
		got, err := parseRate(text)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q is %d, %v, want %d", text, got, err, want)
		}
	}
}

// TestHelpThatIsNotReadToItsEnd is pgbraid clone --help | head -1.
func TestHelpThatIsNotReadToItsEnd(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), []string{"clone", "--help"}, w, io.Discard); !errors.Is(err, errShown) {
		t.Error(err)
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = full.Close() }()
	if err := run(t.Context(), []string{"clone", "--help"}, full, io.Discard); errors.Is(err, errShown) {
		t.Error("help that could not be written counts as shown")
	}
}

func TestUsageErrorsPointToTheRightHelp(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"receive --nothing":          `Try "pgbraid receive --help".`,
		"backup -D x --format=other": `Try "pgbraid backup --help".`,
		"restore-wal":                `Try "pgbraid restore-wal --help".`,
		"backpu":                     `Try "pgbraid --help".`,
		"--nothing":                  `Try "pgbraid --help".`,
	} {
		err := run(t.Context(), strings.Fields(line), io.Discard, io.Discard)
		if got := Hint(err); got != want {
			t.Errorf("pgbraid %s: %v: hint %q, want %q", line, err, got, want)
		}
	}
}
