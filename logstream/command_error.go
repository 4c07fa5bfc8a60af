package logstream

// CommandError says which command of the replication protocol failed. Its text
// says what it was for.
type CommandError struct {
	Command string // as it was sent, such as START_REPLICATION 0/3000000 TIMELINE 1
	Doing   string // such as "starting to stream"
	Err     error
}

func (e *CommandError) Error() string { return e.Doing + ": " + e.Err.Error() }
func (e *CommandError) Unwrap() error { return e.Err }
