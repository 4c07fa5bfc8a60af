// Package getopt reads command lines as getopt_long(3) of the GNU C library
// does, which PostgreSQL's own tools use:
//
//	operands, err := getopt.Parse(os.Args[1:], []getopt.Option{
//		{Short: 'D', Long: "pgdata", Argument: true, Set: func(dir string) error { directory = dir; return nil }},
//	})
//
// Short options may be bundled (-vP), an argument may stand behind its option
// with or without a blank (-cfast, -c fast) or an equals sign (--checkpoint=fast,
// --checkpoint fast), long options may be shortened as far as they stay
// unambiguous, options may stand behind operands, and -- ends the options. With
// POSIXLY_CORRECT in the environment the first operand ends them as well.
package getopt

import (
	"os"
	"strings"
)

// Option is one that the command line may have.
type Option struct {
	// Short is the letter behind one dash; 0 if there is none.
	Short byte
	// Long is the name behind two dashes; "" if there is none.
	Long string
	// Whole says that Long is not shortened, and that it makes no other name
	// ambiguous.
	Whole bool
	// Argument tells that the option has one, which it must have then.
	Argument bool
	// Set is called with the argument, or with "", whenever the option is met,
	// in the order of the command line. Its error ends the reading.
	Set func(value string) error
}

// Error is a command line that getopt_long refuses.
type Error struct {
	// Text is what getopt_long prints behind the program's name. It is empty
	// where an option's Set refuses without a text of its own.
	Text string
}

func (e *Error) Error() string { return e.Text }

// Parse calls Set of each option in args, which does not have the program's
// name, and returns the operands. It ends at the first error: an *Error for
// one of the command line itself, else the one that Set returned.
func Parse(args []string, options []Option) (operands []string, err error) {
	_, ordered := os.LookupEnv("POSIXLY_CORRECT")
	p := &parser{args: args, options: options}
	for len(p.args) > 0 {
		arg := p.next()
		switch {
		case arg == "--":
			return append(operands, p.args...), nil
		case len(arg) < 2 || arg[0] != '-':
			operands = append(operands, arg)
			if ordered {
				return append(operands, p.args...), nil
			}
		case arg[1] == '-':
			err = p.long(arg[2:])
		default:
			err = p.bundle(arg[1:])
		}
		if err != nil {
			return nil, err
		}
	}
	return operands, nil
}

// parser goes through what is left of a command line.
type parser struct {
	args    []string
	options []Option
}

func (p *parser) next() string {
	arg := p.args[0]
	p.args = p.args[1:]
	return arg
}

// bundle reads the letters behind one dash. The first that has an argument
// takes what follows it.
func (p *parser) bundle(letters string) error {
	for i := 0; i < len(letters); i++ {
		// Not by way of a rune: a byte that is no letter is told as it is.
		quoted := "'" + letters[i:i+1] + "'"
		o := p.short(letters[i])
		switch {
		case o == nil:
			return &Error{"invalid option -- " + quoted}
		case !o.Argument:
			if err := o.Set(""); err != nil {
				return err
			}
		case i+1 < len(letters):
			return o.Set(letters[i+1:])
		case len(p.args) == 0:
			return &Error{"option requires an argument -- " + quoted}
		default:
			return o.Set(p.next())
		}
	}
	return nil
}

func (p *parser) short(letter byte) *Option {
	for i := range p.options {
		if o := &p.options[i]; o.Short != 0 && o.Short == letter {
			return o
		}
	}
	return nil
}

// long reads what stands behind two dashes.
func (p *parser) long(text string) error {
	name, value, hasValue := strings.Cut(text, "=")
	o, err := p.find(name, text)
	switch {
	case err != nil:
		return err
	case hasValue && !o.Argument:
		return &Error{"option '--" + o.Long + "' doesn't allow an argument"}
	case hasValue || !o.Argument:
		return o.Set(value)
	case len(p.args) == 0:
		return &Error{"option '--" + o.Long + "' requires an argument"}
	}
	return o.Set(p.next())
}

// find looks for the long option of that name, or for the only one that begins
// so. text is the name as it was given, with its argument.
func (p *parser) find(name, text string) (*Option, error) {
	var candidates []*Option
	for i := range p.options {
		o := &p.options[i]
		switch {
		case o.Long == "" || !strings.HasPrefix(o.Long, name):
		case o.Long == name:
			return o, nil
		case o.Whole:
		default:
			candidates = append(candidates, o)
		}
	}
	switch len(candidates) {
	case 0:
		return nil, &Error{"unrecognized option '--" + text + "'"}
	case 1:
		return candidates[0], nil
	}
	message := "option '--" + text + "' is ambiguous; possibilities:"
	for _, o := range candidates {
		message += " '--" + o.Long + "'"
	}
	return nil, &Error{message}
}
