package getopt

import (
	"errors"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// recorded are options like those of pg_basebackup, which note in seen that
// they were met, as getopt(1) would print them.
func recorded(seen *[]string) []Option {
	list := []Option{
		{Short: 'c', Long: "checkpoint", Argument: true},
		{Short: 'C', Long: "create-slot"},
		{Short: 'Z', Long: "compress", Argument: true},
		{Short: 'v', Long: "verbose"},
		{Short: 'P', Long: "progress"},
		{Short: 'D', Long: "pgdata", Argument: true},
		{Long: "no-slot"},
		{Long: "no-sync"},
		{Long: "no-synchronous"},
		{Long: "waldir", Argument: true},
		{Short: 'q'},
	}
	for i := range list {
		o := &list[i]
		name, argument := "--"+o.Long, o.Argument
		if o.Long == "" {
			name = "-" + string(o.Short)
		}
		o.Set = func(value string) error {
			*seen = append(*seen, name)
			if argument {
				*seen = append(*seen, value)
			}
			return nil
		}
	}
	return list
}

func parse(args []string) (seen, operands []string, text string) {
	operands, err := Parse(args, recorded(&seen))
	if err != nil {
		text = err.Error()
	}
	return seen, operands, text
}

func TestParse(t *testing.T) {
	for _, c := range []struct{ args, seen, operands, text string }{
		{"", "", "", ""},
		{"-cfast", "--checkpoint fast", "", ""},
		{"-c fast", "--checkpoint fast", "", ""},
		{"-vPcfast", "--verbose --progress --checkpoint fast", "", ""},
		{"--checkpoint=fast --pgdata x", "--checkpoint fast --pgdata x", "", ""},
		{"--pgdata=", "--pgdata ", "", ""},
		{"--ch fast", "--checkpoint fast", "", ""},
		{"--no-sync", "--no-sync", "", ""},
		{"a -v b -- -P", "--verbose", "a b -P", ""},
		{"-D -- -v", "--pgdata -- --verbose", "", ""},
		{"-D -", "--pgdata -", "", ""},
		{"- -q", "-q", "-", ""},
		{"-vx", "--verbose", "", "invalid option -- 'x'"},
		{"-v-", "--verbose", "", "invalid option -- '-'"},
		{"-v -D", "--verbose", "", "option requires an argument -- 'D'"},
		{"--pg", "", "", "option '--pgdata' requires an argument"},
		{"--verb=3", "", "", "option '--verbose' doesn't allow an argument"},
		{"--nothing=3", "", "", "unrecognized option '--nothing=3'"},
		{"--c=3", "", "", "option '--c=3' is ambiguous; possibilities: '--checkpoint' '--create-slot' '--compress'"},
		{"--no-s", "", "", "option '--no-s' is ambiguous; possibilities: '--no-slot' '--no-sync' '--no-synchronous'"},
	} {
		seen, operands, text := parse(split(c.args))
		if got := strings.Join(seen, " "); got != c.seen || strings.Join(operands, " ") != c.operands || text != c.text {
			t.Errorf("%q: options %q, operands %q, error %q", c.args, got, operands, text)
		}
	}
}

func split(line string) []string {
	if line == "" {
		return nil
	}
	return strings.Split(line, " ")
}

func TestThatTheFirstOperandEndsTheOptionsInThePOSIXWay(t *testing.T) {
	t.Setenv("POSIXLY_CORRECT", "")
	seen, operands, text := parse([]string{"-v", "a", "-P"})
	if !slices.Equal(seen, []string{"--verbose"}) || !slices.Equal(operands, []string{"a", "-P"}) || text != "" {
		t.Error(seen, operands, text)
	}
}

func TestThatAWholeNameIsNotShortened(t *testing.T) {
	t.Parallel()
	for arg, want := range map[string]string{"--wal=x": "directory", "--wal-d=x": "directory", "--wal-path=x": "path", "--wal-pat=x": "unrecognized option '--wal-pat=x'"} {
		got := ""
		set := func(name string) func(string) error { return func(string) error { got = name; return nil } }
		_, err := Parse([]string{arg}, []Option{
			{Long: "wal-path", Whole: true, Argument: true, Set: set("path")},
			{Long: "wal-directory", Argument: true, Set: set("directory")},
		})
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", arg, got, want)
		}
	}
}

func TestThatAnErrorOfSetEndsTheReading(t *testing.T) {
	t.Parallel()
	refusal := errors.New("no")
	calls := 0
	set := func(string) error { calls++; return refusal }
	for _, args := range [][]string{{"-vv"}, {"-D", "x", "-v"}, {"-Dx", "-v"}, {"--pgdata=x", "-v"}, {"--pgdata", "x", "-v"}, {"--verbose", "-v"}} {
		calls = 0
		_, err := Parse(args, []Option{{Short: 'v', Long: "verbose", Set: set}, {Short: 'D', Long: "pgdata", Argument: true, Set: set}})
		if !errors.Is(err, refusal) || calls != 1 {
			t.Errorf("%q: error %v after %d calls", args, err, calls)
		}
	}
}

