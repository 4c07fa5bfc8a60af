//go:build linux

package main

import (
	"fmt"
	"html"
	"strings"
)

// The picture's measures, in pixels.
const (
	svgWidth  = 800
	svgLabel  = 250 // room for titles
	svgBar    = 320 // how long the longest bar may be
	svgRow    = 34
	svgTop    = 62
	svgBottom = 40
)

// The picture has a ground of its own, so that it can be read on a page of
// either kind; it is dark for who prefers that.
const svgStyle = `<style>
text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328 }
.ground { fill: #ffffff }
.small { font-size: 11px; fill: #59636e }
.head { font-size: 15px; font-weight: 600 }
.ours { fill: #2f6fdb }
.stock { fill: #c3c9d1 }
.line { stroke: #59636e; stroke-dasharray: 3 3 }
@media (prefers-color-scheme: dark) {
.ground { fill: #0d1117 } text { fill: #e6edf3 } .small { fill: #9198a1 } .ours { fill: #6ea8ff } .stock { fill: #4a525c } .line { stroke: #9198a1 }
}
</style>
`

// svg draws two bars for each row, pgbraid's and under it the stock tool's,
// whose length is 1. Mostly the figure is a time; of commits more is better,
// which the row says, as it does where one of them left more than the other.
func (r *report) svg() string {
	height := svgTop + svgRow*len(r.Rows) + svgBottom
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" role="img">`+"\n", svgWidth, height)
	fmt.Fprintf(&b, "<title>pgbraid beside PostgreSQL's own tools</title>\n%s", svgStyle)
	fmt.Fprintf(&b, `<rect class="ground" width="%d" height="%d" rx="8"/>`+"\n", svgWidth, height)
	longest := 1.0
	for i := range r.Rows {
		longest = max(longest, r.Rows[i].ratio(figures[0].of))
	}
	unit := svgBar / longest
	fmt.Fprintf(&b, `<text class="head" x="12" y="24">pgbraid beside PostgreSQL's own tools</text>`+"\n")
	fmt.Fprintf(&b, `<rect class="ours" x="12" y="36" width="10" height="10"/><text class="small" x="27" y="45">pgbraid</text>`)
	fmt.Fprintf(&b, `<rect class="stock" x="82" y="36" width="10" height="10"/><text class="small" x="97" y="45">pg_basebackup, pg_receivewal, pg_verifybackup: 1.00; medians of %d runs</text>`+"\n", r.Options.Pairs)
	for i := range r.Rows {
		m := &r.Rows[i]
		y := svgTop + svgRow*i
		ratio := m.ratio(figures[0].of)
		ours, theirs := spreadOf(m.Pgbraid, figures[0].of).Median, spreadOf(m.Theirs, figures[0].of).Median
		value := fmt.Sprintf("%s : %s s", number(ours), number(theirs))
		if m.Rate {
			value = fmt.Sprintf("%s : %s commits/s (more: better)", number(ours), number(theirs))
		} else if out := m.ratio(outputSize); out < 0.99 || out > 1.01 {
			value += fmt.Sprintf("; size %.2f", out)
		}
		fmt.Fprintf(&b, `<text x="12" y="%d">%s</text>`, y+16, html.EscapeString(m.Title))
		fmt.Fprintf(&b, `<rect class="ours" x="%d" y="%d" width="%.1f" height="11"/>`, svgLabel, y+2, ratio*unit)
		fmt.Fprintf(&b, `<rect class="stock" x="%d" y="%d" width="%.1f" height="9"/>`, svgLabel, y+14, unit)
		fmt.Fprintf(&b, `<text x="%d" y="%d">%.2f</text>`, svgLabel+svgBar+8, y+12, ratio)
		fmt.Fprintf(&b, `<text class="small" x="%d" y="%d">%s</text>`+"\n", svgLabel+svgBar+8, y+24, html.EscapeString(value))
	}
	fmt.Fprintf(&b, `<line class="line" x1="%.1f" y1="%d" x2="%.1[1]f" y2="%[3]d"/>`+"\n", svgLabel+unit, svgTop-4, height-svgBottom+2)
	fmt.Fprintf(&b, `<text class="small" x="12" y="%d">%s</text>`+"\n", height-14, html.EscapeString(fmt.Sprintf(
		"%s, %d cores, %s; %s; pgbench scale %d", r.Machine.CPU, r.Machine.Cores, r.Machine.FileSystem, r.Machine.PostgreSQL, r.Options.Scale)))
	b.WriteString("</svg>\n")
	return b.String()
}
