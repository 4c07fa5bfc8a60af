package logstream_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pgbraid/pgbraid/logstream"
)

// Keep the log of a server up to where its log ends now, in a directory, and
// have a slot keep what is not there yet. It is compiled and not run: it needs
// a server.
func ExampleReceiver() {
	ctx := context.Background()
	config, err := pgconn.ParseConfig("host=/var/run/postgresql user=replicator replication=true")
	if err != nil {
		fmt.Println(err)
		return
	}
	server, err := logstream.DescribeServer(ctx, config)
	if err != nil {
		fmt.Println(err)
		return
	}
	const dir = "/srv/wal"
	// Where an earlier run ended, or the server's present position.
	start, found, _, err := logstream.FindStart(dir, server.SegmentSize)
	if err != nil {
		fmt.Println(err)
		return
	}
	if !found {
		start = server.Position
	}
	receiver := logstream.NewReceiver(config, logstream.Options{
		SystemIdentifier: server.SystemIdentifier,
		SegmentSize:      server.SegmentSize,
		Store:            logstream.NewDirStore(dir, server.SegmentSize, logstream.DirOptions{}),
		Slot:             logstream.Slot{Name: "archive"},
		StatusInterval:   10 * time.Second,
		GiveUpAfter:      5 * time.Minute,
		Logger:           slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	receiver.StopAt(server.Position)
	if err := receiver.Run(ctx, start); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("durable up to", receiver.Status().Durable)
}

// A position is mapped to the name of the file that holds it.
func ExampleSegmentSize_FileName() {
	size, err := logstream.ParseSegmentSize("16MB")
	if err != nil {
		fmt.Println(err)
		return
	}
	l, err := logstream.ParseLSN("5/2000028")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(size.FileName(1, size.Segment(l)))
	fmt.Println(logstream.TimelineID(2).HistoryFileName())
	// Output:
	// 000000010000000500000002
	// 00000002.history
}
