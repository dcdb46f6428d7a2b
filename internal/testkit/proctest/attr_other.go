//go:build !linux

package proctest

import "syscall"

// Attr gives a child a process group of its own. Only Linux can tell a child
// of its parent's end: a test binary that is killed may leave servers behind.
func Attr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
