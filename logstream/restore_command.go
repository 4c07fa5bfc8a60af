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
type RestoreCommand string

// fatalExit is the exit code above which a restore_command must not be tried
// again (PostgreSQL manual, "Archive Recovery").
const fatalExit = 125

// Fetch runs the command. found is false if it says that it has no such file,
// by an exit code from 1 to 125. A signal or a higher code is an error.
func (c RestoreCommand) Fetch(ctx context.Context, name, path string) (found bool, err error) {
	text := strings.NewReplacer("%f", name, "%p", path, "%%", "%").Replace(string(c))
	//#nosec G204 -- the user's own command
	command := exec.CommandContext(ctx, "/bin/sh", "-c", text)
	command.Stderr = os.Stderr // the command's own words, as the server shows them
	err = command.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return false, context.Cause(ctx)
	case errors.As(err, &exit) && exit.Exited() && exit.ExitCode() <= fatalExit:
		return false, nil
	case err != nil:
		return false, fmt.Errorf("restore command for %s: %w", name, err)
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return false, nil // it said that it was done, and was not
	} else if err != nil {
		return false, err
	}
	return true, nil
}
