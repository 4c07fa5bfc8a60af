// Package dropin makes the program take the places of PostgreSQL's own tools:
// called by the name of one of them, it has that tool's command line, messages
// and exit codes, those of release 18. docs/drop-in.md tells what differs.
package dropin

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/pgbraid/pgbraid/internal/cli"
	"github.com/pgbraid/pgbraid/internal/getopt"
)

// release is the one of PostgreSQL whose tools these are.
const release = "18.6"

// Exit codes: the tools have no more.
const (
	exitDone   = 0
	exitFailed = 1
)

// tool is one of those whose places are taken.
type tool struct {
	name string
	// help is what --help shows, "%s" being the name.
	help string
	// run is called with the arguments. What it returns is reported by
	// program.report, and makes the exit code 1.
	run func(p *program, args []string) error
}

// tools are all of them.
var tools = []*tool{
	&pgBasebackup,
	&pgReceivewal,
	&pgCombinebackup,
	&pgVerifybackup,
}

// Main runs the tool by whose name the program was called, argv[0] being that
// name, and returns its exit code. ok is false where it is none of theirs.
func Main(argv []string) (code int, ok bool) {
	if len(argv) == 0 {
		return 0, false
	}
	name := filepath.Base(argv[0])
	for _, t := range tools {
		if t.name == name {
			p := &program{name: name, path: argv[0], out: os.Stdout, err: os.Stderr}
			return p.main(t, argv[1:]), true
		}
	}
	return 0, false
}

// program is one run of a tool.
type program struct {
	name string // such as pg_basebackup
	path string // as it was called
	out  *os.File
	err  io.Writer
}

// main shows what only a first argument asks for, or runs the tool.
func (p *program) main(t *tool, args []string) int {
	if len(args) > 0 {
		switch args[0] {
		case "--help", "-?":
			fmt.Fprintf(p.out, t.help, p.name)
			return exitDone
		case "--version", "-V":
			// Who asks looks for the number behind "(PostgreSQL)", and takes
			// away what stands in parentheses, so none may stand in others.
			fmt.Fprintf(p.out, "%s (PostgreSQL) %s (pgbraid %s)\n", p.name, release, strings.Trim(cli.ProgramVersion(), "()"))
			return exitDone
		}
	}
	if err := t.run(p, args); err != nil {
		p.report(err)
		return exitFailed
	}
	return exitDone
}

// parse reads the arguments. Elsewhere than at the beginning, --help and
// --version are known but not obeyed, as in the tools. An operand is refused.
func (p *program) parse(args []string, options []getopt.Option) error {
	operands, err := p.parseOperands(args, options)
	if err != nil {
		return err
	}
	if len(operands) > 0 {
		return usage("too many command-line arguments (first is %q)", quoted(operands[0]))
	}
	return nil
}

// parseOperands is parse for a tool that takes operands.
func (p *program) parseOperands(args []string, options []getopt.Option) (operands []string, err error) {
	late := func(string) error { return &getopt.Error{} }
	known := append([]getopt.Option{
		{Long: "help", Set: late},
		{Long: "version", Set: late},
	}, options...)
	return getopt.Parse(args, known)
}

// report shows what ended a run.
func (p *program) report(err error) {
	var (
		line   *getopt.Error
		failed *failure
	)
	switch {
	case errors.Is(err, errShown):
	case errors.As(err, &line):
		// This one is the C library's, which says the name as it was called.
		if line.Text != "" {
			fmt.Fprintf(p.err, "%s: %s\n", p.path, clean(line.Text))
		}
		p.Hint("%s", p.tryHelp())
	case errors.As(err, &failed):
		p.Error("%s", failed.text)
		if failed.detail != "" {
			p.Detail("%s", failed.detail)
		}
		if failed.usage {
			p.Hint("%s", p.tryHelp())
		} else if failed.hint != "" {
			p.Hint("%s", failed.hint)
		}
		if failed.also != "" {
			p.Error("%s", failed.also)
		}
	default:
		p.Error("%s", cli.Describe(err))
		if h := cli.Hint(err); h != "" {
			p.Hint("%s", h)
		}
	}
}

func (p *program) tryHelp() string {
	return fmt.Sprintf("Try \"%s --help\" for more information.", p.name)
}
