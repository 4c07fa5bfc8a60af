package dropin

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pgbraid/pgbraid/internal/conninfo"
	"github.com/pgbraid/pgbraid/internal/getopt"
)

// connection holds the options on connecting, which all tools that connect have.
type connection struct{ flags conninfo.Flags }

func (c *connection) options() []getopt.Option {
	return []getopt.Option{
		{Short: 'd', Long: "dbname", Argument: true, Set: text(&c.flags.ConnString)},
		{Short: 'h', Long: "host", Argument: true, Set: text(&c.flags.Host)},
		{Short: 'p', Long: "port", Argument: true, Set: text(&c.flags.Port)},
		{Short: 'U', Long: "username", Argument: true, Set: text(&c.flags.User)},
		{Short: 'w', Long: "no-password", Set: func(string) error {
			c.flags.NoPassword, c.flags.ForcePassword = true, false
			return nil
		}},
		{Short: 'W', Long: "password", Set: func(string) error {
			c.flags.NoPassword, c.flags.ForcePassword = false, true
			return nil
		}},
	}
}

// parse makes of the options what is connected with.
func (c *connection) parse(p *program) (*conninfo.Info, error) {
	info, err := conninfo.Parse(c.flags, p.name)
	if err != nil {
		if words := conninfo.LibPQWords(err); words != "" {
			return nil, fail("%s", words)
		}
		return nil, fail("%s", err)
	}
	for _, w := range info.Warnings() {
		// libpq's warnings do not bear the tool's name.
		fmt.Fprintf(p.err, "WARNING: %s\n", clean(w))
	}
	return info, nil
}

// inOrder puts the options into the order of the long names, in which errors of
// ambiguous options name them. Those without a place there stay behind.
func inOrder(names string, options []getopt.Option) []getopt.Option {
	places := strings.Fields(names)
	place := func(o getopt.Option) int {
		if i := slices.Index(places, o.Long); i >= 0 {
			return i
		}
		return len(places)
	}
	slices.SortStableFunc(options, func(a, b getopt.Option) int { return place(a) - place(b) })
	return options
}

// text is the Set of an option whose argument is kept as it is; on that of one
// without.
func text(field *string) func(string) error {
	return func(value string) error {
		*field = value
		return nil
	}
}

func on(field *bool) func(string) error {
	return func(string) error {
		*field = true
		return nil
	}
}
