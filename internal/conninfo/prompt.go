package conninfo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"
)

// The manners of the prompt: it speaks to the controlling terminal, so that
// standard input and output stay free for data; standard input serves only if
// it is a terminal and there is no other. Nothing typed is shown. The terminal
// is set back on every way out, Ctrl-C and signals included.

var (
	// ErrNoTerminal says that there is no terminal to ask on.
	ErrNoTerminal = errors.New("no terminal to ask on; use a passfile or PGPASSWORD")
	// ErrInterrupted says that the prompt was left with Ctrl-C, Ctrl-D or a
	// signal.
	ErrInterrupted = errors.New("password prompt: interrupted")
)

// PromptPassword asks for the password of a role on the terminal. An end of
// ctx, SIGINT or SIGTERM end the prompt; the program's own handlers of these
// signals run as well. Errors: ErrNoTerminal, ErrInterrupted, ctx's cause, or
// one of the terminal.
func PromptPassword(ctx context.Context, user string) (string, error) {
	text := "Password: "
	if user != "" {
		text = fmt.Sprintf("Password for user %s: ", user)
	}
	if tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0); err == nil {
		defer tty.Close()
		return promptOn(ctx, tty, tty, text)
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return "", ErrNoTerminal
	}
	return promptOn(ctx, os.Stdin, os.Stderr, text)
}

func promptOn(ctx context.Context, in, out *os.File, text string) (password string, err error) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()

	restore, err := makeRaw(in)
	if err != nil {
		return "", fmt.Errorf("password prompt: %w", err)
	}
	defer func() {
		if e := restore(); e != nil && err == nil {
			err = fmt.Errorf("password prompt: restoring the terminal: %w", e)
		}
	}()

	type answer struct {
		password string
		err      error
	}
	answers := make(chan answer, 1)
	go func() {
		t := term.NewTerminal(struct {
			io.Reader
			io.Writer
		}{in, out}, "")
		p, err := t.ReadPassword(text)
		answers <- answer{p, err}
	}()
	select {
	case a := <-answers:
		if errors.Is(a.err, io.EOF) { // Ctrl-C and Ctrl-D are bytes in raw mode
			fmt.Fprint(out, "\r\n")
			return "", ErrInterrupted
		}
		if a.err != nil {
			return "", fmt.Errorf("password prompt: %w", a.err)
		}
		return a.password, nil
	case <-ctx.Done():
		// Where the terminal knows no deadline (standard input, macOS) the
		// reader is left behind; the program is about to end.
		if in.SetReadDeadline(time.Now()) == nil {
			<-answers
		}
		fmt.Fprint(out, "\r\n")
		return "", fmt.Errorf("%w: %w", ErrInterrupted, context.Cause(ctx))
	}
}

// makeRaw goes by the raw connection, since File.Fd may make the file blocking
// and so end its deadlines.
func makeRaw(f *os.File) (restore func() error, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var state *term.State
	var failed error
	if err := raw.Control(func(fd uintptr) { state, failed = term.MakeRaw(int(fd)) }); err != nil {
		return nil, err
	}
	if failed != nil {
		return nil, failed
	}
	return func() error {
		var failed error
		if err := raw.Control(func(fd uintptr) { failed = term.Restore(int(fd), state) }); err != nil {
			return err
		}
		return failed
	}, nil
}
