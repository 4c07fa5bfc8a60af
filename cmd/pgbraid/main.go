// Command pgbraid clones PostgreSQL clusters over the replication protocol.
// Called by the name of one of PostgreSQL's own tools, it is that tool.
package main

import (
	"os"

	"github.com/pgbraid/pgbraid/internal/cli"
	"github.com/pgbraid/pgbraid/internal/dropin"
)

func main() {
	if code, ok := dropin.Main(os.Args); ok {
		os.Exit(code)
	}
	os.Exit(cli.Main(os.Args[1:]))
}
