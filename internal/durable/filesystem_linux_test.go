package durable

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/pgbraid/pgbraid/internal/pgtest"
)

// What the kernel could not write is told once to each descriptor that was open
// then. One that is opened after somebody else was told hears nothing of it.
func TestFileSystemTellsOfFailuresSinceItWasOpened(t *testing.T) {
	disk, device := pgtest.FailingDisk(t, 32<<20)
	device.Fill(t)
	early, err := OpenFileSystem(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer early.Close()
	if err := early.Sync(); err != nil {
		t.Fatalf("before anything failed: %v", err)
	}
	if err := os.WriteFile(filepath.Join(disk, "lost"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	somebody, err := OpenFileSystem(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer somebody.Close()
	if err := somebody.Sync(); !errors.Is(err, syscall.EIO) && !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the device does not fail: %v", err)
	}
	device.MakeRoom(t)
	late, err := OpenFileSystem(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	if err := late.Sync(); err != nil {
		t.Fatalf("the failure goes on, so that this test shows nothing: %v", err)
	}
	var at *os.PathError
	if err := early.Sync(); err == nil || !errors.As(err, &at) || at.Op != "syncfs" || at.Path != disk {
		t.Errorf("the one that was opened before: %v", err)
	}
}
