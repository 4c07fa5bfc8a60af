package cli

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// model is the command line as the program has it.
func model(t *testing.T) *kong.Kong {
	t.Helper()
	k, err := kong.New(&commands{}, kong.Name("pgbraid"), kong.NoDefaultHelp(), kong.ExplicitGroups(helpGroups),
		kong.Writers(io.Discard, io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// generate runs pgbraid generate and gives what it wrote to standard output.
func generate(t *testing.T, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	if err := run(context.Background(), append([]string{"generate"}, args...), &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func shown(k *kong.Kong) []*kong.Node {
	return slices.DeleteFunc(slices.Clone(k.Model.Children), func(n *kong.Node) bool { return n.Hidden })
}

func TestEveryCommandAndOptionHasItsPlaceInTheManual(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	generate(t, "man", dir)
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(string(text), `\-`, "-")
	}
	main := read("pgbraid.1")
	for _, n := range shown(model(t)) {
		page := read("pgbraid-" + n.Name + ".1")
		if !strings.Contains(main, `\fBpgbraid-`+n.Name+`\fR(1)`) {
			t.Errorf("pgbraid.1 does not tell of %s", n.Name)
		}
		for _, section := range []string{"NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "EXAMPLES", "SEE ALSO"} {
			if !strings.Contains(page, `.SH "`+section+"\"\n") {
				t.Errorf("%s: no section %s", n.Name, section)
			}
		}
		for _, f := range slices.Concat(n.AllFlags(true)...) {
			tag := `\fB--` + f.Name + `\fR`
			if f.Short != 0 {
				tag = `\fB-` + string(f.Short) + `\fR`
			}
			if !strings.Contains(page, "\n"+tag) {
				t.Errorf("%s: no option --%s", n.Name, f.Name)
			}
		}
		if strings.Contains(page, "Exit codes:") || strings.Contains(page, "\n\\fB0\\fR\n") == false {
			t.Errorf("%s: the exit codes are not a table", n.Name)
		}
	}
	if files, _ := os.ReadDir(dir); len(files) != len(shown(model(t)))+1 {
		t.Errorf("%d pages for %d commands and the program", len(files), len(shown(model(t))))
	}
}

// The list in the manual is written by hand; what is read is in conninfo.
func TestManualNamesEveryVariableOfTheConnection(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../conninfo/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal("no source", err)
	}
	var listed string
	for _, item := range manualEnvironment["connection"] {
		listed += " " + item.Term + ","
	}
	variable := regexp.MustCompile(`"(PG[A-Z_]{2,})"`)
	found := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range variable.FindAllStringSubmatch(string(source), -1) {
			found++
			if !strings.Contains(listed, " "+m[1]+",") {
				t.Errorf("%s is read in %s, and not in the manual", m[1], file)
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d variables found: the test looks in the wrong place", found)
	}
}

// What the examples show must be taken by the program that they are for.
func TestExamplesOfTheManualAreCommandLines(t *testing.T) {
	t.Parallel()
	line := regexp.MustCompile(`pgbraid [^|\n']+`)
	for _, n := range shown(model(t)) {
		examples := manualNotes[n.Name].Examples
		if len(examples) == 0 {
			t.Errorf("no example for %s", n.Name)
		}
		for _, e := range examples {
			commands := line.FindAllString(e.Line, -1)
			if len(commands) == 0 {
				t.Errorf("%s: no command line in %q", n.Name, e.Line)
			}
			for _, c := range commands {
				args := strings.Split(shellWords(t, c), "\n")[1:]
				if args[0] != n.Name {
					t.Errorf("%q is no example for %s", c, n.Name)
				}
				if _, err := model(t).Parse(args); err != nil {
					t.Errorf("%s: %v", c, err)
				}
			}
		}
	}
}

// shellWords are a command line's words, as a shell divides it, one a line.
func shellWords(t *testing.T, line string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", `printf '%s\n' `+line).Output()
	if err != nil {
		t.Fatal(line, err)
	}
	return strings.TrimSpace(string(out))
}

func TestManualIsCleanRoff(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	generate(t, "man", dir)
	pages, _ := filepath.Glob(filepath.Join(dir, "*.1"))
	if len(pages) == 0 {
		t.Fatal("no pages")
	}
	request := regexp.MustCompile(`^\.(\\"|(TH|SH|SS|TP|PP|RS|RE|EX|EE|nh|ad l)( ".*")*$)`)
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			if strings.HasPrefix(line, "'") || strings.HasPrefix(line, ".") && !request.MatchString(line) {
				t.Errorf("%s:%d: no request of ours: %s", filepath.Base(page), i+1, line)
			}
		}
		// The formatter's own opinion, where there is one.
		if groff, err := exec.LookPath("groff"); err == nil {
			out, err := exec.Command(groff, "-man", "-ww", "-z", "-Tutf8", page).CombinedOutput()
			if err != nil || len(out) > 0 {
				t.Errorf("groff: %v\n%s", err, out)
			}
		}
	}
}

func TestManualIsTheSameEachTime(t *testing.T) {
	t.Parallel()
	one, two := t.TempDir(), t.TempDir()
	generate(t, "man", one)
	generate(t, "man", two)
	files, _ := os.ReadDir(one)
	for _, f := range files {
		a, _ := os.ReadFile(filepath.Join(one, f.Name()))
		b, err := os.ReadFile(filepath.Join(two, f.Name()))
		if err != nil || !bytes.Equal(a, b) {
			t.Errorf("%s differs: %v", f.Name(), err)
		}
	}
}
