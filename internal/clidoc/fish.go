package clidoc

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

func fish(app *kong.Application) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Completion of %s for fish. Made by: %[1]s generate completion fish\n\n", app.Name)
	fmt.Fprintf(&b, "complete -c %s -f\n", app.Name)
	for _, f := range options(app.Node) {
		fmt.Fprintf(&b, "complete -c %s%s\n", app.Name, fishOption(f))
	}
	for _, n := range visible(app) {
		fmt.Fprintf(&b, "\ncomplete -c %s -n __fish_use_subcommand -a %s -d %s\n", app.Name, n.Name, fishQuote(summary(n.Help)))
		when := fmt.Sprintf("complete -c %s -n '__fish_seen_subcommand_from %s'", app.Name, n.Name)
		for _, f := range n.Flags {
			if !f.Hidden {
				fmt.Fprintf(&b, "%s%s\n", when, fishOption(f))
			}
		}
		if len(n.Positional) > 0 {
			fmt.Fprintf(&b, "%s%s\n", when, fishValues(valuesOf(n.Positional[len(n.Positional)-1].Name)))
		}
	}
	return b.String()
}

func fishOption(f *kong.Flag) string {
	var b strings.Builder
	if f.Short != 0 {
		fmt.Fprintf(&b, " -s %c", f.Short)
	}
	for _, name := range append([]string{f.Name}, f.Aliases...) {
		fmt.Fprintf(&b, " -l %s", name)
	}
	if takesValue(f) {
		b.WriteString(" -r" + fishValues(flagValues(f)))
	}
	fmt.Fprintf(&b, " -d %s", fishQuote(firstSentence(f.Help)))
	return b.String()
}

// fishValues are the options of complete that offer what there is to offer.
func fishValues(v values) string {
	switch {
	case v.directories:
		return " -f -a '(__fish_complete_directories)'"
	case v.files:
		return " -F"
	case len(v.words) > 0:
		return " -f -a " + fishQuote(strings.Join(v.words, " "))
	}
	return " -f"
}

func fishQuote(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'"
}
