package proctest

import "syscall"

// Attr gives a child a process group of its own, and has the kernel kill it
// when this process is gone: a test binary that is killed must not leave
// servers behind.
func Attr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
