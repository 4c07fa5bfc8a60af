package basebackup_test

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"testing"
)

// matrixTar is GNU tar that unpacks what is written into it.
type matrixTar struct {
	in  io.WriteCloser
	cmd *exec.Cmd
	out bytes.Buffer
}

func newMatrixTar(t *testing.T, into string, args ...string) *matrixTar {
	t.Helper()
	if err := os.Mkdir(into, 0o700); err != nil {
		t.Fatal(err)
	}
	m := &matrixTar{cmd: exec.Command("tar", append(args, "-x", "-C", into)...)}
	m.cmd.Stdout, m.cmd.Stderr = &m.out, &m.out
	var err error
	if m.in, err = m.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.in.Close() }) // tar ends with its input
	return m
}

// wait ends tar's input, which it must have found nothing wrong with.
func (m *matrixTar) wait(t *testing.T) {
	t.Helper()
	if err := m.in.Close(); err != nil {
		t.Error(err)
	}
	if err := m.cmd.Wait(); err != nil || m.out.Len() != 0 {
		t.Fatalf("tar: %v\n%s", err, m.out.String())
	}
}
