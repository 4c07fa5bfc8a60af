package clidoc

import "strings"

// roffSpecial are the characters that roff takes for something else, or prints
// as something else than what can be copied to a command line.
var roffSpecial = strings.NewReplacer(
	`\`, `\e`,
	`-`, `\-`,
	`'`, `\(aq`,
	`"`, `\(dq`,
	"`", `\(ga`,
	`~`, `\(ti`,
	`^`, `\(ha`,
)

// roffText is text as it is, for any place of a page but the beginning of a
// line.
func roffText(text string) string { return roffSpecial.Replace(text) }

func bold(text string) string   { return `\fB` + roffText(text) + `\fR` }
func italic(text string) string { return `\fI` + roffText(text) + `\fR` }

// roff is a page in the macros of man(7).
type roff struct{ strings.Builder }

// macro writes a request and its arguments, which are text.
func (r *roff) macro(name string, args ...string) {
	r.WriteString("." + name)
	for _, a := range args {
		r.WriteString(` "` + roffText(a) + `"`)
	}
	r.WriteByte('\n')
}

// line writes a line that is roff already. At its beginning a full stop would
// make it a request, and a blank a break.
func (r *roff) line(line string) {
	if line = strings.TrimRight(line, " "); line == "" {
		return
	}
	if strings.IndexByte(". ", line[0]) >= 0 {
		r.WriteString(`\&`)
	}
	r.WriteString(line + "\n")
}

// lineWidth is how long the lines of text in a page's source may be.
const lineWidth = 80

// text writes text to be filled, in lines of a length to be read.
func (r *roff) text(text string) {
	line := ""
	for _, word := range strings.Fields(roffText(text)) {
		if line != "" && len(line)+1+len(word) > lineWidth {
			r.line(line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	r.line(line)
}

// item writes a tagged paragraph; the tag is roff already.
func (r *roff) item(tag, text string) {
	r.macro("TP")
	r.line(tag)
	r.text(text)
}

// example writes lines as they are, indented.
func (r *roff) example(text string) {
	r.macro("RS")
	r.macro("EX")
	for line := range strings.Lines(text) {
		r.line(roffText(strings.TrimRight(line, "\n")))
	}
	r.macro("EE")
	r.macro("RE")
}

// paragraphs writes text whose paragraphs are divided by empty lines. One
// whose lines all begin with a blank is an example. heading says that a
// section's heading stands before it.
func (r *roff) paragraphs(text string, heading bool) {
	for _, p := range strings.Split(strings.Trim(text, "\n"), "\n\n") {
		if p == "" {
			continue
		}
		if !heading {
			r.macro("PP")
		}
		heading = false
		if indented(p) {
			r.example(outdent(p))
			continue
		}
		r.text(p)
	}
}

func indented(paragraph string) bool {
	for line := range strings.Lines(paragraph) {
		if !strings.HasPrefix(line, " ") {
			return false
		}
	}
	return true
}

func outdent(paragraph string) string {
	var b strings.Builder
	for line := range strings.Lines(paragraph) {
		b.WriteString(strings.TrimPrefix(line, "  "))
	}
	return b.String()
}
