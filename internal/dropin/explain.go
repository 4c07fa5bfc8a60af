package dropin

import (
	"errors"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pgbraid/pgbraid/logstream"
)

// phrases are the libraries' words for what failed, and the tools': before an
// error of the server, and before one of the connection.
var phrases = []struct{ ours, refused, lost string }{
	{"initiating base backup: ", "could not initiate base backup: ", "could not initiate base backup: "},
	{"uploading manifest: ", "could not upload manifest: ", "could not upload manifest: "},
	{"list of tablespaces: ", "could not get backup header: ", "could not get backup header: "},
	{"base backup: start of the data: ", "could not get COPY data stream: ", "could not get COPY data stream: "},
	{"base backup: end of the backup: ", "backup failed: ", "backup failed: "},
	{"base backup: end of the answer: ", "final receive failed: ", "final receive failed: "},
	{"base backup: ", "backup failed: ", "could not read COPY data: "},
	{logStream, "unexpected termination of replication stream: ", "could not receive data from WAL stream: "},
}

// logStream begins the errors of the stream beside a base backup.
const logStream = "log stream: "

const sqlstateDataCorrupted = "XX001"

// explain puts an error of the libraries into the tools' words.
func explain(err error) error {
	var (
		connect *pgconn.ConnectError
		server  *pgconn.PgError
		command *logstream.CommandError
		absent  *logstream.MissingSlotError
		system  *logstream.SystemMismatchError
	)
	if errors.As(err, &connect) {
		return fail("%s", describe(err))
	}
	refused := errors.As(err, &server)
	switch lost := connectionLost(err); {
	case errors.As(err, &absent):
		return fail("could not send replication command %q: ERROR:  replication slot %q does not exist", quoted(startReplication), quoted(absent.Name))
	case errors.As(err, &system):
		return fail("system identifier does not match between base backup and streaming connection")
	case errors.Is(err, logstream.ErrTerminatedEarly):
		return fail("replication stream was terminated before stop point")
	case refused && errors.As(err, &command):
		return fail("could not send replication command %q: %s", quoted(commandName(command.Command)), serverError(server))
	case lost != "" && errors.As(err, &command):
		return fail("could not send replication command %q: %s", quoted(commandName(command.Command)), lost)
	case refused && server.Code == sqlstateDataCorrupted:
		return fail("checksum error occurred")
	case refused:
		return fail("%s%s", phrase(err, true), serverError(server))
	case lost != "":
		return fail("%s%s", phrase(err, false), lost)
	}
	return fail("%s", describe(err))
}

// phrase is the tool's word for what failed.
func phrase(err error, refused bool) string {
	for _, p := range phrases {
		switch {
		case !strings.HasPrefix(err.Error(), p.ours):
		case refused:
			return p.refused
		default:
			return p.lost
		}
	}
	return ""
}

const startReplication = "START_REPLICATION"

// commandName is a command as an error names it: those on slots with all that
// they say, in the tool's own spacing.
func commandName(command string) string {
	name, _, _ := strings.Cut(command, " ")
	switch name {
	case "CREATE_REPLICATION_SLOT":
		return strings.NewReplacer(" (RESERVE_WAL", " ( RESERVE_WAL", " PHYSICAL RESERVE_WAL", " PHYSICAL  RESERVE_WAL").Replace(command)
	case "DROP_REPLICATION_SLOT", "SHOW":
		return command
	}
	return name
}

// receiverEnded is what the tool says of a log stream that failed beside a base
// backup.
const receiverEnded = "background process terminated unexpectedly"

// endsReceiver tells whether an error would have ended the process that the tool
// has for the log, which it starts when it is connected and has the slot.
func endsReceiver(err error) bool {
	var (
		connect *pgconn.ConnectError
		command *logstream.CommandError
	)
	if !strings.HasPrefix(err.Error(), logStream) || errors.As(err, &connect) {
		return false
	}
	return !errors.As(err, &command) || !strings.HasPrefix(command.Command, "CREATE_")
}

// endBy ends the process by a signal, as one that does not catch it would be:
// whoever started it sees that.
func endBy(s os.Signal) {
	number, ok := s.(syscall.Signal)
	if !ok {
		return
	}
	signal.Reset(number)
	_ = syscall.Kill(syscall.Getpid(), number) // what follows is an exit code
	// It comes at once, unless the process was started with the signal
	// ignored, as a shell starts those in the background.
	time.Sleep(time.Second)
}
