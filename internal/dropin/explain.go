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

// phrases are the libraries' words for what failed, before an error of the
// server, and the tools'.
var phrases = []struct{ ours, theirs string }{
	{"initiating base backup: ", "could not initiate base backup: "},
	{"uploading manifest: ", "could not upload manifest: "},
	{"list of tablespaces: ", "could not get backup header: "},
	{"base backup: ", "could not read COPY data: "},
	{"log stream: identifying the system: ", "could not send replication command \"IDENTIFY_SYSTEM\": "},
	{"identifying the system: ", "could not send replication command \"IDENTIFY_SYSTEM\": "},
	{"log stream: creating temporary replication slot: ", "could not send replication command \"CREATE_REPLICATION_SLOT\": "},
	{"log stream: ", "could not receive data from WAL stream: "},
}

const sqlstateDataCorrupted = "XX001"

// explain puts an error of the libraries into the tools' words. slot is the
// name of the slot that is used, or "".
func explain(err error, slot string) error {
	var (
		connect *pgconn.ConnectError
		server  *pgconn.PgError
		absent  *logstream.MissingSlotError
		missing *logstream.WALMissingError
	)
	switch {
	case errors.As(err, &connect):
		return fail("%s", describe(err))
	case errors.As(err, &absent):
		return fail("could not send replication command %q: ERROR:  %s", quoted("START_REPLICATION"), absent.Error())
	case errors.As(err, &missing) && errors.As(err, &server):
		return fail("could not receive data from WAL stream: %s", serverError(server))
	case errors.As(err, &server) && server.Code == sqlstateDataCorrupted:
		return fail("checksum error occurred")
	case errors.As(err, &server):
		before, _, _ := strings.Cut(err.Error(), server.Error())
		if strings.Contains(before, "creating replication slot ") {
			return fail("could not send replication command %q: %s", quoted(createSlot(slot, true)), serverError(server))
		}
		for _, p := range phrases {
			if strings.HasPrefix(before, p.ours) {
				return fail("%s%s", p.theirs, serverError(server))
			}
		}
		return fail("%s%s", before, serverError(server))
	}
	return fail("%s", describe(err))
}

// createSlot is the command for a slot as an error names it, in the grammar of
// release 15 and later.
func createSlot(name string, reserve bool) string {
	text := "CREATE_REPLICATION_SLOT \"" + name + "\" PHYSICAL"
	if reserve {
		text += " ( RESERVE_WAL)" // the tool's own spacing
	}
	return text
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
