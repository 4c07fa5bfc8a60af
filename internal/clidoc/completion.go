package clidoc

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// Shells are those that there are completions for.
var Shells = []string{"bash", "zsh", "fish"}

// Completion is the script that a shell reads to complete the command line.
func Completion(shell string, app *kong.Application) (string, error) {
	switch shell {
	case "bash":
		return bash(app), nil
	case "zsh":
		return zsh(app), nil
	case "fish":
		return fish(app), nil
	}
	return "", fmt.Errorf("no completion for shell %q: %s", shell, strings.Join(Shells, ", "))
}

// values are what a shell can offer for an option's value or an argument. None
// of the fields is set where only the person knows.
type values struct {
	words       []string
	directories bool
	files       bool
}

var (
	alternatives = regexp.MustCompile(`^[a-z0-9]+(\|[a-z0-9]+)+$`)

	methods   = []string{"gzip", "lz4", "zstd", "none"}
	checksums = []string{"NONE", "CRC32C", "SHA224", "SHA256", "SHA384", "SHA512"}

	// byName is what the names of values stand for, in options and arguments.
	byName = map[string]values{
		"DIR":       {directories: true},
		"BACKUP":    {directories: true},
		"FILE":      {files: true},
		"MANIFEST":  {files: true},
		"PATH":      {files: true},
		"ALGORITHM": {words: checksums},
		"METHOD":    {words: methods},
		"TARGET":    {words: []string{"blackhole", "client"}},
		// On either side, as in -Z of a base backup.
		"SIDE-METHOD": {words: slices.Concat(methods, prefixed("client-", methods[:3]), prefixed("server-", methods[:3]))},
	}
)

func prefixed(prefix string, words []string) []string {
	var all []string
	for _, w := range words {
		all = append(all, prefix+w)
	}
	return all
}

// valuesOf tells by its name what may stand for a value: "plain|tar" are its
// own words, and what follows in brackets is left to the person.
func valuesOf(name string) values {
	if alternatives.MatchString(name) {
		return values{words: strings.Split(name, "|")}
	}
	name = strings.ToUpper(name)
	if rest, ok := strings.CutPrefix(name, "[{CLIENT|SERVER}-]"); ok {
		name = "SIDE-" + rest
	}
	name, _, _ = strings.Cut(name, "[")
	return byName[name]
}

func flagValues(f *kong.Flag) values {
	if f.Enum != "" {
		return values{words: f.EnumSlice()}
	}
	return valuesOf(valueName(f))
}
