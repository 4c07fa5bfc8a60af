package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/pgbraid/pgbraid/basebackup/verify"
	"github.com/pgbraid/pgbraid/internal/progress"
)

// errNoChain ends verify for backups that do not follow one another.
var errNoChain = errors.New("the backups do not make a chain")

// runChain verifies several backups, one after the other, then whether each is
// on top of the one before.
func (c *verifyCommand) runChain(ctx context.Context, to *streams, options *verify.Options) error {
	var reports []*verify.Report
	good := true
	for _, directory := range c.Directories {
		options.Directory = directory
		report, err := c.verify(ctx, to, options)
		if err != nil {
			return fmt.Errorf("backup %q: %w", directory, err)
		}
		if !c.JSON && (!c.Quiet || !report.OK()) {
			writeVerdict(to.out, report)
			fmt.Fprintln(to.out)
		}
		reports = append(reports, report)
		if good = good && report.OK(); !good && c.ExitOnError {
			break
		}
	}
	var faults []error
	if good || !c.ExitOnError {
		faults = verify.CheckChain(reports)
	}
	switch {
	case c.JSON:
		if err := writeChainJSON(to.out, reports, faults); err != nil {
			return err
		}
	case (good || !c.ExitOnError) && (!c.Quiet || len(faults) > 0):
		writeChain(to.out, reports, faults)
	}
	switch {
	case !good:
		return errNotGood
	case len(faults) > 0:
		return errNoChain
	}
	return nil
}

func writeChain(w io.Writer, reports []*verify.Report, faults []error) {
	if len(faults) == 0 {
		fmt.Fprintf(w, "chain of %d backups: fits\n", len(reports))
		return
	}
	fmt.Fprintf(w, "chain of %d backups: DOES NOT FIT\n", len(reports))
	for _, err := range faults {
		fmt.Fprintf(w, "  %s\n", progress.Sanitize(oneLine(err.Error())))
		if hint := (interface{ Hint() string })(nil); errors.As(err, &hint) {
			fmt.Fprintf(w, "  hint: %s\n", hint.Hint())
		}
	}
}

// chainResult is what --json writes of several backups.
type chainResult struct {
	Good    bool            `json:"good"`
	Backups []*verifyResult `json:"backups"`
	// Faults say why the backups make no chain.
	Faults []string `json:"chain_faults"`
}

func writeChainJSON(w io.Writer, reports []*verify.Report, faults []error) error {
	out := chainResult{Good: len(faults) == 0, Faults: []string{}}
	for _, r := range reports {
		out.Good = out.Good && r.OK()
		out.Backups = append(out.Backups, verifiedJSON(r))
	}
	for _, err := range faults {
		out.Faults = append(out.Faults, err.Error())
	}
	return json.NewEncoder(w).Encode(out)
}
