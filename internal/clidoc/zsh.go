package clidoc

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

const zshBegin = `#compdef NAME
# Completion of NAME for zsh. Made by: NAME generate completion zsh

_NAME() {
  local curcontext=$curcontext state line
  typeset -A opt_args
`

const zshEnd = `      esac
      ;;
  esac
}

# Called to complete, or read by source.
if [[ $funcstack[1] == _NAME ]]; then
  _NAME "$@"
else
  compdef _NAME NAME
fi
`

func zsh(app *kong.Application) string {
	var b strings.Builder
	b.WriteString(strings.ReplaceAll(zshBegin, "NAME", app.Name))
	b.WriteString("  _arguments -C")
	for _, f := range options(app.Node) {
		zshOption(&b, "    ", f)
	}
	b.WriteString(" \\\n    '1:command:->command' \\\n    '*::argument:->argument'\n")
	b.WriteString("  case $state in\n    command)\n      local -a commands=(\n")
	for _, n := range visible(app) {
		fmt.Fprintf(&b, "        %s\n", zshQuote(n.Name+":"+zshEscape(summary(n.Help))))
	}
	b.WriteString("      )\n      _describe -t commands command commands\n      ;;\n")
	b.WriteString("    argument)\n      case $line[1] in\n")
	for _, n := range visible(app) {
		fmt.Fprintf(&b, "        %s)\n          _arguments -s", n.Name)
		for _, f := range options(n) {
			zshOption(&b, "            ", f)
		}
		for i, p := range n.Positional {
			at := fmt.Sprint(i + 1)
			if p.IsCumulative() {
				at = "*"
			}
			fmt.Fprintf(&b, " \\\n            %s", zshQuote(at+":"+p.Name+":"+zshAction(valuesOf(p.Name))))
		}
		b.WriteString("\n          ;;\n")
	}
	b.WriteString(strings.ReplaceAll(zshEnd, "NAME", app.Name))
	return b.String()
}

// zshOption writes a spec for each way to write an option. One that was given
// is not offered again, unless it may be.
func zshOption(b *strings.Builder, indent string, f *kong.Flag) {
	ways := spellings(f)
	before := "(" + strings.Join(ways, " ") + ")"
	if f.IsCumulative() {
		before = "*"
	}
	for _, way := range ways {
		spec := before + way
		if takesValue(f) {
			if strings.HasPrefix(way, "--") {
				spec += "="
			} else {
				spec += "+"
			}
		}
		spec += "[" + zshEscape(firstSentence(f.Help)) + "]"
		if takesValue(f) {
			spec += ":" + zshEscape(valueName(f)) + ":" + zshAction(flagValues(f))
		}
		fmt.Fprintf(b, " \\\n%s%s", indent, zshQuote(spec))
	}
}

func zshAction(v values) string {
	switch {
	case v.directories:
		return "_files -/"
	case v.files:
		return "_files"
	case len(v.words) > 0:
		return "(" + strings.Join(v.words, " ") + ")"
	}
	return " "
}

// zshEscape makes text a part of a spec.
func zshEscape(text string) string {
	return strings.NewReplacer(`\`, `\\`, `[`, `\[`, `]`, `\]`, `:`, `\:`).Replace(text)
}

func zshQuote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
