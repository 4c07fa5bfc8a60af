package clidoc

import (
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// Manual is what the pages are made of: the model, and what it does not know.
type Manual struct {
	App     *kong.Application
	Summary string // what the program does, in half a sentence
	Version string // in the pages' footer; may be empty

	// ExitStatus are all exit codes, for the program's page and those of
	// commands whose help has no paragraph "Exit codes: 0 …, 1 …".
	ExitStatus []Item
	// Environment are variables by the key of the group of options that they
	// go with, "" for those of every command.
	Environment map[string][]Item
	// Notes are by command; "" is the program's page.
	Notes map[string]Notes
	// SeeAlso are pages of others, such as "pg_basebackup(1)".
	SeeAlso []string
}

// Notes are what a page has of its own beside the model.
type Notes struct {
	Environment []Item
	Examples    []Example
}

// Item is a term and what it means.
type Item struct{ Term, Meaning string }

// Example is a command line, or several, and what it is for.
type Example struct{ What, Line string }

// Page is a manual page: Name is that of its file, such as "pgbraid-clone.1".
type Page struct{ Name, Text string }

// Pages are the program's page and one for each command.
func (m *Manual) Pages() []Page {
	pages := []Page{m.programPage()}
	for _, n := range visible(m.App) {
		pages = append(pages, m.commandPage(n))
	}
	return pages
}

func (m *Manual) programPage() Page {
	r := m.begin(m.App.Name, m.Summary)
	r.macro("SH", "SYNOPSIS")
	r.line(bold(m.App.Name) + ` ` + italic("command") + ` [` + italic("option") + `...] [` + italic("argument") + `...]`)
	r.macro("SH", "DESCRIPTION")
	r.paragraphs(m.App.Help, true)
	r.macro("SH", "COMMANDS")
	for _, n := range visible(m.App) {
		r.item(bold(m.pageName(n))+"(1)", n.Help)
	}
	m.options(r, m.App.Node)
	r.macro("SH", "EXIT STATUS")
	m.items(r, m.ExitStatus)
	environment := slices.Clone(m.Environment[""])
	for _, g := range m.groups() {
		environment = append(environment, m.Environment[g]...)
	}
	m.end(r, environment, m.App.Node, "")
	return Page{m.App.Name + ".1", r.String()}
}

func (m *Manual) commandPage(n *kong.Node) Page {
	r := m.begin(m.pageName(n), summary(n.Help))
	r.macro("SH", "SYNOPSIS")
	r.line(m.synopsis(n))
	r.macro("SH", "DESCRIPTION")
	detail, codes := splitExitCodes(n.Detail)
	if detail == "" {
		detail = n.Help
	}
	r.paragraphs(detail, true)
	if len(n.Positional) > 0 {
		r.macro("SH", "ARGUMENTS")
		for _, p := range n.Positional {
			r.item(italic(p.Name), p.Help)
		}
	}
	m.options(r, n)
	r.macro("SH", "EXIT STATUS")
	if codes == nil {
		codes = m.ExitStatus
	}
	m.items(r, codes)
	environment := slices.Concat(m.Environment[""], m.Notes[n.Name].Environment)
	for _, key := range groupKeys(n) {
		if key != "" {
			environment = append(environment, m.Environment[key]...)
		}
	}
	m.end(r, environment, n, n.Name)
	return Page{m.pageName(n) + ".1", r.String()}
}

func (m *Manual) pageName(n *kong.Node) string { return m.App.Name + "-" + n.Name }

// begin starts a page. There is no date: the same program has the same pages.
func (m *Manual) begin(name, summary string) *roff {
	r := &roff{}
	r.WriteString(`.\" Made of the command line's model by: ` + m.App.Name + " generate man\n")
	r.macro("TH", strings.ToUpper(name), "1", "", strings.TrimSpace(m.App.Name+" "+m.Version), m.App.Name+" manual")
	// Names of options and variables are not to be divided.
	r.macro("nh")
	r.WriteString(".ad l\n")
	r.macro("SH", "NAME")
	r.text(name + " - " + summary)
	return r
}

// end writes the sections that come last.
func (m *Manual) end(r *roff, environment []Item, page *kong.Node, notes string) {
	if len(environment) > 0 {
		r.macro("SH", "ENVIRONMENT")
		m.items(r, environment)
	}
	if examples := m.Notes[notes].Examples; len(examples) > 0 {
		r.macro("SH", "EXAMPLES")
		for i, e := range examples {
			r.paragraphs(e.What, i == 0)
			r.example(e.Line)
		}
	}
	var others []string
	if page != m.App.Node {
		others = append(others, bold(m.App.Name)+"(1)")
	}
	for _, n := range visible(m.App) {
		if n != page {
			others = append(others, bold(m.pageName(n))+"(1)")
		}
	}
	for _, other := range m.SeeAlso {
		name, section, _ := strings.Cut(other, "(")
		others = append(others, bold(name)+"("+section)
	}
	r.macro("SH", "SEE ALSO")
	r.line(strings.Join(others, ",\n"))
}

func (m *Manual) items(r *roff, items []Item) {
	for _, i := range items {
		r.item(bold(i.Term), i.Meaning)
	}
}

// groups are the keys of all commands' groups, each once.
func (m *Manual) groups() []string {
	var all []string
	for _, n := range visible(m.App) {
		for _, key := range groupKeys(n) {
			if key != "" && !slices.Contains(all, key) {
				all = append(all, key)
			}
		}
	}
	return all
}

// synopsis is a command with what it cannot do without.
func (m *Manual) synopsis(n *kong.Node) string {
	line := bold(m.App.Name+" "+n.Name) + ` [` + italic("option") + `...]`
	for _, f := range options(n) {
		if f.Required {
			line += ` ` + bold(spellings(f)[0]) + ` ` + italic(valueName(f))
		}
	}
	for _, p := range n.Positional {
		arg := italic(p.Name)
		if p.IsCumulative() {
			arg += "..."
		}
		if !p.Required {
			arg = "[" + arg + "]"
		}
		line += ` ` + arg
	}
	return line
}

// options writes a command's options by their groups.
func (m *Manual) options(r *roff, n *kong.Node) {
	r.macro("SH", "OPTIONS")
	keys := groupKeys(n)
	for _, key := range keys {
		title := "Help:"
		for _, f := range options(n) {
			if groupKey(f) != key {
				continue
			}
			if title != "" && len(keys) > 1 {
				m.heading(r, f, title)
			}
			title = ""
			r.item(optionTag(f), f.Help)
		}
	}
}

// heading is that of the group of f; title is for options without one.
func (m *Manual) heading(r *roff, f *kong.Flag, title string) {
	if f.Group == nil {
		r.macro("SS", strings.TrimSuffix(title, ":"))
		return
	}
	r.macro("SS", strings.TrimSuffix(f.Group.Title, ":"))
	r.paragraphs(f.Group.Description, true)
}

func optionTag(f *kong.Flag) string {
	var ways []string
	for _, s := range spellings(f) {
		switch {
		case !takesValue(f):
			s = bold(s)
		case strings.HasPrefix(s, "--"):
			s = bold(s) + "=" + italic(valueName(f))
		default:
			s = bold(s) + " " + italic(valueName(f))
		}
		ways = append(ways, s)
	}
	return strings.Join(ways, ", ")
}

// groupKeys are the keys of a command's groups in the order in which they
// first appear; "" is last.
func groupKeys(n *kong.Node) []string {
	var keys []string
	without := false
	for _, f := range options(n) {
		switch key := groupKey(f); {
		case key == "":
			without = true
		case !slices.Contains(keys, key):
			keys = append(keys, key)
		}
	}
	if without {
		keys = append(keys, "")
	}
	return keys
}

func groupKey(f *kong.Flag) string {
	if f.Group == nil {
		return ""
	}
	return f.Group.Key
}

// summary makes of a help line what stands in a page's first line.
func summary(help string) string {
	help = strings.TrimSuffix(help, ".")
	if len(help) > 1 && help[1] >= 'a' && help[1] <= 'z' {
		help = strings.ToLower(help[:1]) + help[1:]
	}
	return help
}

const exitCodesPrefix = "Exit codes:"

// code is where a paragraph of exit codes comes to the next one, or to several
// with slashes between them.
var code = regexp.MustCompile(`(?:^|, )(\d+(?:/\d+)*) `)

// splitExitCodes takes the paragraph of exit codes out of a command's help.
func splitExitCodes(detail string) (rest string, codes []Item) {
	var kept []string
	for _, p := range strings.Split(detail, "\n\n") {
		text, ok := strings.CutPrefix(strings.TrimSpace(p), exitCodesPrefix)
		if !ok {
			kept = append(kept, p)
			continue
		}
		text = strings.Join(strings.Fields(text), " ")
		found := code.FindAllStringSubmatchIndex(text, -1)
		for i, at := range found {
			end := len(text)
			if i+1 < len(found) {
				end = found[i+1][0]
			}
			codes = append(codes, Item{
				Term:    strings.ReplaceAll(text[at[2]:at[3]], "/", ", "),
				Meaning: sentence(text[at[1]:end]),
			})
		}
	}
	return strings.Join(kept, "\n\n"), codes
}

// sentence begins with a capital letter and ends with a full stop.
func sentence(text string) string {
	text = strings.TrimSuffix(text, ".")
	return strings.ToUpper(text[:1]) + text[1:] + "."
}
