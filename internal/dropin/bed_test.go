package dropin

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// TestMain makes the test binary the tools: under a link of a tool's name it
// is that one.
func TestMain(m *testing.M) {
	if code, ok := Main(os.Args); ok {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// major is the release that the tools here are those of.
const major = 18

// bed is a tool of ours beside PostgreSQL's own of the same name.
type bed struct {
	name        string
	ours, stock string
	env         []string
	reset       func() // makes the server the same for both, if set
}

// newBed finds both. They connect to nothing unless told to.
func newBed(t *testing.T, name string) *bed {
	t.Helper()
	// The one that is brought here names itself by its path without links.
	stock, err := filepath.EvalSymlinks(pgtest.ClientTool(t, major, name))
	if err != nil {
		t.Fatal(err)
	}
	return &bed{
		name:  name,
		ours:  linked(t, name),
		stock: stock,
		env: []string{
			"PATH=/usr/bin:/bin", "LC_ALL=C", "HOME=" + t.TempDir(), "TZ=UTC",
			"PGHOST=/nonexistent", "PGPORT=5432", "PGUSER=nobody",
		},
	}
}

// linked is a link of that name to the program.
func linked(t *testing.T, name string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(self, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// at makes the tools connect to a server by default.
func (b *bed) at(c *pgtest.Cluster) *bed {
	with := *b
	with.env = append(append([]string{}, b.env...), "PGHOST="+c.SocketDir, "PGPORT="+strconv.Itoa(c.Port), "PGUSER=postgres")
	return &with
}

// outcome is how a tool ended.
type outcome struct {
	code        int
	out, errors string
}

// run runs a program in a directory, for which DIR stands in the arguments.
func (b *bed) run(t *testing.T, program, dir string, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	args = slices.Clone(args)
	for i, a := range args {
		args[i] = strings.ReplaceAll(a, "DIR", dir)
	}
	c := exec.CommandContext(ctx, program, args...)
	c.Dir, c.Env = dir, b.env
	var out, errOut bytes.Buffer
	c.Stdout, c.Stderr = &out, &errOut
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if ctx.Err() != nil {
		t.Fatalf("%s %q took more than a minute; it said:\n%s", b.name, args, errOut.String())
	}
	// The C library names the program as it was called.
	clean := func(text string) string {
		return strings.ReplaceAll(strings.ReplaceAll(text, program, b.name), dir, "DIR")
	}
	return outcome{c.ProcessState.ExitCode(), clean(out.String()), clean(errOut.String())}
}

// both runs both tools, each in an empty directory of its own.
func (b *bed) both(t *testing.T, args ...string) (ours, stock outcome) {
	t.Helper()
	return b.run(t, b.ours, t.TempDir(), args...), b.run(t, b.stock, t.TempDir(), args...)
}

func (b *bed) same(t *testing.T, args ...string) {
	t.Helper()
	ours, stock := b.both(t, args...)
	if ours != stock {
		t.Errorf("%s %q:\nexit code %d and %d\nours:\n%s%sstock:\n%s%s", b.name, args, ours.code, stock.code, ours.out, ours.errors, stock.out, stock.errors)
	}
}
