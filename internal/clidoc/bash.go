package clidoc

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

const bashBegin = `# Completion of NAME for bash. Made by: NAME generate completion bash

_NAME() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command='' word
    local IFS=$'\n'
    COMPREPLY=()
    # Of --option=value bash makes three words.
    if [[ $cur == '=' ]]; then
        cur=''
    elif [[ $prev == '=' ]]; then
        prev=${COMP_WORDS[COMP_CWORD-2]}
    fi
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        if [[ $word != -* ]]; then
            command=$word
            break
        fi
    done
    # The value of the option before the cursor.
    case $command:$prev in
`

const bashMiddle = `    esac
    # An option or an argument.
    case $command:$cur in
`

const bashEnd = `    esac
}

complete -F _NAME NAME
`

// bash needs nothing but bash itself, 3.2 or later.
func bash(app *kong.Application) string {
	var b strings.Builder
	b.WriteString(strings.ReplaceAll(bashBegin, "NAME", app.Name))
	for _, n := range visible(app) {
		for _, f := range options(n) {
			if !takesValue(f) {
				continue
			}
			var patterns []string
			for _, s := range spellings(f) {
				patterns = append(patterns, n.Name+":"+s)
			}
			fmt.Fprintf(&b, "    %s)\n%s        return ;;\n", strings.Join(patterns, " | "), bashOffer(flagValues(f)))
		}
	}
	b.WriteString(bashMiddle)
	var names []string
	for _, n := range visible(app) {
		names = append(names, n.Name)
		fmt.Fprintf(&b, "    %s:-*)\n%s        ;;\n", n.Name, bashOffer(values{words: allSpellings(n)}))
		if len(n.Positional) > 0 {
			fmt.Fprintf(&b, "    %s:*)\n%s        ;;\n", n.Name, bashOffer(valuesOf(n.Positional[len(n.Positional)-1].Name)))
		}
	}
	fmt.Fprintf(&b, "    :-*)\n%s        ;;\n", bashOffer(values{words: allSpellings(app.Node)}))
	fmt.Fprintf(&b, "    :*)\n%s        ;;\n", bashOffer(values{words: names}))
	b.WriteString(strings.ReplaceAll(bashEnd, "NAME", app.Name))
	return b.String()
}

func allSpellings(n *kong.Node) []string {
	var all []string
	for _, f := range options(n) {
		all = append(all, spellings(f)...)
	}
	return all
}

// bashOffer are the lines that offer what there is to offer.
func bashOffer(v values) string {
	const indent = "        "
	switch {
	case v.directories:
		return indent + "COMPREPLY=($(compgen -d -- \"$cur\"))\n" + indent + "compopt -o filenames 2>/dev/null\n"
	case v.files:
		return indent + "COMPREPLY=($(compgen -f -- \"$cur\"))\n" + indent + "compopt -o filenames 2>/dev/null\n"
	case len(v.words) > 0:
		return indent + "COMPREPLY=($(compgen -W $'" + strings.Join(v.words, `\n`) + "' -- \"$cur\"))\n"
	}
	return ""
}
