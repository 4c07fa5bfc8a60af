// Command pgbraid clones PostgreSQL clusters over the replication protocol.
package main

import (
	"os"

	"github.com/pgbraid/pgbraid/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:])) }
