package logstream

import (
	"context"
	"fmt"
	"io/fs"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pgbraid/pgbraid/internal/replconn"
)

// Server is what has to be known of a server before anything is taken from it.
type Server struct {
	Version          int // as server_version_num has it: 150018 for 15.18
	SystemIdentifier uint64
	Position         Position // the end of its WAL
	SegmentSize      SegmentSize
	// Modes for directories and files: 0700 and 0600, or 0750 and 0640 where
	// the group may read the cluster (initdb --allow-group-access).
	DirMode, FileMode fs.FileMode
}

// OldestServer is the oldest release that can be streamed from, in the form of
// Server.Version: the first with temporary slots and SHOW.
const OldestServer = 100000

// Describe asks a server for what Server holds.
func Describe(ctx context.Context, c *replconn.Conn) (Server, error) {
	s := Server{Version: c.ServerVersion(), DirMode: 0o700, FileMode: 0o600}
	if s.Version < OldestServer {
		return s, fmt.Errorf("server release %q is too old, want 10 or later", c.Parameter("server_version"))
	}
	if s.Version >= 110000 {
		text, err := show(ctx, c, "data_directory_mode")
		if err != nil {
			return s, err
		}
		mode, err := strconv.ParseUint(text, 8, 32)
		if err != nil {
			return s, fmt.Errorf("%w: data_directory_mode %q", replconn.ErrMalformed, text)
		}
		if mode&0o750 == 0o750 {
			s.DirMode, s.FileMode = 0o750, 0o640
		}
	}
	text, err := show(ctx, c, "wal_segment_size")
	if err != nil {
		return s, err
	}
	if s.SegmentSize, err = ParseSegmentSize(text); err != nil {
		return s, err
	}
	s.SystemIdentifier, s.Position, err = IdentifySystem(ctx, c)
	return s, err
}

// show asks for a setting.
func show(ctx context.Context, c *replconn.Conn, name string) (string, error) {
	text, err := c.Show(ctx, name)
	if err != nil {
		return "", &CommandError{"SHOW " + name, "asking for " + name, err}
	}
	return text, nil
}

// DescribeServer connects and asks. config must be one of a physical
// replication connection.
func DescribeServer(ctx context.Context, config *pgconn.Config) (Server, error) {
	c, err := replconn.Connect(ctx, config)
	if err != nil {
		return Server{}, err
	}
	defer func() { _ = c.Close() }() // nothing is expected of it any more
	return Describe(ctx, c)
}
