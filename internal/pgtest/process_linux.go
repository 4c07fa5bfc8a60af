package pgtest

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// setParentDeathSignal has the kernel end the child when this process dies,
// be it by SIGKILL.
func setParentDeathSignal(attr *syscall.SysProcAttr, sig syscall.Signal) {
	attr.Pdeathsig = sig
}

// removeSharedMemory removes the System V segment that a killed server left.
func removeSharedMemory(id int) {
	_, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil)
}
