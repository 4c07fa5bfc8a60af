package logstream

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
)

// RestoreCommand is a shell command that brings a segment from an archive, as
// PostgreSQL's setting restore_command: %f stands for the file's name, %p for
// the path to write it to, %% for a percent sign.
//
// It must end with exit code 0 where it brought the file, and with 1 where the
// archive does not have it, as cp, test and pgbraid restore-wal do. A server
// takes every code up to 125 for the latter (PostgreSQL manual, "Archive
// Recovery"), and tries again for ever where that is wrong; a receiver may not,
// since it would go on behind a gap.
type RestoreCommand string

// exitNotThere is the exit code that says that the archive lacks the file.
const exitNotThere = 1

// Fetch runs the command. found is false if it says that the archive has no
// such file. Every other failure is an *ArchiveError: trying again may help.
func (c RestoreCommand) Fetch(ctx context.Context, name, path string) (found bool, err error) {
	text := strings.NewReplacer("%f", name, "%p", path, "%%", "%").Replace(string(c))
	//#nosec G204 -- the user's own command
	command := exec.CommandContext(ctx, "/bin/sh", "-c", text)
	command.Stderr = os.Stderr // the command's own words, as the server shows them
	err = command.Run()
	info, statErr := os.Stat(path)
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return false, context.Cause(ctx)
	case errors.As(err, &exit) && exit.ExitCode() == exitNotThere && statErr == nil && info.Size() > 0:
		err = fmt.Errorf("%w, and a file of %d bytes", err, info.Size()) // as a cp that has no room
	case errors.As(err, &exit) && exit.ExitCode() == exitNotThere:
		return false, nil
	case err == nil && errors.Is(statErr, fs.ErrNotExist):
		err = errors.New("it brought no file, and says that it did")
	case err == nil:
		err = statErr
	}
	if err != nil {
		return false, &ArchiveError{Segment: name, Err: err}
	}
	return true, nil
}