// words are what the command lines of the comparison are made of.
var words = []string{
	"-v", "-P", "-vP", "-c", "-cfast", "-D", "-D-", "-vD", "-vDx", "-x", "-vx", "-q", "-qv", "-", "--", "-W", "-:", "-;", "-?",
	"--checkpoint", "--checkpoint=fast", "--checkpoint=", "--ch", "--c", "--co=9", "--c=9", "--create", "--create=1", "--verbose",
	"--verbose=", "--v", "--no", "--no-s", "--no-sl", "--no-sync", "--no-sync=", "--no-syn", "--no-synch", "--waldir", "--wal=/x",
	"--=", "--=x", "---", "---v", "--pgdata", "--pgdata=a=b", "--pgdata=it's", "a", "b c", "", "it's",
}

// TestAgainstTheCLibrary compares with getopt(1) of util-linux, which hands its
// command line to getopt_long(3).
func TestAgainstTheCLibrary(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	failed := 0
	for range 600 {
		args := make([]string, 1+random.IntN(4))
		for i := range args {
			args[i] = words[random.IntN(len(words))]
		}
		seen, operands, text := parse(args)
		wantSeen, wantOperands, wantText := throughGetopt(t, args)
		if text != wantText {
			t.Errorf("%q: error %q, the C library's is %q", args, text, wantText)
		}
		if text != "" {
			failed++
			continue
		}
		if !slices.Equal(seen, wantSeen) || !slices.Equal(operands, wantOperands) {
			t.Errorf("%q: %q and %q, the C library's %q and %q", args, seen, operands, wantSeen, wantOperands)
		}
	}
	if failed < 100 || failed > 500 {
		t.Errorf("%d of 600 command lines are wrong: the comparison says little", failed)
	}
}

func throughGetopt(t *testing.T, args []string) (seen, operands []string, text string) {
	t.Helper()
	c := exec.Command("getopt", append([]string{"-n", "prog", "-o", "c:CZ:vPD:q",
		"-l", "checkpoint:,create-slot,compress:,verbose,progress,pgdata:,no-slot,no-sync,no-synchronous,waldir:", "--"}, args...)...)
	c.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}
	var errors strings.Builder
	c.Stderr = &errors
	out, err := c.Output()
	if errors.Len() > 0 {
		first, _, _ := strings.Cut(errors.String(), "\n")
		return nil, nil, strings.TrimPrefix(first, "prog: ")
	}
	if err != nil {
		t.Fatalf("getopt(1): %v", err)
	}
	printed := shellWords(string(out))
	long := map[string]string{"-c": "--checkpoint", "-C": "--create-slot", "-Z": "--compress", "-v": "--verbose", "-P": "--progress", "-D": "--pgdata"}
	for len(printed) > 0 {
		word := printed[0]
		printed = printed[1:]
		if word == "--" {
			return seen, printed, ""
		}
		if l, ok := long[word]; ok {
			word = l
		}
		seen = append(seen, word)
		switch word {
		case "--checkpoint", "--compress", "--pgdata", "--waldir":
			seen = append(seen, printed[0])
			printed = printed[1:]
		}
	}
	t.Fatalf("getopt(1) printed %q", out)
	return nil, nil, ""
}

// shellWords undoes the quoting of getopt(1).
func shellWords(line string) (words []string) {
	var word strings.Builder
	in, open := false, false // in a word; between quotation marks
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\'':
			in, open = true, !open
		case c == '\\' && !open:
			i++
			word.WriteByte(line[i])
		case !open && (c == ' ' || c == '\n'):
			if in {
				words = append(words, word.String())
			}
			word.Reset()
			in = false
		default:
			in = true
			word.WriteByte(c)
		}
	}
	return words
}

// FuzzParse holds what is true of every command line: operands are arguments
// in their order, nothing is lost without an error, and an error has one of the
// C library's texts.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"-vP\x00a\x00--\x00-v", "--c=1", "-D", "--no-s", "-\xff", "--pgdata\x00--"} {
		f.Add(seed)
	}
	texts := []string{"invalid option -- '", "option requires an argument -- '", "unrecognized option '--", "option '--"}
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, "\x00")
		seen, operands, text := parse(args)
		if text != "" {
			if !slices.ContainsFunc(texts, func(p string) bool { return strings.HasPrefix(text, p) }) {
				t.Errorf("error %q", text)
			}
			return
		}
		rest := args
		for _, o := range operands {
			i := slices.Index(rest, o)
			if i < 0 {
				t.Fatalf("operand %q of %q is out of order", o, args)
			}
			rest = rest[i+1:]
		}
		plain := !slices.ContainsFunc(args, func(a string) bool { return len(a) > 1 && a[0] == '-' })
		if plain && (len(seen) > 0 || !slices.Equal(operands, args)) {
			t.Errorf("%q without an option: %q and %q", args, seen, operands)
		}
		if len(seen)+len(operands) == 0 && len(args) > 1 {
			t.Errorf("%q: nothing is left", args)
		}
	})
}
