package quickstarts_test

import "syscall"

// ownGroup puts a child into a process group of its own, to be killed with
// all that it starts. It ends with the test, however that ends.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
