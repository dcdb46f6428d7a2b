//go:build !linux

package browser_test

import "syscall"

// dieWithParent does nothing where the kernel does not offer it: a test binary
// that is killed may leave servers behind.
func dieWithParent() *syscall.SysProcAttr { return nil }
