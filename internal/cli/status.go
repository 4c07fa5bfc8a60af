package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/pgbraid/pgbraid/logstream"
)

// statusCommand is pgbraid status.
type statusCommand struct {
	Directory string `short:"D" required:"" group:"output" placeholder:"DIR" help:"Directory that the log is kept in."`
	Check     bool   `group:"general" help:"Read every segment, along the chain of its records and over the forks of timelines."`
	JSON      bool   `name:"json" group:"show" help:"Write one JSON object instead of text."`
}

// Help is shown below the summary by pgbraid status --help.
func (*statusCommand) Help() string {
	return `Shows what a directory of WAL holds: timelines and where they fork, segments and
holes between them, and up to where and to when the log goes. It asks no server.

JSON: directory, whole, segment_size (bytes), system_identifier, server_major,
newest_lsn, newest_timeline, last_commit (time), timelines (timeline, parent,
fork_lsn, ranges, partials), holes, bad (name, error); plain, compressed and
partial (files, bytes), other_files. Ranges and holes have timeline, first, last
(file names), segments, from_lsn, to_lsn. WAL that was received and that a
failover lost is in lost (name, timeline, from_lsn, to_lsn), and no fault. What is
not known is left out.

Exit codes: 0 the log is whole, 1 there is none, or it has holes or bad files,
2 wrong usage.`
}

// Run is called by kong.
func (c *statusCommand) Run(ctx context.Context, to *streams) error {
	inventory, err := logstream.TakeInventory(ctx, c.Directory, logstream.InventoryOptions{Check: c.Check})
	if err != nil {
		return err
	}
	if c.JSON {
		err = json.NewEncoder(to.out).Encode(newStatusResult(c.Directory, inventory))
	} else {
		_, err = io.WriteString(to.out, statusText(c.Directory, inventory, time.Now()))
	}
	if err != nil {
		return err
	}
	return faultsOf(c.Directory, inventory)
}

// faultsOf says in one line why an archive is not whole.
func faultsOf(dir string, i *logstream.Inventory) error {
	var faults []string
	if i.SegmentSize == 0 {
		faults = append(faults, "it has no segment")
	}
	if n := len(i.Holes); n > 0 {
		faults = append(faults, count(n, "hole"))
	}
	if n := len(i.Bad); n > 0 {
		faults = append(faults, count(n, "bad file"))
	}
	if len(faults) == 0 {
		return nil
	}
	return fmt.Errorf("the log in %s is not whole: %s", dir, strings.Join(faults, ", "))
}
