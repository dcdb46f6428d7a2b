package browser_test

import "syscall"

// dieWithParent has the kernel kill the child when this process is gone: a
// test binary that is killed must not leave servers behind.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
