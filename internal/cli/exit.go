package cli

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/pgbraid/pgbraid/logstream"
)

// The exit codes of every pgbraid command. The drop-in names keep those of
// the tools whose places they take.
const (
	ExitDone       = 0 // all that was asked for is done
	ExitFailed     = 1 // it failed; what was made has been removed
	ExitUsage      = 2 // the command line is wrong; nothing was touched
	ExitWALMissing = 3 // the server no longer has WAL that is needed
	exitSignal     = 128

	// ExitFault is that of restore-wal for what must end a recovery: over 125
	// and no signal's. Its ExitFailed says that a file is not there, which
	// ends nothing.
	ExitFault = 200
)

// interrupted is the cause of a run's end by a signal: 130 for SIGINT and 143
// for SIGTERM.
type interrupted struct{ signal os.Signal }

func (i *interrupted) Error() string { return fmt.Sprintf("ended by signal: %s", i.signal) }

func (i *interrupted) code() int {
	if n, ok := i.signal.(syscall.Signal); ok {
		return exitSignal + int(n)
	}
	return ExitFailed
}

// EndedBy tells the signal that err says a run was ended by.
func EndedBy(err error) (signal os.Signal, ok bool) {
	var i *interrupted
	if !errors.As(err, &i) {
		return nil, false
	}
	return i.signal, true
}

// usageError is a command line that cannot be carried out.
type usageError struct {
	err     error
	command string // behind a space; "" if there is none of the name that was given
}

func (u *usageError) Error() string { return u.err.Error() }
func (u *usageError) Unwrap() error { return u.err }

// exitCode is the one place where errors become exit codes.
func exitCode(err error) int {
	var (
		signal  *interrupted
		fault   *faultError
		usage   *usageError
		missing *logstream.WALMissingError
	)
	switch {
	case err == nil:
		return ExitDone
	case errors.As(err, &signal):
		return signal.code()
	case errors.As(err, &fault):
		return ExitFault
	case errors.As(err, &usage):
		return ExitUsage
	case errors.As(err, &missing):
		return ExitWALMissing
	}
	return ExitFailed
}
