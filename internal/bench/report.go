//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
)

// report is what -json writes, and what the picture is drawn of.
type report struct {
	Machine machine    `json:"machine"`
	Options jsonOpts   `json:"options"`
	Rows    []measured `json:"rows"`
}

// jsonOpts is how large everything was.
type jsonOpts struct {
	Scale   int `json:"scale"`
	Tables  int `json:"tables"`
	WAL     int `json:"wal_mb"`
	Seconds int `json:"seconds"`
	Pairs   int `json:"pairs"`
}

func (o *options) result() jsonOpts {
	return jsonOpts{o.scale, o.tables, o.wal, o.seconds, o.pairs}
}

// measured is a row with all its samples.
type measured struct {
	Name, Title, Stock string
	Rate               bool // the values are commits a second
	Pgbraid, Theirs    []sample
}

// spread are a figure's least, middle and greatest.
type spread struct {
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
}

func spreadOf(samples []sample, figure func(sample) float64) spread {
	var all []float64
	for _, s := range samples {
		all = append(all, figure(s))
	}
	slices.Sort(all)
	n := len(all)
	if n == 0 {
		return spread{}
	}
	return spread{all[0], (all[(n-1)/2] + all[n/2]) / 2, all[n-1]}
}

func outputSize(s sample) float64 { return s.Out }

// figures are what each row tells.
var figures = []struct {
	key string
	of  func(sample) float64
}{
	{"value", func(s sample) float64 { return s.Value }},
	{"cpu_seconds", func(s sample) float64 { return s.CPU }},
	{"max_rss_mb", func(s sample) float64 { return s.RSS }},
	{"output_mb", outputSize},
}

// ratio is pgbraid's median through the other's. Where both are nothing they
// are the same.
func (m *measured) ratio(figure func(sample) float64) float64 {
	ours, theirs := spreadOf(m.Pgbraid, figure).Median, spreadOf(m.Theirs, figure).Median
	if theirs == 0 {
		return 1
	}
	return ours / theirs
}

func (m *measured) unit() string {
	if m.Rate {
		return "commits/s"
	}
	return "seconds"
}

// writeHead tells what was measured on.
func (r *report) writeHead(w io.Writer) {
	fmt.Fprintf(w, "%s\npgbench scale %d, %d tables, %d MB of WAL, %d s of commits, %d pairs\n\n",
		r.Machine, r.Options.Scale, r.Options.Tables, r.Options.WAL, r.Options.Seconds, r.Options.Pairs)
}

// write shows a row as text.
func (m *measured) write(w io.Writer) {
	fmt.Fprintf(w, "%s (%s)\n", m.Title, m.Name)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	cells := func(name string, samples []sample) {
		fmt.Fprintf(t, "%s\t", name)
		for _, f := range figures {
			s := spreadOf(samples, f.of)
			fmt.Fprintf(t, "%s\t%s\t%s\t", number(s.Min), number(s.Median), number(s.Max))
		}
		fmt.Fprintln(t)
	}
	fmt.Fprintf(t, "\tmin\t%s\tmax\tmin\tCPU s\tmax\tmin\tRSS MB\tmax\tmin\tout MB\tmax\t\n", m.unit())
	cells("pgbraid", m.Pgbraid)
	cells(m.Stock, m.Theirs)
	fmt.Fprint(t, "ratio\t")
	for _, f := range figures {
		fmt.Fprintf(t, "\t%.2f\t\t", m.ratio(f.of))
	}
	fmt.Fprintln(t)
	_ = t.Flush() // a reader who is gone is no reason not to go on
	fmt.Fprintln(w)
}

func number(f float64) string {
	if f >= 100 {
		return fmt.Sprintf("%.0f", f)
	}
	return fmt.Sprintf("%.2f", f)
}

// MarshalJSON gives the medians and ratios beside what they are made of.
func (m measured) MarshalJSON() ([]byte, error) {
	type side struct {
		Spread map[string]spread `json:"spread"`
		Runs   []map[string]any  `json:"runs"`
	}
	sideOf := func(samples []sample) side {
		s := side{Spread: map[string]spread{}}
		for _, f := range figures {
			s.Spread[f.key] = spreadOf(samples, f.of)
		}
		for _, one := range samples {
			run := map[string]any{}
			for _, f := range figures {
				run[f.key] = f.of(one)
			}
			s.Runs = append(s.Runs, run)
		}
		return s
	}
	ratios := map[string]float64{}
	for _, f := range figures {
		ratios[f.key] = m.ratio(f.of)
	}
	return json.Marshal(struct {
		Name    string             `json:"name"`
		Title   string             `json:"title"`
		Unit    string             `json:"unit"`
		Ratio   map[string]float64 `json:"ratio"`
		Pgbraid side               `json:"pgbraid"`
		Stock   string             `json:"stock_tool"`
		Theirs  side               `json:"stock"`
	}{m.Name, m.Title, m.unit(), ratios, sideOf(m.Pgbraid), m.Stock, sideOf(m.Theirs)})
}

func (r *report) writeJSON(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
