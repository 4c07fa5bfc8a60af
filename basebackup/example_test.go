package basebackup_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os/signal"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pgbraid/pgbraid/basebackup"
)

// Run makes a standby of the server that the connection string leads to.
func ExampleRun() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()

	config, err := pgconn.ParseConfig("host=db1 user=replicator replication=true")
	if err != nil {
		log.Fatal(err)
	}
	result, err := basebackup.Run(ctx, config, basebackup.Options{
		Directory:       "/srv/postgresql/standby",
		Tablespaces:     []basebackup.TablespaceMapping{{Old: "/srv/fast", New: "/srv/standby-fast"}},
		FastCheckpoint:  true,
		Slot:            "standby1",
		CreateSlot:      true,
		PrimaryConnInfo: "host=db1 user=replicator sslmode=verify-full",
		OnProgress: func(p basebackup.Progress) {
			fmt.Printf("%s: %d of %d bytes\n", p.Phase, p.Done, p.Total)
		},
	})
	var notEmpty *basebackup.NotEmptyError
	switch {
	case errors.As(err, &notEmpty):
		log.Fatalf("%v. %s", err, notEmpty.Hint())
	case err != nil:
		log.Fatal(err) // nothing is left of what was made
	}
	fmt.Printf("backup from %s to %s, in %s\n", result.Start, result.End, result.Duration)
}
