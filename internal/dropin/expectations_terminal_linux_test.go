package dropin

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pgbraid/pgbraid/internal/pgtest"
	"golang.org/x/sys/unix"
)

// onTerminal runs a program whose standard error is a terminal, and returns what
// it wrote there.
func (b *bed) onTerminal(t *testing.T, program, dir string, args ...string) string {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = master.Close() }() // only read from
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), program, args...)
	c.Dir, c.Env, c.Stderr = dir, b.env, terminal
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	_ = terminal.Close() // the program has its own
	said := make(chan string)
	go func() {
		text, _ := io.ReadAll(master) // it ends with EIO when the program does
		said <- string(text)
	}()
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
	// The terminal makes a line's end of its own.
	return strings.ReplaceAll(<-said, "\r\n", "\n")
}

// What differs between two lines of progress.
var (
	counted  = regexp.MustCompile(` *[0-9]+/[0-9]+ kB \([0-9]+%\)`)
	fileName = regexp.MustCompile(`\([^()%]{35,38}\)`)
	aLine    = regexp.MustCompile(`[^\r\n]*[\r\n]`)
)

// inKinds are the kinds of lines in a text, each once. How many lines of progress
// there are, and of which tablespaces but the last, is chance.
func inKinds(text string) string {
	text = fileName.ReplaceAllString(counted.ReplaceAllString(text, "N/N kB (N%)"), "(FILE)")
	text = strings.NewReplacer(", 0/2", ", 1/2").Replace(text)
	var kinds []string
	for _, line := range aLine.FindAllString(text, -1) {
		if !slices.Contains(kinds, line) {
			kinds = append(kinds, line)
		}
	}
	return fmt.Sprintf("%q", kinds)
}

// TestThatProgressKeepsTheTerminalsLine compares how lines of progress end.
func TestThatProgressKeepsTheTerminalsLine(t *testing.T) {
	t.Parallel()
	c := pgtest.Require(t, major).Init(t, pgtest.Config("archive_mode = on", "archive_command = 'true'"))
	c.Start(t)
	c.CreateTablespace(t, "space")
	backup, verify := newBed(t, "pg_basebackup").at(c), newBed(t, "pg_verifybackup")
	for _, line := range []string{"-P", "-P -v", "-P -Ft"} {
		var said []string
		for _, b := range [][2]string{{backup.ours, verify.ours}, {backup.stock, verify.stock}} {
			dir := t.TempDir()
			args := append(words("-D d -cfast -N -X none"), words(line)...)
			if !strings.Contains(line, "-Ft") {
				args = append(args, "-T", c.Query(t, "SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'space'")+"="+dir+"/space")
			}
			text := inKinds(backup.onTerminal(t, b[0], dir, args...))
			text += inKinds(verify.onTerminal(t, b[1], dir, "-P", "-n", "d"))
			for _, line := range []string{"-Pn d", "-Pns d", "-P missing", "-Pn -m nowhere d"} {
				text += inKinds(verify.run(t, b[1], dir, words(line)...).errors)
			}
			said = append(said, text)
		}
		if said[0] != said[1] || !strings.Contains(said[0], `\r`) {
			t.Errorf("%s: ours\n%s\nstock:\n%s", line, said[0], said[1])
		}
	}
}
