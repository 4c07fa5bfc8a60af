// Package clidoc makes manual pages and shell completions of a command line's
// model, so that neither can differ from what the program takes:
//
//	pages := (&clidoc.Manual{App: parser.Model, …}).Pages()
//	text, err := clidoc.Completion("bash", parser.Model)
//
// The same model gives the same bytes: there is no date in them. Commands are
// taken one level deep; hidden ones and hidden options are left out.
package clidoc

import (
	"strings"

	"github.com/alecthomas/kong"
)

// visible are the commands that a person is told of, in the model's order.
func visible(app *kong.Application) []*kong.Node {
	var nodes []*kong.Node
	for _, n := range app.Children {
		if !n.Hidden {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// options are those of a command, and behind them those that every command
// has.
func options(n *kong.Node) []*kong.Flag {
	all := n.AllFlags(true)
	var flags []*kong.Flag
	for i := range all {
		flags = append(flags, all[len(all)-1-i]...)
	}
	return flags
}

// spellings are the ways to write an option: "-D", "--pgdata".
func spellings(f *kong.Flag) []string {
	var all []string
	if f.Short != 0 {
		all = append(all, "-"+string(f.Short))
	}
	all = append(all, "--"+f.Name)
	for _, a := range f.Aliases {
		all = append(all, "--"+a)
	}
	return all
}

// takesValue tells whether something has to follow the option.
func takesValue(f *kong.Flag) bool { return !f.IsBool() && !f.IsCounter() }

// valueName is what stands for the option's value.
func valueName(f *kong.Flag) string {
	if f.PlaceHolder != "" {
		return f.PlaceHolder
	}
	return strings.ToUpper(f.Name)
}

// firstSentence is a help text's, without the full stop.
func firstSentence(help string) string {
	first, _, _ := strings.Cut(help, ". ")
	return strings.TrimSuffix(first, ".")
}
