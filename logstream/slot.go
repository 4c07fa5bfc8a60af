package logstream

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pgbraid/pgbraid/internal/replconn"
)

// Slot says which physical replication slot a Receiver streams from. The zero
// value is none.
type Slot struct {
	// Name of the slot. With Temporary it may be empty: a name is made from
	// the walsender's process ID, as the stock client does.
	Name string
	// Temporary makes a slot that the server drops when the connection
	// ends; a new connection makes it anew.
	Temporary bool
	// Create makes a permanent slot when the first connection is made. That
	// one of this name exists is an error.
	Create bool
	// Recreate makes a permanent slot anew where the server has none of this
	// name, as a standby that was promoted has not, and warns.
	Recreate bool
	// Unasked leaves it to the start of the stream to find that a permanent
	// slot is not there. Otherwise a server of release 15 or later is asked
	// before.
	Unasked bool
	// Expect says, with Recreate, that there must be one until a stream from it
	// has begun: before that, its absence is a mistake in its name.
	Expect bool
}

// recreate tells whether the slot is made anew if it is not there.
func (r *Receiver) recreate() bool {
	s := r.options.Slot
	return s.Recreate && (!s.Expect || r.hadSlot)
}

// SQLSTATE codes that a walsender gives a meaning of its own.
const (
	sqlstateUndefinedFile   = "58P01" // a WAL segment was removed
	sqlstateUndefinedObject = "42704" // no such slot
	sqlstateDuplicateObject = "42710" // the slot exists
	sqlstateInUse           = "55006" // somebody streams from the slot
	sqlstateInvalidated     = "55000" // the slot lost its WAL
)

// sqlstate is the code of the server's error in err, or "".
func sqlstate(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// createSlotCommand is the text for a physical slot that keeps WAL from now
// on, in the grammar of the server's version (PostgreSQL manual, "Streaming Replication Protocol").
func createSlotCommand(version int, name string, temporary, reserve bool) string {
	text := "CREATE_REPLICATION_SLOT " + replconn.QuoteIdentifier(name)
	if temporary {
		text += " TEMPORARY"
	}
	text += " PHYSICAL"
	switch {
	case !reserve:
	case version >= 150000:
		text += " (RESERVE_WAL)"
	default:
		text += " RESERVE_WAL"
	}
	return text
}

// CreateSlot makes a permanent physical slot. With reserve it keeps WAL from
// now on, else from the first time it is streamed from. exists reports that
// there was one of that name already, which is an error as well.
func CreateSlot(ctx context.Context, c *replconn.Conn, name string, reserve bool) (exists bool, err error) {
	command := createSlotCommand(c.ServerVersion(), name, false, reserve)
	if _, err = c.Query(ctx, command); err != nil {
		return sqlstate(err) == sqlstateDuplicateObject, &CommandError{command, fmt.Sprintf("creating replication slot %q", name), err}
	}
	return false, nil
}

// SlotPosition is where a physical slot keeps WAL from.
type SlotPosition struct {
	Exists   bool
	Position Position // zero if the slot keeps no WAL yet
}

// ReadSlot asks a server of release 15 or later about a slot
// (READ_REPLICATION_SLOT: PostgreSQL manual, "Streaming Replication Protocol").
func ReadSlot(ctx context.Context, c *replconn.Conn, name string) (SlotPosition, error) {
	command := "READ_REPLICATION_SLOT " + replconn.QuoteIdentifier(name)
	fail := func(err error) (SlotPosition, error) {
		return SlotPosition{}, &CommandError{command, fmt.Sprintf("reading replication slot %q", name), err}
	}
	result, err := c.Query(ctx, command)
	if err != nil {
		return fail(err)
	}
	row, err := result.Row(3)
	if err != nil {
		return fail(err)
	}
	switch {
	case row[0] == nil:
		return SlotPosition{}, nil
	case row[1] == nil || row[2] == nil:
		return SlotPosition{Exists: true}, nil
	}
	l, err := ParseLSN(string(row[1]))
	if err != nil {
		return fail(err)
	}
	t, err := ParseTimelineID(string(row[2]))
	if err != nil {
		return fail(err)
	}
	return SlotPosition{true, Position{t, l}}, nil
}

// DropSlot drops a slot.
func DropSlot(ctx context.Context, c *replconn.Conn, name string) error {
	command := "DROP_REPLICATION_SLOT " + replconn.QuoteIdentifier(name)
	if _, err := c.Query(ctx, command); err != nil {
		return &CommandError{command, fmt.Sprintf("dropping replication slot %q", name), err}
	}
	return nil
}

// temporarySlotName is the name of a temporary slot: one a connection.
func temporarySlotName(c *replconn.Conn) string {
	return fmt.Sprintf("pgbraid_%d", c.PID())
}
